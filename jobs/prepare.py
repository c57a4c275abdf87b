"""Read a data set; write its catalog and one history a user.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.prepare --config jobs/configs/ml-32m-cluster.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("prepare")
