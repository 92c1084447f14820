#!/bin/sh
# Write one file or folder to stdout: a line `file` or `folder`, then a tar stream.
#
#   send.sh PATH
#
# A folder's entries are named from inside it (`./a`), a file is `./NAME`.
set -eu
path=$1

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

[ -n "$path" ] || path=.
case $path in -*) path=./$path ;; esac
if [ -d "$path" ]; then
    cd "$path" || fail "cannot enter $path"
    echo folder
    exec tar -cf - .
fi
[ -e "$path" ] || fail "there is no $path"
[ -f "$path" ] || fail "$path is neither a file nor a folder"
case $path in
*/*) cd "${path%/*}/" ;;
esac
echo file
exec tar -chf - "./${path##*/}"
