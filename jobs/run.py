"""All of it in order: prepare, train-sequence, finetune-language where language.tuned is set,
recommend, evaluate.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.run --config jobs/configs/ml-32m-cluster.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("run")
