"""Fit the systems that dualrec is compared with, many at once.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.fit_baselines --config jobs/configs/benchmark-ml-100k.yaml --set workspace=PLACE
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("fit-baselines")
