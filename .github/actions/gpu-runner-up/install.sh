#!/usr/bin/env bash
# install.sh: have runner-installer and runpod-client on the PATH of this job's next steps.
# Takes what is there; else builds it with Nix where that is installed, else with pip from requirements.lock, whose
# hashes are checked.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../../.." && pwd)

if command -v runner-installer >/dev/null && command -v runpod-client >/dev/null; then
  exit 0
fi
if command -v nix >/dev/null; then
  nix --extra-experimental-features 'nix-command flakes' build --no-link --print-out-paths \
    "path:$root#runner-installer" "path:$root#runpod-client" "path:$root#runpod-ssh" |
    sed 's|$|/bin|' >>"$GITHUB_PATH"
else
  "$root/scripts/bootstrap"
  echo "$root/.venv/bin" >>"$GITHUB_PATH"
fi
