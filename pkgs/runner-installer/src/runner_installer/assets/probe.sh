#!/bin/sh
# Tell what an installation must know about this pod, as key=value lines.
set -u
PATH=$PATH:/usr/sbin:/sbin

printf 'home=%s\n' "$HOME"
printf 'user_id=%s\n' "$(id -u)"
printf 'os=%s\n' "$(uname -s)"
printf 'architecture=%s\n' "$(uname -m)"

for program in bash tar gzip setsid sha256sum base64; do
	command -v "$program" >/dev/null 2>&1 || printf 'missing=%s\n' "$program"
done

if env --default-signal=INT,QUIT sh -c : 2>/dev/null; then
	printf 'default_signal=yes\n'
else
	printf 'default_signal=no\n'
fi

if command -v ldconfig >/dev/null 2>&1; then
	case $(ldconfig -p 2>/dev/null) in
	*libicuuc.so*) printf 'libicu=yes\n' ;;
	*) printf 'libicu=no\n' ;;
	esac
fi

df -Pk "$HOME" 2>/dev/null | {
	read -r _ || :
	read -r _ _ _ free_kb _ && printf 'free_kb=%s\n' "$free_kb"
}
printf 'end=yes\n'
