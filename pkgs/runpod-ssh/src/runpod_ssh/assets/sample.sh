#!/bin/sh
# Write blocks of a file, 1 KiB each, from these places on.
#
#   sample.sh FILE SKIP_KIB...
file=$1
shift
case $file in -*) file=./$file ;; esac
for skip; do
    dd if="$file" bs=1024 skip="$skip" count=1 2>/dev/null || exit
done
