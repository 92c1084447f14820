#!/bin/sh
# Unpack a tar stream into the payload of a stage.
#
#   unpack.sh STAGE    # after stage.sh, in one text with it
set -eu
umask 077
LC_ALL=C
export LC_ALL
tar -xpof - -C "$1/payload" || fail "unpacking failed$(free_space "$1")"
