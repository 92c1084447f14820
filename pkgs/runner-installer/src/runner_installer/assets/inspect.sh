#!/bin/sh
# Show every runner on this pod: who it is, whether it lives, its console.
# FOLDER: a place a person chose, or empty; ONLY: one runner's name, or empty for all;
# LOG_BYTES: how much of each console's end.
set -u

packed() {
	base64 | tr -d '\n'
}

show() {
	RUNNER_FOLDER=$1
	load_settings
	printf 'runner=%s\n' "${RUNNER_FOLDER##*/}"
	printf 'folder=%s\n' "$RUNNER_FOLDER"
	[ "$USER_WAY" = same ] || printf 'user=%s\n' "$RUNNER_USER"
	if [ -r "$RUNNER_FOLDER/record.json" ]; then
		printf 'record=%s\n' "$(head -c 65536 "$RUNNER_FOLDER/record.json" | packed)"
	fi
	pid='' started=''
	if [ -r "$RUNNER_FOLDER/run.pid" ] && read -r pid started <"$RUNNER_FOLDER/run.pid"; then
		printf 'pid=%s\n' "$pid"
		if [ -n "$started" ] && [ "$(process_started "$pid")" = "$started" ]; then
			printf 'alive=yes\n'
		fi
	fi
	touched=$(stat -c %Y "$RUNNER_FOLDER/install.log" 2>/dev/null) &&
		printf 'age=%s\n' "$(($(date +%s) - touched))"
	if [ -r "$RUNNER_FOLDER/supervisor" ]; then
		printf 'supervisor=%s\n' "$(head -c 4096 "$RUNNER_FOLDER/supervisor" | packed)"
	fi
	# a job could have put anything there, also a link: its user reads it, not we
	export APP
	# shellcheck disable=SC2016  # the runner's user is to expand it
	printf 'job=%s\n' "$(as_user 'head -c 4096 "$APP/.hooks/job" 2>/dev/null' | packed)"
	if [ -r "$RUNNER_FOLDER/run.log" ]; then
		printf 'log=%s\n' "$(tail -c "$LOG_BYTES" "$RUNNER_FOLDER/run.log" | packed)"
	fi
}

seen=''
for place in ${FOLDER:+"$FOLDER"} "$HOME" /workspace "${TMPDIR:-/tmp}"; do
	[ -d "$place/actions-runner" ] || continue
	[ -O "$place/actions-runner" ] || continue
	case $seen in *"|$place|"*) continue ;; esac
	seen="$seen|$place|"
	for folder in "$place"/actions-runner/*/; do
		[ -d "$folder" ] || continue
		folder=${folder%/}
		[ "${ONLY:-${folder##*/}}" = "${folder##*/}" ] && show "$folder"
	done
done
printf 'end=yes\n'
