# l2o_tf on NVIDIA GPUs. CUDA comes with TensorFlow's wheels; the host has the driver and NVIDIA's
# container toolkit.
#   docker build --file docker/gpu.Dockerfile --tag l2o_tf .
#   mkdir -p runs
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD/runs:/l2o/runs" l2o_tf \
#     python -m l2o_tf.train --dataset=digits --num_epochs=200 --workdir=runs/first
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    TF_FORCE_GPU_ALLOW_GROWTH=true \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# tensorflow[and-cuda] first, because it is large and changes rarely; the bounds are those of the
# extra gpu in pyproject.toml.
RUN python -m pip install "tensorflow[and-cuda]>=2.21,<2.22"

WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY data/published data/published
COPY flags flags
COPY l2o_tf l2o_tf
# hadolint ignore=DL3013
RUN python -m pip install ".[gpu]"

# Open to all, because --user may be anyone; / would be the home of whom the image does not know.
RUN useradd --no-create-home --home-dir /l2o --uid 1000 l2o && mkdir /l2o && chmod 1777 /l2o
ENV HOME=/l2o
USER 1000
WORKDIR /l2o
CMD ["python", "-m", "l2o_tf.train", "--help"]
