#!/bin/sh
# Stop a runner: ask run.sh, wait, then end whatever is left of its session.
# RUNNER_FOLDER, GRACE_SECONDS. Safe to repeat; says what it did.
set -u

if ! { read -r pid started <"$RUNNER_FOLDER/run.pid"; } 2>/dev/null; then
	printf 'stopped=never-started\n'
	exit 0
fi

how=already-ended
present=$(process_started "$pid")
if [ -n "$present" ] && [ "$present" != "$started" ]; then
	# the pid belongs to somebody else now, and so does a session of that number
	printf 'stopped=already-ended\n'
	exit 0
fi

if [ -n "$present" ]; then
	how=asked
	kill -TERM "$pid" 2>/dev/null
	tenths=$((GRACE_SECONDS * 10))
	while [ "$tenths" -gt 0 ] && [ "$(process_started "$pid")" = "$started" ]; do
		sleep 0.1
		tenths=$((tenths - 1))
	done
fi

for stat in /proc/[0-9]*/stat; do
	{ read -r line <"$stat"; } 2>/dev/null || continue
	other=${line%% *}
	# shellcheck disable=SC2086  # splitting into fields is the purpose
	set -- ${line##*) }
	if [ "$1" != Z ] && [ "$4" = "$pid" ]; then
		kill -KILL "$other" 2>/dev/null && how=killed
	fi
done
printf 'stopped=%s\n' "$how"
