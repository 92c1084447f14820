#!/bin/sh
# Write stdin into a file of a stage, from a place on.
#
#   write_part.sh STAGE NAME SEEK_MIB [MODE TIME SIZE]
#
# With MODE, TIME (as touch -t takes it, UTC) and SIZE the file is complete after it.
stage=$1
file=$1/$2
LC_ALL=C
export LC_ALL
case $file in -*) file=./$file ;; esac
umask 077
mkdir -p -- "${file%/*}" || exit 1

give_up() {
    # the folder above: another part that failed may have removed the stage
    folder=${stage%/*}
    free=$(df -Pk -- "${folder:-/}" 2>/dev/null | awk 'NR == 2 {print $4}')
    # below its complaint dd counts what it did
    why=$(printf '%s\n' "$said" | head -n 1)
    printf '%s\n' "$why${free:+; $free KiB are free in ${folder:-/}}" >&2
    # a full disk is not to be kept full
    rm -rf -- "$stage"
    exit 1
}

said=$(dd of="$file" bs=1048576 seek="$3" conv=notrunc 2>&1) || give_up
[ -n "${4-}" ] || exit 0
said=$(dd if=/dev/null of="$file" bs=1 seek="$6" count=0 2>&1) || give_up
chmod "$4" "$file" || exit 1
TZ=UTC0 touch -t "$5" "$file"
