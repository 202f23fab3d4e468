# The worker's image. Anything Debian 12 will do as a base: torch's wheels bring CUDA 12 and cuDNN 9, so a CUDA image
# would carry both a second time.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# tini reaps the decoder's children and hands signals on. No ffmpeg: PyAV's wheel holds its libraries.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/*

# The installer, in an environment of its own, so that the worker's holds nothing but the lock.
ENV UV_PYTHON_DOWNLOADS=never
COPY builder/requirements-uv.txt /opt/uv/
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/uv/requirements-uv.txt

# 7.5 GB that change with the lock alone. Compiled here: a start that has to compile needs 10 s more, every time
# when the root is read-only.
COPY builder/requirements.txt /opt/venv.txt
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/uv/bin/uv pip install --no-cache --python /opt/venv/bin/python --require-hashes --compile-bytecode -r /opt/venv.txt
ENV PATH=/opt/venv/bin:$PATH

# CTranslate2 opens libcublas by name, and torch may not have loaded it yet. Registered with the linker, because an
# LD_LIBRARY_PATH set on the endpoint replaces the image's.
RUN find /opt/venv/lib -type d -path '*/site-packages/nvidia/*/lib' > /etc/ld.so.conf.d/nvidia-wheels.conf \
    && ldconfig

# As in NVIDIA's own images: all GPUs, for computing. pyannote and onnxruntime report home unless told not to.
# HF_HOME has no default here, so that a mounted /root/.cache is used.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PYANNOTE_METRICS_ENABLED=0 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1 \
    RUNPOD_LOG_LEVEL=INFO

WORKDIR /app

# PRELOAD_MODELS: 0 bakes nothing, 1 the default model set, a name that set. Gated models need the token as a build
# secret (`--secret id=hf_token,env=HF_TOKEN`): an argument would stay readable in the image. PRELOAD_ALIGNERS: languages
# whose alignment models are baked with them, such as en,de.
ARG PRELOAD_MODELS=0
ARG PRELOAD_ALIGNERS=
COPY models/ models/
COPY builder/fetch_models.py builder/
COPY src/scribe/__init__.py src/scribe/errors.py src/scribe/
COPY src/scribe/runtime/__init__.py src/scribe/runtime/digest.py src/scribe/runtime/
COPY src/scribe/models/__init__.py src/scribe/models/hub.py src/scribe/models/network_errors.py \
    src/scribe/models/published.py src/scribe/models/punkt.py src/scribe/models/snapshots.py src/scribe/models/staging.py \
    src/scribe/models/torchaudio_bundles.py src/scribe/models/
RUN --mount=type=secret,id=hf_token \
    python3 builder/fetch_models.py "${PRELOAD_MODELS}" --aligners "${PRELOAD_ALIGNERS}" --token-file /run/secrets/hf_token

# The weights of the voice activity model: yours from models/ when the file is there, else those in whisperX's wheel.
ENV VAD_MODEL_PATH=/app/models/vad/whisperx-vad-segmentation.bin
RUN mkdir -p models/vad \
    && if [ -f models/whisperx-vad-segmentation.bin ]; then mv models/whisperx-vad-segmentation.bin models/vad/; fi \
    && if [ ! -f "${VAD_MODEL_PATH}" ]; then \
        find /opt/venv/lib -path '*/whisperx/assets/pytorch_model.bin' -exec ln -s {} "${VAD_MODEL_PATH}" \; ; fi

# What changes daily comes last: a few megabytes to send.
COPY samples/ samples/
COPY builder/demo_models/ builder/demo_models/
COPY builder/cuda_libraries.py builder/calibrate.py builder/calibration.py builder/
COPY tests/test_worker_local.py tests/
COPY tests/contract/ tests/contract/
COPY src/ src/
# What was baked is loaded once, without the network: an image that lacks something fails here and not on a GPU.
RUN python3 -m compileall -q src builder \
    && if [ "${PRELOAD_MODELS}" != 0 ]; then \
        set=default; [ "${PRELOAD_MODELS}" = 1 ] || set="${PRELOAD_MODELS}"; \
        env MODEL_SET="${set}" HF_HUB_OFFLINE=1 WHISPERX_DEVICE=cpu WARMUP=asr,diarization,speakers \
            python3 src/init_and_run.py --check \
        && rm -rf /tmp/* /root/.cache; fi

# Root: RunPod mounts volumes for root, and the local harness mounts /root/.cache.
# -g: a stop signal reaches the whole process group; decoders, in sessions of their own, end with the worker.
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["python3", "-u", "/app/src/init_and_run.py"]
