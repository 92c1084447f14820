#!/bin/sh
# Print the names of the files in a folder, NUL after each.
#
#   list_files.sh FOLDER
cd "$1" || exit 1
exec find . -type f -print0
