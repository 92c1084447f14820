#!/bin/sh
# Run GPU_POD_COMMAND on the pod GPU_POD; the exit status is the command's own.
set -eu

exec runpod-ssh exec "$GPU_POD" -- "set -e
$GPU_POD_COMMAND" </dev/null
