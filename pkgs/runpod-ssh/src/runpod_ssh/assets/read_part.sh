#!/bin/sh
# Write a piece of a file to stdout.
#
#   read_part.sh FILE SKIP_MIB COUNT_MIB
path=$1
case $path in -*) path=./$path ;; esac
exec dd if="$path" bs=1048576 skip="$2" count="$3" 2>/dev/null
