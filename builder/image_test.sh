#!/usr/bin/env bash
# Builds the Dockerfile and starts the image, without a container registry and without Docker: buildah builds on a base
# made by debootstrap, podman starts it with runc. Run as root.
#
#   LIGHT=1 builder/image_test.sh   without the machine learning packages: structure, entry, permissions, exit codes
#                                   (2 minutes, 2 GB of disk)
#   builder/image_test.sh           the whole image with the demo models: also the local harness, a job over the stand-in
#                                   platform, every CUDA library (15 minutes, 45 GB of disk while it builds)
#   KEEP=1                          leave the image in the work folder (WORK, default ./.image) instead of removing it
set -euo pipefail
cd "$(dirname "$0")/.."

LIGHT=${LIGHT:-}
WORK=$(realpath -m "${WORK:-.image}")
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
BASE=localhost/standin:bookworm
IMAGE=localhost/whisperx-worker:test
# What an operator may have set by the first version of this worker's instructions. It replaces the image's own.
OLD_LD_LIBRARY_PATH=/usr/local/lib/python3.10/dist-packages/torch/lib:
LIGHT_PACKAGES="annotated-types markdown-it-py mdurl numpy pydantic pydantic-core pydantic-settings pygments python-dotenv
rich typing-extensions typing-inspection"

for tool in buildah podman runc debootstrap; do
    command -v "$tool" >/dev/null || { echo "Needed: apt-get install buildah podman runc conmon debootstrap" >&2; exit 2; }
done
needed=$([ -n "$LIGHT" ] && echo 2 || echo 45)
free=$(($(df --output=avail -k "$(dirname "$WORK")" | tail -1) / 1024 / 1024))
[ "$free" -ge "$needed" ] || { echo "$needed GB of disk are needed at $WORK, $free are free." >&2; exit 2; }

mkdir -p "$WORK/tmp"
export TMPDIR=$WORK/tmp
store=(--root "$WORK/store" --runroot "$WORK/run" --storage-driver overlay)

cleanup() {
    [ -n "${KEEP:-}" ] && return
    buildah "${store[@]}" rm --all >/dev/null 2>&1 || true
    buildah "${store[@]}" rmi --all --force >/dev/null 2>&1 || true
    # A mount that is left would make the removal reach into it.
    grep -o " $WORK/[^ ]*" /proc/mounts | sort -r | while read -r place; do umount "$place" || true; done || true
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT

base() {
    buildah "${store[@]}" inspect --type image "$BASE" >/dev/null 2>&1 && return
    debootstrap --variant=minbase --include=ca-certificates bookworm "$WORK/base" "$MIRROR" >"$WORK/debootstrap.log" ||
        { echo "Debian's mirror does not give the base: $(tail -1 "$WORK/debootstrap.log")" >&2; exit 2; }
    # Where the network re-signs TLS, its certificate and what follows from it belong to the stand-in, never to the Dockerfile.
    if [ -n "$(ls /usr/local/share/ca-certificates 2>/dev/null)" ]; then
        cp /usr/local/share/ca-certificates/*.crt "$WORK/base/usr/local/share/ca-certificates/"
        TMPDIR=/tmp chroot "$WORK/base" update-ca-certificates >"$WORK/certificates.log" 2>&1
        printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$WORK/base/etc/pip.conf"
        mkdir -p "$WORK/base/etc/uv"
        echo 'native-tls = true' >"$WORK/base/etc/uv/uv.toml"
    fi
    local container
    container=$(buildah "${store[@]}" from scratch)
    buildah "${store[@]}" add --quiet "$container" "$WORK/base" / >/dev/null
    buildah "${store[@]}" config --cmd /bin/bash "$container"
    buildah "${store[@]}" commit --quiet --rm "$container" "$BASE" >/dev/null
    rm -rf --one-file-system "$WORK/base"
}

# The build's context; in the light variant its lock holds only what the settings need.
context() {
    rm -rf "$WORK/context"
    mkdir -p "$WORK/context"
    cp -r Dockerfile .dockerignore builder models samples src tests "$WORK/context/"
    [ -z "$LIGHT" ] || awk -v keep=" $(echo $LIGHT_PACKAGES) " \
        '/^[a-z0-9]/ { split($1, part, "=="); on = index(keep, " " part[1] " ") } on' \
        builder/requirements.txt >"$WORK/context/builder/requirements.txt"
}

build() {
    buildah "${store[@]}" bud --isolation chroot --network host --pull-never --layers --format docker \
        --build-arg BASE_IMAGE="$BASE" --build-arg PRELOAD_MODELS="$([ -n "$LIGHT" ] && echo 0 || echo demo)" \
        -t "$IMAGE" "$WORK/context"
}

# The image as a careful operator starts it: no network, nothing writable but /tmp.
start() {
    podman "${store[@]}" --cgroup-manager cgroupfs --runtime runc --events-backend none run --rm --network none \
        --no-healthcheck --read-only --tmpfs /tmp --ulimit nofile=16384:16384 --ulimit nproc=16384:16384 "$@"
}

failures=0
# expect "sentence" CODE command...: the command ends with this code; its output is shown when it does not.
expect() {
    local sentence=$1 code=$2 began=$SECONDS got=0
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" || got=$?
    if [ "$got" = "$code" ]; then
        echo "ok      $sentence ($((SECONDS - began)) s)"
    else
        echo "FAILED  $sentence: ended with $got instead of $code"
        tail -n 30 "$WORK/out" "$WORK/err"
        failures=$((failures + 1))
    fi
}
in_bash() { start --entrypoint /bin/bash "$@"; }

structure() {
    local as=(--user "$1")
    expect "user $1: python3 is the locked environment" 0 in_bash "${as[@]}" "$IMAGE" -c \
        '[ "$(command -v python3)" = /opt/venv/bin/python3 ] && python3 -c "import pydantic_settings"'
    expect "user $1: the worker runs below tini, which hands signals on" 0 start "${as[@]}" "$IMAGE" bash -c \
        '[ "$(cat /proc/1/comm)" = tini ] && tr "\0" " " </proc/1/cmdline | grep -q "^/usr/bin/tini -g -- "'
    expect "user $1: every file of the worker may be read" 0 in_bash "${as[@]}" "$IMAGE" -c \
        '[ -z "$(find /app /opt/venv/bin ! -readable)" ]'
    expect "user $1: what the instructions name is there, and nothing private" 0 in_bash "${as[@]}" "$IMAGE" -c \
        'cd /app && ls src/init_and_run.py src/rp_handler.py tests/test_worker_local.py samples/jobs/minimal.json \
        models/demo/model_set.json && [ -z "$(ls -d .git .env .venv tests/test_docs.py 2>/dev/null)" ]'
    expect "user $1: compiled beforehand" 0 in_bash "${as[@]}" "$IMAGE" -c \
        'ls /app/src/scribe/__pycache__/settings.*.pyc /opt/venv/lib/python3*/site-packages/pydantic/__pycache__/main.*.pyc'
    expect "user $1: a wrong setting ends the worker with 78" 78 start "${as[@]}" -e PRESIGN_TTL=soon "$IMAGE"
    expect "user $1: so does a folder that cannot be made" 78 start "${as[@]}" -e JOBS_DIR=/nowhere/jobs "$IMAGE"
    expect "user $1: --check says it as JSON" 78 start "${as[@]}" -e PRESIGN_TTL=soon "$IMAGE" \
        python3 /app/src/init_and_run.py --check --json
}

machinery() {
    local as=(--user "$1" -e MODEL_SET=demo -e OMP_NUM_THREADS=1 -e LD_LIBRARY_PATH="$OLD_LD_LIBRARY_PATH")
    expect "user $1: every CUDA library of the wheels loads by its name" 0 in_bash "${as[@]}" "$IMAGE" -c \
        'python3 /app/builder/cuda_libraries.py'
    expect "user $1: torch finds its cuDNN" 0 in_bash "${as[@]}" "$IMAGE" -c \
        'python3 -c "import torch; assert torch.backends.cudnn.version() >= 90000"'
    expect "user $1: --check finds all that the demo models need" 0 start "${as[@]}" "$IMAGE" \
        python3 /app/src/init_and_run.py --check
    expect "user $1: --check says that the real models are not there" 1 start --user "$1" "$IMAGE" \
        python3 /app/src/init_and_run.py --check --json
    expect "user $1: the local harness" 0 start "${as[@]}" "$IMAGE" python3 /app/tests/test_worker_local.py
    expect "user $1: one job over the stand-in platform" 0 start "${as[@]}" --tmpfs /app/out "$IMAGE" \
        python3 /app/samples/demo.py
}

began=$SECONDS
echo "Making the base (debootstrap, 150 MB to download)"
base
echo "Building the image${LIGHT:+ without the machine learning packages}"
context
build >"$WORK/build.log" 2>&1 || { tail -n 60 "$WORK/build.log"; exit 1; }
echo "Built in $((SECONDS - began)) s. Layers:"
podman "${store[@]}" history --format '{{.Size}}\t{{.CreatedBy}}' --no-trunc "$IMAGE" | grep -v '^0 *B' | cut -c1-110
for user in 0 10001; do
    structure "$user"
    [ -n "$LIGHT" ] || machinery "$user"
done
[ "$failures" = 0 ] && echo "All of it works ($((SECONDS - began)) s)." || { echo "$failures failed."; exit 1; }
