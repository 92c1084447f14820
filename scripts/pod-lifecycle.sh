#!/usr/bin/env bash
# pod-lifecycle.sh: the life of a pod in one word each. POD is a pod's id or its unique name.
#
#   pod-lifecycle.sh list
#   pod-lifecycle.sh create POD --gpu "NVIDIA RTX A4000" [more options of `runpod-client pods create`]
#   pod-lifecycle.sh status POD
#   pod-lifecycle.sh wait POD
#   pod-lifecycle.sh start POD        asks first: a running pod costs money (--yes agrees)
#   pod-lifecycle.sh stop POD
#   pod-lifecycle.sh terminate POD    asks first: its disks are deleted (--yes agrees)
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "$(readlink -f "$0")")/environment.sh"

usage() {
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 1 ] || usage
action=$1
shift
case $action in
list) exec runpod-client pods list "$@" ;;
-h | --help | help) usage ;;
esac
[ $# -ge 1 ] || usage
pod=$1
shift
case $action in
create) exec runpod-client pods create --name "$pod" "$@" ;;
status) exec runpod-client pods show "$pod" "$@" ;;
wait | start | stop | terminate) exec runpod-client pods "$action" "$pod" "$@" ;;
*) usage ;;
esac
