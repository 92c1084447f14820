#!/bin/sh
# Print the SHA-256 of a file, or over the contents of a folder's files, or `none`.
#
#   digest.sh PATH [parts]    # after hashing.sh, in one text with it
#
# For a folder stdin has NUL-separated names, from inside it; with `parts` what tells dd
# a part of a file: if=NAME, skip=MIB and count=MIB.
set -eu
path=$1
shift
[ -n "$path" ] || path=.
case $path in -*) path=./$path ;; esac
if [ -d "$path" ]; then
    cd "$path"
    hash_names "$@"
else
    hash_file <"$path"
fi
