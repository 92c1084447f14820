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
    if [ -n "${2-}" ] && python3 -c 'import hashlib' >/dev/null 2>&1; then
        # half the time of a pipe
        exec python3 -c '
import hashlib, sys

MIB = 1024 * 1024
digest, buffer, words, rest = hashlib.sha256(), memoryview(bytearray(MIB)), [], b""
while given := sys.stdin.buffer.read1(65536):
    *more, rest = (rest + given).split(b"\0")
    words += [word.split(b"=", 1)[1] for word in more]
    while len(words) >= 3:
        name, skip, count = words[0], int(words[1]), int(words[2])
        del words[:3]
        with open(name, "rb", buffering=0) as file:
            file.seek(skip * MIB)
            left = count * MIB
            while left > 0 and (have := file.readinto(buffer[:left])):
                digest.update(buffer[:have])
                left -= have
print(digest.hexdigest())
'
    elif [ -n "${2-}" ]; then
        xargs -0 -n 3 dd bs=1048576 2>/dev/null | $hash
    else
        xargs -0 cat -- | $hash
    fi
else
    echo none
fi
