"""Publish one night: score what changed, carry over the rest, verify, judge, commit.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.nightly --config jobs/configs/ml-32m-cluster.yaml --set
    recommend.run_date=2026-11-01
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("nightly")
