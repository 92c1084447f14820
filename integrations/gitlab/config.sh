#!/usr/bin/env bash
# config_exec: tell GitLab Runner where the job's files lie on its pod. Only the JSON goes to stdout.
source "$(dirname "$(readlink -f "$0")")/driver.sh"

find_run
cat <<JSON
{
  "builds_dir": "/workspace/builds",
  "cache_dir": "/workspace/cache",
  "builds_dir_is_shared": false,
  "hostname": "$pod",
  "driver": {"name": "gpu pod on RunPod", "version": "1"}
}
JSON
