#!/usr/bin/env bash
# down.sh: `runner-installer down` with the action's inputs, which come as INPUT_... variables and are only ever data.
set -euo pipefail

args=(down --grace "$INPUT_GRACE")
[ -z "$INPUT_NAME" ] || args+=("--name=$INPUT_NAME")
[ -z "$INPUT_REPO" ] || args+=("--repo=$INPUT_REPO")
[ "$INPUT_FORCE" != true ] || args+=(--force)

export RUNPOD_OWNER="${INPUT_OWNER:-$GITHUB_REPOSITORY}"
exec runner-installer "${args[@]}"
