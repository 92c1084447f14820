#!/bin/sh
# Print the SHA-256 of a file, or over the contents of a folder's files, or `none`.
#
#   digest.sh PATH    # for a folder: NUL-separated names on stdin, from inside it
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
    xargs -0 cat -- | $hash
else
    echo none
fi
