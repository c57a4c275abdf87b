"""Write a ranked list for every user, by both models.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.recommend --config jobs/configs/ml-32m-cluster.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("recommend")
