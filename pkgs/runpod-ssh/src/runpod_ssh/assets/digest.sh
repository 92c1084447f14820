#!/bin/sh
# Print the SHA-256 of a file, or over the contents of a folder's files, or `none`.
#
#   digest.sh PATH [parts]
#
# For a folder stdin has NUL-separated names, from inside it; with `parts` what tells dd
# a part of a file: if=NAME, skip=MIB and count=MIB.
set -eu
path=$1
[ -n "$path" ] || path=.
case $path in -*) path=./$path ;; esac
# openssl has the processor do it, five times as fast as some sha256sum
if echo | openssl dgst -sha256 -r >/dev/null 2>&1; then
    hash='openssl dgst -sha256 -r'
else
    hash=sha256sum
fi
if ! command -v "${hash%% *}" >/dev/null; then
    echo none
elif [ ! -d "$path" ]; then
    $hash <"$path"
elif command -v xargs >/dev/null; then
    cd "$path"
    if [ -n "${2-}" ]; then
        xargs -0 -n 3 dd bs=1048576 2>/dev/null | $hash
    else
        xargs -0 cat -- | $hash
    fi
else
    echo none
fi
