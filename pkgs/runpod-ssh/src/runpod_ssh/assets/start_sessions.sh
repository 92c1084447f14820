#!/bin/sh
# Run the tmux commands that come by stdin, in the folder $2, on the server named $1.
# tmux's server keeps the environment of whoever starts it and hands it to every later
# session: it gets a few plain variables and none of this call's.
socket=$1
folder=$2

command -v tmux >/dev/null 2>&1 || exit 127
if [ -n "$folder" ] && ! cd -- "$folder" 2>/dev/null; then
    echo "no such folder: $folder" >&2
    exit 66
fi

# a pod may lack the description of tmux's own terminal, hardly ever this other one
kind=tmux-256color
infocmp "$kind" >/dev/null 2>&1 || kind=screen-256color

: "${LANG:=C.UTF-8}" "${SHELL:=/bin/sh}"
set --
for name in HOME USER LOGNAME SHELL PATH LANG LC_ALL LC_CTYPE TZ TMPDIR TMUX_TMPDIR; do
    eval "value=\${$name-}"
    # shellcheck disable=SC2154  # eval has set it
    [ -z "$value" ] || set -- "$@" "$name=$value"
done
exec env -i "$@" tmux -u -L "$socket" -f /dev/null start-server \; \
    set-option -g default-terminal "$kind" \; source-file -
