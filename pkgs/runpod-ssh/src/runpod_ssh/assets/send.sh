#!/bin/sh
# Write one file or folder to stdout: a line of facts, then a tar stream.
#
#   send.sh PATH LARGE [facts]
#
# The line is `folder`, or `file`, or `file SIZE TIME MODE BLOCKS`. A folder's entries
# are named from inside it (`./a`), a file is `./NAME`. No stream follows for a file of
# LARGE bytes or more: it is read in parts; one with holes is not, where tar keeps them.
# With `facts` no stream follows at all.
set -eu
path=$1

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

[ -n "$path" ] || path=.
case $path in -*) path=./$path ;; esac
case $(tar --version 2>/dev/null) in *GNU*) holes=-S ;; *) holes= ;; esac
if [ -d "$path" ]; then
    cd "$path" || fail "cannot enter $path"
    echo folder
    [ -z "${3-}" ] || exit 0
    # shellcheck disable=SC2086  # one word or none
    exec tar $holes -cf - .
fi
[ -e "$path" ] || fail "there is no $path"
[ -f "$path" ] || fail "$path is neither a file nor a folder"
[ -r "$path" ] || fail "$path cannot be read"
facts=$(stat -L -c '%s %Y %a %b' -- "$path" 2>/dev/null) || facts=
echo "file${facts:+ $facts}"
[ -z "${3-}" ] || exit 0
size=${facts%% *} blocks=${facts##* }
if [ -n "$facts" ] && [ "$size" -ge "$2" ]; then
    [ -n "$holes" ] && [ $((blocks * 512)) -lt "$size" ] || exit 0
fi
case $path in
*/*) cd "${path%/*}/" ;;
esac
# shellcheck disable=SC2086  # one word or none
exec tar $holes -chf - "./${path##*/}"
