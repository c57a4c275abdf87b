# Images of all that dualrec runs on, from the locks: `docker build --target cpu .` or `--target gpu` (the last, the default).
# The locks come before the code, so a change of code rebuilds seconds of work. Not built by us: checked by tests/test_image.py.
ARG PYTHON=python:3.11.15-slim-bookworm

FROM ${PYTHON} AS system
# g++ is for what torch, Triton and DeepSpeed compile as they run; wget for KubeRay's probes. User and group as in Ray's image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ wget && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --gid 100 ray
ENV PATH=/opt/dualrec/bin:$PATH PYTHONUNBUFFERED=1

# What builds the packages that have no wheel stays in stages that are not shipped.
FROM system AS build
RUN python -m venv /opt/dualrec
COPY requirements/build.txt /locks/
ENV DS_BUILD_OPS=0 PIP_CONSTRAINT=/locks/build.txt PIP_BUILD_CONSTRAINT=/locks/build.txt PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# Where pip's own index has no CPU build of torch: --build-arg TORCH_INDEX=URL of PyTorch's (pytorch.org/get-started).
FROM build AS cpu-packages
ARG TORCH_INDEX=
COPY requirements/cpu.txt /locks/
RUN PIP_EXTRA_INDEX_URL=${TORCH_INDEX} pip install -q --use-pep517 --no-deps -r /locks/cpu.txt

FROM build AS gpu-packages
COPY requirements/gpu.txt /locks/
RUN pip install -q --use-pep517 --no-deps -r /locks/gpu.txt

FROM system AS cpu
COPY --from=cpu-packages /opt/dualrec /opt/dualrec
USER 1000
WORKDIR /home/ray/dualrec
COPY jobs jobs
COPY dualrec dualrec
ENV PYTHONPATH=/home/ray/dualrec
CMD ["python", "-m", "jobs.nightly", "--help"]

# The driver's libraries come from the node (NVIDIA's container toolkit), CUDA's own from the lock.
FROM system AS gpu
COPY --from=gpu-packages /opt/dualrec /opt/dualrec
USER 1000
WORKDIR /home/ray/dualrec
COPY jobs jobs
COPY dualrec dualrec
ENV PYTHONPATH=/home/ray/dualrec NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["python", "-m", "jobs.nightly", "--help"]
