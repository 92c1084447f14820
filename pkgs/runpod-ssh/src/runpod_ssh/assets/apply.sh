#!/bin/sh
# Carry out a part of a sync: read a tar stream and do the steps that are in it.
#
#   apply.sh FOLDER TICKET    # after stage.sh, in one text with it
#
# FOLDER is made where only its parent is there; TICKET makes the stage's name unique.
# The stream holds what is new as `payload/...` and, last, shell text `steps` made of
# calls of the functions below. A stream that is cut off has no steps: nothing happens.
# Everything is unpacked in a hidden folder within FOLDER and gets its place by rename.
# Nothing is removed but what is named, and no folder with anything in it.
set -eu
umask 077
LC_ALL=C CDPATH=
export LC_ALL CDPATH
folder=$1 ticket=$2
verified=no left=0

[ -n "$folder" ] || folder=.
case $folder in -*) folder=./$folder ;; esac
if [ ! -d "$folder" ]; then
    (umask 022 && mkdir -- "$folder") || fail "cannot make $folder"
fi
cd -- "$folder" || fail "cannot enter $folder"
root=$PWD
stage=./.runpod-ssh-$ticket
drop_old ./
mkdir -- "$stage" || fail "cannot write to $folder$(free_space "$root")"
trap 'drop "$stage"' EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "$$" >"$stage/pid"
mkdir -- "$stage/payload"

# check SHA256: compare what the function `contents` reads with what was sent
check() {
    # openssl has the processor do it, five times as fast as some sha256sum
    if echo | openssl dgst -sha256 -r >/dev/null 2>&1; then
        hash='openssl dgst -sha256 -r'
    else
        hash=sha256sum
    fi
    if command -v "${hash%% *}" >/dev/null; then
        found=$(cd -- "$stage/payload" && contents | $hash)
        [ "${found%% *}" = "$1" ] || fail "what arrived differs from what was sent"
        verified=yes
    fi
}

# place FOLDER NAME...: move new things from the stage into a folder
place() (
    cd -- "$stage/payload/$1"
    to=$root/$1/
    shift
    exec mv -f -- "$@" "$to"
)

remove() {
    rm -f -- "$@"
}

# folders that hold more than was told stay, as what is excluded does
remove_folders() {
    rmdir -- "$@" 2>/dev/null || :
    for name; do
        [ ! -d "$name" ] || left=$((left + 1))
    done
}

# what is in the way must go, and does not when something in it is excluded
clear_folders() {
    rmdir -- "$@"
}

set_mode() {
    chmod -- "$@"
}

set_time() {
    TZ=UTC0 touch -c -t "$@"
}

tar -xpof - -C "$stage" || fail "unpacking failed$(free_space "$root")"
[ -f "$stage/steps" ] || fail "the stream ended early"
# shellcheck disable=SC1091  # it comes with the stream
. "$stage/steps"
echo "done $verified $left"
