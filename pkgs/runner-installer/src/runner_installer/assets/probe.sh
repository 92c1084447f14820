#!/bin/sh
# Tell what an installation must know about this pod, as key=value lines.
# FOLDER: where a person wants the runners, or empty. It changes nothing.
set -u
PATH=$PATH:/usr/sbin:/sbin

printf 'home=%s\n' "$HOME"
printf 'user_id=%s\n' "$(id -u)"
printf 'user=%s\n' "$(id -un 2>/dev/null)"
printf 'os=%s\n' "$(uname -s)"
printf 'architecture=%s\n' "$(uname -m)"

for program in bash tar gzip setsid sha256sum base64; do
	command -v "$program" >/dev/null 2>&1 || printf 'missing=%s\n' "$program"
done

if command -v ldconfig >/dev/null 2>&1; then
	case $(ldconfig -p 2>/dev/null) in
	*libicuuc.so*) printf 'libicu=yes\n' ;;
	*) printf 'libicu=no\n' ;;
	esac
fi

case $(ls -ld "$HOME" 2>/dev/null) in
d??????---*) ;;
d*) printf 'home_open=yes\n' ;;
esac

if [ "$(id -u)" = 0 ]; then
	for tool in useradd adduser; do
		command -v "$tool" >/dev/null 2>&1 && printf 'user_tool=%s\n' "$tool" && break
	done
	if setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null; then
		printf 'user_way=setpriv\n'
	elif command -v runuser >/dev/null 2>&1; then
		printf 'user_way=runuser\n'
	elif command -v su >/dev/null 2>&1; then
		printf 'user_way=su\n'
	fi
fi

# is there room at $1, which may have still to be made? then runners go to $2
offer() {
	[ -d "$1" ] && [ -w "$1" ] || return 1
	printf 'base=%s\n' "$2"
	df -Pk "$1" 2>/dev/null | {
		read -r _ || :
		read -r _ _ _ free_kb _ && printf 'free_kb=%s\n' "$free_kb"
	}
}

if [ -n "$FOLDER" ]; then
	nearest=$FOLDER
	while [ ! -d "$nearest" ] && [ -n "$nearest" ]; do
		nearest=${nearest%/*}
	done
	offer "${nearest:-/}" "$FOLDER"
else
	for place in "$HOME" /workspace "${TMPDIR:-/tmp}"; do
		offer "$place" "$place" && break
	done
fi
printf 'end=yes\n'
