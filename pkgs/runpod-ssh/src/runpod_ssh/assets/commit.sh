#!/bin/sh
# Put what stands in a stage in its place, or remove it.
#
#   commit.sh STAGE [FINAL [NAME]]    # after stage.sh, in one text with it
#
# Without FINAL the stage is removed. With NAME it is that entry of `payload` alone.
set -eu
stage=$1
case ${stage##*/} in .runpod-ssh-*) ;; *) fail "$stage is no stage" ;; esac
trap 'drop "$stage"' EXIT
[ -n "${2-}" ] || exit 0
if [ -n "${3-}" ]; then
    mv -- "$stage/payload" "$stage/wrap"
    mv -- "$stage/wrap/$3" "$stage/payload"
fi
commit "$stage" "$2"
