"""Compare every system under every protocol, from raw files to one report.

On a cluster: ray job submit --working-dir . --runtime-env runtime_env.yaml -- \\
    python -m jobs.benchmark --config jobs/configs/benchmark-ml-100k.yaml --set workspace=PLACE
"""

from dualrec.cli import main

if __name__ == "__main__":
    main("benchmark")
