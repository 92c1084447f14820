#!/bin/sh
# Print the SHA-256 over the contents of files, in the order given, or `none`.
#
#   digest.sh PATH    # NUL-separated names on stdin, from inside PATH's folder
set -eu
path=$1
[ -n "$path" ] || path=.
case $path in -*) path=./$path ;; esac
if [ -d "$path" ]; then
    cd "$path"
else
    case $path in
    */*) cd "${path%/*}/" ;;
    esac
fi
if command -v sha256sum >/dev/null && command -v xargs >/dev/null; then
    xargs -0 cat -- | sha256sum
else
    echo none
fi
