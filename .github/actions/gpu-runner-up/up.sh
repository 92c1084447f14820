#!/usr/bin/env bash
# up.sh: `runner-installer up` with the action's inputs, which come as INPUT_... variables and are only ever data.
# It becomes that program, so that a cancelled step's signals reach it: bash would keep them to itself.
set -euo pipefail

args=(up --yes --name "$INPUT_NAME" --count "$INPUT_COUNT" --runners-per-pod "$INPUT_RUNNERS_PER_POD")
args+=(--lease "$INPUT_LEASE" --timeout "$INPUT_TIMEOUT")

# several: add FLAG for every line or comma-separated part of a value
several() {
  local flag=$1 part
  while IFS= read -r part; do
    part=${part#"${part%%[![:space:]]*}"}
    part=${part%"${part##*[![:space:]]}"}
    [ -z "$part" ] || args+=("$flag=$part")
  done < <(tr ',' '\n' <<<"$2")
}
# lines: add FLAG for every line of a value
lines() {
  local flag=$1 line
  while IFS= read -r line; do
    [ -z "$line" ] || args+=("$flag=$line")
  done <<<"$2"
}
# one: add FLAG if there is a value
one() { [ -z "$2" ] || args+=("$1=$2"); }

several --gpu "$INPUT_GPU"
several --data-center "$INPUT_DATA_CENTERS"
one --template "$INPUT_TEMPLATE"
lines --set "$INPUT_SET"
one --gpu-count "$INPUT_GPU_COUNT"
one --cloud "$INPUT_CLOUD"
one --min-memory "$INPUT_MIN_MEMORY"
one --max-price "$INPUT_MAX_PRICE"
one --bid "$INPUT_BID"
one --image "$INPUT_IMAGE"
one --disk "$INPUT_DISK"
one --network-volume "$INPUT_NETWORK_VOLUME"
one --runpod-template "$INPUT_RUNPOD_TEMPLATE"
one --labels "$INPUT_LABELS"
one --repo "$INPUT_REPO"
[ "$INPUT_SPOT" != true ] || args+=(--spot)
[ "$INPUT_KEEP_PARTIAL" != true ] || args+=(--keep-partial)

# every job is another machine: what marks pods as ours must be the same on all of them
export RUNPOD_OWNER="${INPUT_OWNER:-$GITHUB_REPOSITORY}"
exec runner-installer "${args[@]}"
