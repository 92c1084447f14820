#!/bin/sh
# Make the folders of one runner, and its user where it has one of its own.
# RUNNER_FOLDER; RUNNER_USER: empty to stay the present user; USER_TOOL: what makes
# users here; HOMES: where their homes go, empty for the system's own place;
# OWN_USER: yes where the user serves this runner alone; RECORD: where the runner is
# to be registered, as the record says it. Safe to repeat.
set -u
PATH=$PATH:/usr/sbin:/sbin
umask 077
mkdir -p "${RUNNER_FOLDER%/*}/.cache" "$RUNNER_FOLDER" || exit 9
# in a folder that somebody else made, that one decides what is run
[ -O "${RUNNER_FOLDER%/*}" ] || {
	echo "${RUNNER_FOLDER%/*} belongs to another user" >&2
	exit 9
}
chmod 700 "$RUNNER_FOLDER" "${RUNNER_FOLDER%/*}"
# from here on GitHub can be asked about it, however early this ends
[ -s "$RUNNER_FOLDER/record.json" ] || printf '%s\n' "$RECORD" >"$RUNNER_FOLDER/record.json"
if [ -z "$RUNNER_USER" ]; then
	printf 'uid=%s\ngid=%s\nuser_home=%s\n' "$(id -u)" "$(id -g)" "$HOME"
	exit 0
fi

# first the note, then the user: removing finds it however early this ends
printf 'RUNNER_USER=%s OWN_USER=%s\n' "$RUNNER_USER" "$OWN_USER" >"$RUNNER_FOLDER/settings"
shell=$(command -v bash || echo /bin/sh)
home=${HOMES:+$HOMES/$RUNNER_USER}
if [ -n "$HOMES" ]; then
	# way in for the user, but nothing to list
	mkdir -p "$HOMES" && chmod a+x "$HOMES" || exit 9
fi
if ! id -u "$RUNNER_USER" >/dev/null 2>&1; then
	case $USER_TOOL in
	useradd) useradd --no-log-init --create-home ${home:+--home-dir "$home"} --shell "$shell" "$RUNNER_USER" ;;
	adduser) adduser -D -s "$shell" ${home:+-h "$home"} "$RUNNER_USER" </dev/null ;;
	*) echo "there is no useradd and no adduser" >&2 && exit 8 ;;
	esac || {
		echo "the user $RUNNER_USER could not be made" >&2
		exit 8
	}
fi

entry=$(getent passwd "$RUNNER_USER" 2>/dev/null || grep "^$RUNNER_USER:" /etc/passwd)
user_home=$(printf '%s' "$entry" | cut -d: -f6)
[ -n "$user_home" ] || {
	echo "the user $RUNNER_USER has no home" >&2
	exit 8
}
if [ "$OWN_USER" = yes ]; then
	mkdir -p "$user_home" && chown "$RUNNER_USER" "$user_home" && chmod 700 "$user_home" || exit 8
fi
printf 'uid=%s\ngid=%s\nuser_home=%s\n' \
	"$(id -u "$RUNNER_USER")" "$(id -g "$RUNNER_USER")" "$user_home"
