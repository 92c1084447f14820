# driver.sh: what the four stages of GitLab's custom executor share; sourced, never run.
# A job's own variables come as CUSTOM_ENV_...; they are data here, quoted everywhere, and the price limit is not theirs.
# shellcheck shell=bash
set -euo pipefail

# outside of GitLab Runner, which sets both, the shell's usual two failures
# shellcheck disable=SC2034  # for the stages
build_failure=${BUILD_FAILURE_EXIT_CODE:-1}
system_failure=${SYSTEM_FAILURE_EXIT_CODE:-2}

# fail WORDS...: this stage failed for no fault of the job's
fail() {
  echo "gpu pod: $*" >&2
  exit "$system_failure"
}

# number NAME: print a variable that must be a number
number() {
  local value=${!1:-}
  [[ $value =~ ^[0-9]{1,15}$ ]] || fail "$1 is ${value:-not set}, which is no number"
  echo "$value"
}

# find_run: set run (what marks the pod) and pod (its name), the same in every stage
find_run() {
  local project job
  project=$(number CUSTOM_ENV_CI_PROJECT_ID) || exit "$system_failure"
  job=$(number CUSTOM_ENV_CI_JOB_ID) || exit "$system_failure"
  # shellcheck disable=SC2034
  run="gitlab/$project/$job/1"
  # shellcheck disable=SC2034  # for the stages
  pod="gitlab-$job-1-1"
}
