#!/bin/sh
# Delete a runner's folder with its user, and with the last runner the packages that
# were sent. RUNNER_FOLDER; KEEP_LOG: yes to keep what the installation wrote.
# Safe to repeat; says what it did.
set -u
PATH=$PATH:/usr/sbin:/sbin
root=${RUNNER_FOLDER%/*}

case $RUNNER_FOLDER in
*/../* | */.. | */./* | */.) exit 9 ;;
/*/actions-runner/?*) ;;
*) exit 9 ;;
esac
if [ -d "$RUNNER_FOLDER" ] && [ ! -O "$RUNNER_FOLDER" ]; then
	exit 9
fi

if [ -d "$RUNNER_FOLDER" ]; then
	load_settings
	if [ "$KEEP_LOG" = yes ]; then
		mkdir -p "$root/.logs" && cat "$RUNNER_FOLDER/install.log" "$RUNNER_FOLDER/run.log" \
			>"$root/.logs/${RUNNER_FOLDER##*/}.log" 2>/dev/null
	fi
	if [ "$OWN_USER" = yes ] && id -u "$RUNNER_USER" >/dev/null 2>&1; then
		home=$(getent passwd "$RUNNER_USER" 2>/dev/null || grep "^$RUNNER_USER:" /etc/passwd)
		home=$(printf '%s' "$home" | cut -d: -f6)
		{ userdel -r "$RUNNER_USER" || deluser --remove-home "$RUNNER_USER"; } >/dev/null 2>&1
		case $home in
		/*/"$RUNNER_USER") rm -rf -- "$home" ;;
		esac
		id -u "$RUNNER_USER" >/dev/null 2>&1 && printf 'kept_user=%s\n' "$RUNNER_USER"
	elif [ "$APP" != "$RUNNER_FOLDER/runner" ]; then
		export APP
		# shellcheck disable=SC2016  # the runner's user is to expand it
		as_user 'rm -rf -- "$APP"'
	fi
	rm -rf -- "$RUNNER_FOLDER" || exit 9
	printf 'deleted=yes\n'
else
	printf 'deleted=absent\n'
fi

for other in "$root"/*/; do
	[ -d "$other" ] && exit 0
done
[ "$KEEP_LOG" = yes ] && exit 0
[ -O "$root" ] || exit 0
rm -rf -- "$root/.cache" "$root/.logs"
rmdir -- "$root" 2>/dev/null
exit 0
