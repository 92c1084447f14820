#!/usr/bin/env bash
# ssh-runner.sh: reach a pod over SSH. POD is a pod's id or its unique name.
#
#   ssh-runner.sh exec POD "COMMAND"      exits with the command's status, 255 when SSH fails
#   ssh-runner.sh shell POD
#   ssh-runner.sh copy SOURCE TARGET      one of them as POD:PATH
#   ssh-runner.sh info POD                address, host key, the ssh command to type
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "$(readlink -f "$0")")/environment.sh"

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 2 ] || usage
action=$1
shift
case $action in
exec | shell | copy | info) exec runpod-ssh "$action" "$@" ;;
*) usage ;;
esac
