#!/bin/sh
# Stop a runner: ask its supervisor, wait, then end whatever is left of its session
# and of its user. RUNNER_FOLDER, GRACE_SECONDS. Safe to repeat; says what it did.
set -u
load_settings

end_user() {
	# only a user that serves this runner alone
	[ "$OWN_USER" = yes ] && [ "${RUNNER_UID:-0}" -gt 0 ] && [ "$RUNNER_UID" != "$(id -u)" ] || return 0
	kill_all user "$RUNNER_UID"
}

killed=no
if ! { read -r pid started <"$RUNNER_FOLDER/run.pid"; } 2>/dev/null; then
	end_user
	printf 'stopped=never-started\n'
	exit 0
fi

how=already-ended
present=$(process_started "$pid")
if [ -n "$present" ] && [ "$present" != "$started" ]; then
	# the pid belongs to somebody else now, and so does a session of that number
	end_user
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

kill_all session "$pid"
end_user
[ "$killed" = yes ] && how=killed
printf 'stopped=%s\n' "$how"
