#!/bin/sh
# Run a custom step as the SSH user. RUNNER_FOLDER, STEP_NAME, STEP_SECONDS; stdin: the
# command. Its output stays in `step-NAME.log`, the end of it goes to stdout.
set -u
umask 077
command=$(cat)
mkdir -p "$RUNNER_FOLDER" || exit 125
log=$RUNNER_FOLDER/step-$STEP_NAME.log
: >"$log"
umask 022
run_step "$STEP_SECONDS" "$log" "$command"
status=$?
tail -c 4096 "$log"
exit "$status"
