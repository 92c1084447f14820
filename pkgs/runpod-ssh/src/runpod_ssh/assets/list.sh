#!/bin/sh
# List everything below a folder: one line naming the dialect, and `rsync` behind it
# where the pod has that, then the entries.
#
#   list.sh FOLDER NEED NAME...
#
# Folders called like a NAME, a pattern for find, are not looked into. NEED is `needed`
# where the folder must be there, else one that can be made is `absent`. Dialects:
#   find  KMODE SIZE TIME PATH, NUL; a link's target follows, NUL       (GNU, toybox)
#   stat  lines HEX SIZE TIME ./PATH; then links and names with newlines, behind a NUL,
#         as HEX SIZE TIME, path, target, NUL after each                (busybox)
#   tar   the whole folder as an archive, where there is neither
set -eu
LC_ALL=C CDPATH=
export LC_ALL CDPATH
folder=$1 need=$2
shift 2

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

[ -n "$folder" ] || folder=.
case $folder in -*) folder=./$folder ;; esac
if [ ! -d "$folder" ]; then
    if [ -e "$folder" ] || [ -L "$folder" ]; then
        fail "$folder is no folder"
    fi
    [ "$need" != needed ] || fail "there is no folder $folder"
    case ${folder%/} in
    */*) parent=${folder%/}; parent=${parent%/*}/ ;;
    *) parent=. ;;
    esac
    [ -d "$parent" ] || fail "there is no folder $parent"
    echo absent
    exit 0
fi
cd -- "$folder" || fail "cannot enter $folder"

# make of the names: -name A -o -name B
names=$#
while [ "$names" -gt 0 ]; do
    set -- "$@" -o -name "$1"
    shift
    names=$((names - 1))
done
shift

rsync=
if command -v rsync >/dev/null; then rsync=' rsync'; fi
if find . -ignore_readdir_race -prune -printf '' 2>/dev/null; then
    echo "find$rsync"
    exec find . -ignore_readdir_race ! -name . \( "$@" \) -prune -o \
        -type l -printf '%y%m %s %T@ %P\0%l\0' -o -printf '%y%m %s %T@ %P\0'
fi
if find . -prune -exec stat -c '%f %s %Y %n' {} + >/dev/null 2>&1; then
    newline='
'
    echo "stat$rsync"
    find . ! -name . \( "$@" \) -prune -o \
        ! -type l ! -path "*$newline*" -exec stat -c '%f %s %Y %n' {} +
    printf '\0'
    # shellcheck disable=SC2016  # expanded by the inner shell
    exec find . ! -name . \( "$@" \) -prune -o \
        \( -type l -o -path "*$newline*" \) -exec sh -c '
            for path; do
                stat -c "%f %s %Y" -- "$path" && printf "\0%s\0" "$path" &&
                    { [ ! -L "$path" ] || readlink -n -- "$path"; } && printf "\0" ||
                    exit
            done
        ' sh {} +
fi
echo "tar$rsync"
exec tar -cf - .
