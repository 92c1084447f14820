#!/bin/sh
# Put files in place. RUNNER_FOLDER; WHERE: control, or hooks for those of the job;
# stdin: a tar archive of them. Each is replaced at once.
set -u
umask 077
load_settings
if [ "$WHERE" = hooks ]; then
	export APP
	# shellcheck disable=SC2016  # the runner's user is to expand it
	as_user 'umask 077; mkdir -p "$APP/.hooks" && tar -xof - -C "$APP/.hooks"' || exit 9
	exit 0
fi
scratch=$RUNNER_FOLDER/.new
rm -rf "$scratch" && mkdir "$scratch" && tar -xof - -C "$scratch" || exit 9
for file in "$scratch"/*; do
	mv -f "$file" "$RUNNER_FOLDER/" || exit 9
done
rmdir "$scratch"
