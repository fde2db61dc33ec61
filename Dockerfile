# natx in a container: `docker build -t natx .` for CPUs, and for NVIDIA GPUs
#   docker build -t natx --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all -v "$PWD":/work natx natx train CONFIG
# cu130 is what PyPI's torch of constraints.txt is built with. torch and torchvision come as a pair from one index, so that they
# match; everything else is pinned in constraints.txt.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=reid,det,analysis
# What OpenCV, which mmengine imports, needs of the system.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 git && rm -rf /var/lib/apt/lists/*
WORKDIR /natx
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY natx natx
COPY natx_bench natx_bench
COPY tasks tasks
COPY configs configs
RUN grep -E '^(torch|torchvision)==' constraints.txt > pair.txt \
    && pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple -r pair.txt \
    && pip install --no-cache-dir -c constraints.txt -e ".[$EXTRAS]"
ENV OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKDIR /work
CMD ["natx", "demo", "--device", "cpu", "--threads", "1"]
