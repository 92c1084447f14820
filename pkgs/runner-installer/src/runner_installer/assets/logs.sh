#!/bin/sh
# Print what an installation and a runner wrote. RUNNER_FOLDER, LOG_BYTES.
set -u
kept=${RUNNER_FOLDER%/*}/.logs/${RUNNER_FOLDER##*/}.log
for log in "$RUNNER_FOLDER/install.log" "$RUNNER_FOLDER/run.log" "$kept"; do
	[ -r "$log" ] && tail -c "$LOG_BYTES" "$log"
done
exit 0
