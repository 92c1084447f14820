#!/usr/bin/env bash
# cleanup_exec: end the job's pod. Runs after every job, also after a failed prepare_exec, and may be repeated.
source "$(dirname "$(readlink -f "$0")")/driver.sh"

find_run
# GitLab shows stderr as warnings: only what went wrong belongs there
said=$(runner-installer down --run "$run" --grace 0 2>&1) || fail "the pod of $run is left and bills: $said"
echo "$said"
