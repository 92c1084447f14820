#!/bin/sh
# Show every runner below ~/actions-runner: who it is, whether it lives, its console.
# LOG_BYTES: how much of each console's end to show.
set -u

for folder in "$HOME"/actions-runner/*/; do
	[ -d "$folder" ] || continue
	folder=${folder%/}
	printf 'runner=%s\n' "${folder##*/}"
	printf 'folder=%s\n' "$folder"
	if [ -r "$folder/record.json" ]; then
		printf 'record=%s\n' "$(head -c 65536 "$folder/record.json" | base64 | tr -d '\n')"
	fi
	pid='' started=''
	if [ -r "$folder/run.pid" ] && read -r pid started <"$folder/run.pid"; then
		printf 'pid=%s\n' "$pid"
		if [ -n "$started" ] && [ "$(process_started "$pid")" = "$started" ]; then
			printf 'alive=yes\n'
		fi
	fi
	if [ -r "$folder/run.log" ]; then
		printf 'log=%s\n' "$(tail -c "$LOG_BYTES" "$folder/run.log" | base64 | tr -d '\n')"
	fi
done
printf 'end=yes\n'
