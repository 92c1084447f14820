#!/bin/bash
# Keep one runner going until it has had its job or cannot have one any more.
# $1: the runner's folder. The secret comes once, by the fifo `secret` or by stdin.
#
# run.sh ends with status 0 whatever happened, so the console decides: the patterns
# are in `settings`. What is going on stands in `supervisor`, as key=value lines.
# shellcheck disable=SC2034,SC2317  # read by what stands in front; called by the trap
set -u
cd "$1" || exit 9
RUNNER_FOLDER=$1
# shellcheck source=/dev/null
. ./environment
load_settings
umask 077
if [ -p secret ]; then
	IFS= read -r jit_config <secret
	rm -f secret
else
	IFS= read -r jit_config || jit_config=''
fi
exec </dev/null
# job control: what is started here gets signals as if from a terminal
set -m

note() {
	printf 'state=%s\nrestarts=%s\nreason=%s\nat=%s\n' \
		"$1" "$restarts" "${2:-}" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >supervisor.tmp
	mv supervisor.tmp supervisor
}

# su and runuser stay in between, and would kill what they watch after 2 seconds
terminate() {
	{ read -r name <"/proc/$child/comm"; } 2>/dev/null || return 0
	case $name in
	su | runuser) ;;
	*)
		kill -TERM "$child" 2>/dev/null
		return
		;;
	esac
	for stat in /proc/[0-9]*/stat; do
		{ read -r line <"$stat"; } 2>/dev/null || continue
		# shellcheck disable=SC2086  # splitting into fields is the purpose
		set -- ${line##*) }
		[ "$2" = "$child" ] && kill -TERM "${line%% *}" 2>/dev/null
	done
}

ask_to_stop() {
	stopping=yes
	[ -n "$child" ] && terminate
}

# `ask`: whether installing the libraries has worked is seen only now
needs_no_libicu() {
	case $INVARIANT_CULTURE in
	yes) return 0 ;;
	no) return 1 ;;
	esac
	case $(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null) in
	*libicuuc.so*) return 1 ;;
	esac
	return 0
}

run_once() {
	offset=$(($(wc -c <run.log) + 1))
	(
		umask 022
		if [ ! -e "$APP/.runner" ] && [ -n "$jit_config" ]; then
			export ACTIONS_RUNNER_INPUT_JITCONFIG="$jit_config"
		fi
		# run.sh passes signals on to the listener only when told to
		export RUNNER_MANUALLY_TRAP_SIG=1
		# without this a version that GitHub no longer serves looks like a normal end
		export ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1
		[ "${RUNNER_UID:-$(id -u)}" = 0 ] && export RUNNER_ALLOW_RUNASROOT=1
		needs_no_libicu && export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
		export ACTIONS_RUNNER_HOOK_JOB_STARTED="$APP/.hooks/job-started.sh"
		export ACTIONS_RUNNER_HOOK_JOB_COMPLETED="$APP/.hooks/job-completed.sh"
		if [ "$USER_WAY" != same ]; then
			export HOME="$RUNNER_HOME" USER="$RUNNER_USER" LOGNAME="$RUNNER_USER"
		fi
		export APP TMPDIR="$APP/_tmp"
		# shellcheck disable=SC2016  # the runner's user is to expand it
		text='umask 077; mkdir -p "$TMPDIR"; umask 022; cd "$APP" && unset APP && exec ./run.sh'
		case $USER_WAY in
		setpriv) exec setpriv --reuid "$RUNNER_UID" --regid "$RUNNER_GID" --init-groups sh -c "$text" ;;
		runuser) exec runuser -u "$RUNNER_USER" -- sh -c "$text" ;;
		su) exec su -s /bin/sh "$RUNNER_USER" -c "$text" ;;
		*) exec sh -c "$text" ;;
		esac
	) >>run.log 2>&1 &
	child=$!
	while kill -0 "$child" 2>/dev/null; do
		wait "$child"
	done
	child=''
}

# the lines of this start that look like $1
lines_like() {
	tail -c "+$offset" run.log | tr -d '\000' | LC_ALL=C grep -E -- "$1"
}

said() {
	lines_like "$1" >/dev/null
}

restarts=0 conflicts=0 stopping=no child=''
trap ask_to_stop TERM HUP
printf '%s %s\n' "$$" "$(process_started "$$")" >run.pid.tmp
mv run.pid.tmp run.pid

# run.sh itself starts a listener again and again that cannot work
watch_restarts() {
	while sleep "$WATCH_SECONDS"; do
		[ "$(tail -c 65536 run.log | tr -d '\000' | grep -c '^Restarting runner')" -lt "$RESTART_LIMIT" ] && continue
		echo "Restarted too often: it is stopped." >>run.log
		kill -TERM "$$"
		return
	done
}
watch_restarts &
watcher=$!

while :; do
	note running
	run_once
	if said "$FINISHED_PATTERN"; then
		note finished
		break
	elif [ "$stopping" = yes ]; then
		note stopped
		break
	elif said "$BUSY_PATTERN"; then
		note ended "it ended in the middle of its job"
		break
	elif said "$HOPELESS_PATTERN"; then
		note ended "$(lines_like "$HOPELESS_PATTERN" | head -n 1)"
		break
	fi
	pause=$((RESTART_SECONDS * (restarts * 4 + 1)))
	if said "$CONFLICT_PATTERN"; then
		conflicts=$((conflicts + 1))
		pause=$CONFLICT_SECONDS
	fi
	if [ "$restarts" -ge "$MAX_RESTARTS" ]; then
		note ended "it crashed $((restarts + 1)) times before it had a job"
		break
	fi
	restarts=$((restarts + 1))
	note restarting "it ended before it had a job; started again in $pause s"
	sleep "$pause" &
	wait $!
	[ "$stopping" = yes ] && note stopped && break
done
kill -KILL -- "-$watcher" 2>/dev/null
# a user of its own has nothing to go on with once its one runner has ended
if [ "$OWN_USER" = yes ]; then
	kill_all user "$RUNNER_UID"
fi
exit 0
