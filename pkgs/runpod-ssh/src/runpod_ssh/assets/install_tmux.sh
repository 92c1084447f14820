#!/bin/sh
# Install tmux with the package manager the pod has; what it says goes to stderr.
exec >&2 </dev/null

command -v tmux >/dev/null 2>&1 && exit 0
as_root=
[ "$(id -u)" -eq 0 ] || as_root="sudo -n"

if command -v apt-get >/dev/null 2>&1; then
    $as_root env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get install -qq -y tmux || { apt-get update -qq && apt-get install -qq -y tmux; }'
elif command -v apk >/dev/null 2>&1; then
    $as_root apk add -q tmux ncurses-terminfo-base
elif command -v dnf >/dev/null 2>&1; then
    $as_root dnf install -q -y tmux
elif command -v yum >/dev/null 2>&1; then
    $as_root yum install -q -y tmux
else
    echo "no package manager that is known here"
    exit 69
fi
