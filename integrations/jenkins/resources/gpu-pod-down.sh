#!/bin/sh
# End the pod of GPU_POD_RUN; safe to repeat, and without a pod there is nothing to do.
set -eu

RUNPOD_OWNER=${RUNPOD_OWNER:-jenkins}
export RUNPOD_OWNER
exec runner-installer down --run "$GPU_POD_RUN" --name "$GPU_POD_NAME" --grace 0
