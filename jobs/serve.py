"""Serve the published nights over HTTP, until stopped: `dualrec serve` as a module.

On a cluster, Serve's own way in is `serve deploy`, with the import path
dualrec.serving.deployment:build (docs/serving.md).
"""

import sys

from dualrec.cli import app

if __name__ == "__main__":
    app(["serve", *sys.argv[1:]])
