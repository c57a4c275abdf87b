"""Serve the published lists over HTTP, until stopped: `dualrec serve` as a module.

On a cluster, Serve's own way in is `serve deploy`, with the import path
dualrec.serving.deployment:build (docs/serving.md).
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("serve")
