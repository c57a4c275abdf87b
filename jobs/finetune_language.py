"""Fine-tune the language model on the training users' histories.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.finetune_language --config jobs/configs/ml-1m-gpu.yaml
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("finetune-language")
