#!/bin/sh
# Running one custom step with a time limit; it is put in front of other scripts.

# run_step SECONDS LOG COMMAND: its status, or 124 when its time was up. The command
# gets a session of its own, which ends with it.
run_step() {
	step_seconds=$1 step_log=$2 step_command=$3
	# its pid must be its session's number, so nothing may fork in between
	setsid sh -c "$step_command" >>"$step_log" 2>&1 </dev/null &
	step_pid=$!
	tenths=$((step_seconds * 10))
	while [ "$tenths" -gt 0 ] && [ -n "$(process_started "$step_pid")" ]; do
		sleep 0.1
		tenths=$((tenths - 1))
	done
	step_status=124
	if [ -z "$(process_started "$step_pid")" ]; then
		wait "$step_pid"
		step_status=$?
	fi
	kill_all session "$step_pid"
	# bash would tell of the kill in the job's log
	wait "$step_pid" 2>/dev/null
	return "$step_status"
}
