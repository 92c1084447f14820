#!/bin/sh
# Rent the pod that the variables GPU_POD_... of vars/gpuPod.groovy describe. It becomes the program: an aborted
# build's signal reaches it, and it gives back what it rented.
set -eu

set -- up --yes --run "$GPU_POD_RUN" --name "$GPU_POD_NAME" --runners-per-pod 0 \
  "--gpu-count=$GPU_POD_GPU_COUNT" "--max-price=$GPU_POD_MAX_PRICE" "--lease=$GPU_POD_LEASE" "--timeout=$GPU_POD_TIMEOUT"
while IFS= read -r gpu; do
  [ -z "$gpu" ] || set -- "$@" "--gpu=$gpu"
done <<GPUS
$GPU_POD_GPU
GPUS
[ -z "$GPU_POD_MIN_MEMORY" ] || set -- "$@" "--min-memory=$GPU_POD_MIN_MEMORY"
[ -z "$GPU_POD_IMAGE" ] || set -- "$@" "--image=$GPU_POD_IMAGE"
[ -z "$GPU_POD_SPOT" ] || set -- "$@" --spot
RUNPOD_OWNER=${RUNPOD_OWNER:-jenkins}
export RUNPOD_OWNER
exec runner-installer "$@"
