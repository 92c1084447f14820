#!/usr/bin/env bash
# prepare_exec: rent the job's pod. This costs money from now on until cleanup_exec, or until the lease's end.
# GitLab repeats it up to three times after a system failure: a pod that is there already is taken.
#
# From the job (variables: in .gitlab-ci.yml): GPU_TYPE, GPU_COUNT, GPU_MIN_MEMORY, GPU_SPOT, and its image.
# From the host alone: GPU_MAX_PRICE in USD per hour, GPU_LEASE, GPU_DEFAULT_TYPE, GPU_TIMEOUT in seconds.
source "$(dirname "$(readlink -f "$0")")/driver.sh"

find_run
gpu=${CUSTOM_ENV_GPU_TYPE:-${GPU_DEFAULT_TYPE:-}}
memory=${CUSTOM_ENV_GPU_MIN_MEMORY:-}
args=(up --yes --run "$run" --name gitlab --runners-per-pod 0)
args+=("--gpu-count=${CUSTOM_ENV_GPU_COUNT:-1}" --lease "${GPU_LEASE:-4h}" --timeout "${GPU_TIMEOUT:-900}")
[ -n "${GPU_MAX_PRICE:-}" ] || fail "the host must set GPU_MAX_PRICE, the most a job's pod may cost in USD per hour"
args+=(--max-price "$GPU_MAX_PRICE")
[ -z "$gpu" ] || args+=("--gpu=$gpu")
[ -z "$memory" ] || args+=("--min-memory=$memory")
[ -z "${CUSTOM_ENV_CI_JOB_IMAGE:-}" ] || args+=("--image=$CUSTOM_ENV_CI_JOB_IMAGE")
[ "${CUSTOM_ENV_GPU_SPOT:-}" != true ] || args+=(--spot)

# the driver is a child so that whatever it ends with is a system failure; GitLab signals the whole group
runner-installer "${args[@]}" || fail "no pod could be had"
