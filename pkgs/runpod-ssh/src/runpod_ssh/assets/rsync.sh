#!/bin/sh
# One end of rsync for one file, with its digest.
#
#   rsync.sh from FILE DIGEST ARGUMENT...               # after stage.sh, in one text
#   rsync.sh to FILE TICKET MODE TIME ARGUMENT...
#
# `to` lets rsync make of the file that is there a new one in a hidden folder beside it,
# and leaves that to commit.sh.
# The SHA-256 goes to stderr behind the word sha256, or `none`; with `from` where DIGEST
# is `yes`.
set -eu
LC_ALL=C CDPATH=
export LC_ALL CDPATH
way=$1 file=$2
shift 2
case $file in -*) file=./$file ;; esac
command -v rsync >/dev/null || fail "the pod has no rsync"
if [ ! -f "$file" ] || [ -L "$file" ]; then fail "$file is no file"; fi

# openssl has the processor do it, five times as fast as some sha256sum
digest() {
    if echo | openssl dgst -sha256 -r >/dev/null 2>&1; then
        sum=$(openssl dgst -sha256 -r)
    elif command -v sha256sum >/dev/null; then
        sum=$(sha256sum)
    else
        sum=none
    fi
    echo "sha256 ${sum%% *}" >&2
}

if [ "$way" = from ]; then
    exec 3<"$file"
    want=$1
    shift
    [ "$want" != yes ] || digest </dev/fd/3 &
    rsync "$@" || {
        status=$?
        kill "$!" 2>/dev/null || :
        exit "$status"
    }
    wait "$!"
    exit 0
fi

ticket=$1 mode=$2 time=$3
shift 3
umask 077
case $file in
*/*) cd -- "${file%/*}/" ;;
esac
name=./${file##*/}
stage=.runpod-ssh-$ticket
mkdir -- "$stage" || fail "cannot write to $PWD$(free_space .)"
trap 'drop "./$stage"' EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "$$" >"$stage/pid"
# rsync never writes into what is there: it makes a new file of it and renames that
ln -- "$name" "$stage/payload"
(cd -- "$stage" && exec rsync "$@")
digest <"$stage/payload"
chmod -- "$mode" "$stage/payload"
TZ=UTC0 touch -c -t "$time" "$stage/payload"
rm -f -- "$stage/pid"
trap - EXIT
