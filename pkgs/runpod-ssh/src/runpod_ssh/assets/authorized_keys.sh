#!/bin/sh
# Change who may log in here, in ~/.ssh/authorized_keys, whole or not at all.
#
#   authorized_keys.sh add KEY LINE      let LINE in, whose base64 part is KEY
#   authorized_keys.sh remove KEY...     drop every line that holds one of the keys
#
# POSIX sh and its builtins do all but mkdir, mv, cat and rm.
set -eu
umask 077

verb=$1
shift
folder=$HOME/.ssh
file=$folder/authorized_keys
scratch=$file.runpod-ssh.$$
mkdir -p "$folder"
trap 'rm -f "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

print_without() {
    [ -f "$file" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        for key in "$@"; do
            case $line in
                *"$key"*) continue 2 ;;
            esac
        done
        printf '%s\n' "$line"
    done <"$file"
}

case $verb in
    add)
        print_without "$1" >"$scratch"
        printf '%s\n' "$2" >>"$scratch"
        ;;
    remove)
        print_without "$@" >"$scratch"
        ;;
    *)
        exit 2
        ;;
esac

# a link leads to where somebody wants the file to be
if [ -L "$file" ]; then
    cat "$scratch" >"$file"
else
    mv -f "$scratch" "$file"
fi
