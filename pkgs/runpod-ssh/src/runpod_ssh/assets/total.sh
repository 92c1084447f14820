#!/bin/sh
# Print the size in bytes of all files in a folder, or nothing.
#
#   total.sh PATH
path=${1:-.}
case $path in -*) path=./$path ;; esac
find "$path" -type f -exec stat -c %s -- {} + 2>/dev/null |
    awk '{ sum += $1 } END { printf "%.0f\n", sum }'
