"""Measure the lists on test users, beside simple rivals.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.evaluate --config jobs/configs/ml-32m-cluster.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("evaluate")
