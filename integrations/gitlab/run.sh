#!/usr/bin/env bash
# run_exec [ARGS...] SCRIPT STAGE: run one of GitLab's scripts on the job's pod, with no input.
# A script that fails is the job's failure (and its own status goes into BUILD_EXIT_CODE_FILE, where GitLab Runner
# has one); anything else, like a pod that is gone, is the system's.
source "$(dirname "$(readlink -f "$0")")/driver.sh"

[ $# -ge 2 ] || fail "run_exec takes a script and a stage"
script=${*: -2:1}
stage=${*: -1}
[[ $stage =~ ^[a-z0-9_.-]+$ ]] || fail "$stage is no stage"
find_run

# 100 says "the script failed": ssh's and the pod's own failures have other statuses
# shellcheck disable=SC2016  # expanded on the pod
on_pod='umask 077; d=$(mktemp -d) || exit 101; cat >"$d/script" || exit 101; s=0; bash "$d/script" </dev/null || s=$?
rm -rf "$d"; [ "$s" = 0 ] || { echo "$s" >"$HOME/.gitlab-status"; exit 100; }'
status=0
runpod-ssh exec "$pod" -- sh -c "'$on_pod'" <"$script" || status=$?
case $status in
  0) exit 0 ;;
  100)
    if [ -n "${BUILD_EXIT_CODE_FILE:-}" ]; then
      runpod-ssh exec "$pod" -- cat .gitlab-status </dev/null >"$BUILD_EXIT_CODE_FILE" || true
    fi
    exit "$build_failure"
    ;;
  *) fail "the stage $stage was cut off (status $status)" ;;
esac
