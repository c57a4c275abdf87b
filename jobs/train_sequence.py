"""Train the LSTM that predicts each user's next movie.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.train_sequence --config jobs/configs/ml-32m-cluster.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("train-sequence")
