#!/bin/sh
# Write chosen files of a folder to stdout as tar streams, one after the other.
#
#   pack.sh FOLDER      # on stdin shell text made of calls of the functions below
#
# The SHA-256 over their contents goes to stderr, behind the word sha256.
set -eu
LC_ALL=C CDPATH=
export LC_ALL CDPATH
folder=$1
[ -n "$folder" ] || folder=.
case $folder in -*) folder=./$folder ;; esac
cd -- "$folder"

# openssl has the processor do it, five times as fast as some sha256sum
if echo | openssl dgst -sha256 -r >/dev/null 2>&1; then
    hash='openssl dgst -sha256 -r'
else
    hash=sha256sum
fi

# GNU's takes a name's \n for a newline unless it is told
case $(tar --version 2>/dev/null) in *GNU*) literal=--no-unquote ;; *) literal= ;; esac
pack() {
    tar ${literal:+"$literal"} -cf - "$@"
}

# of a stage alone: what a copy left there and no longer needs
remove() {
    rm -rf -- "$@"
}

set_mode() {
    chmod -- "$@"
}

# tell what the function `contents` reads amounts to
digest() {
    if command -v "${hash%% *}" >/dev/null; then
        found=$(contents | $hash)
        echo "sha256 ${found%% *}" >&2
    fi
}

# tell each file's SHA-256, a line each, on stdout
sums() {
    $hash "$@"
}

sum_one() {
    $hash <"$1"
}

command -v "${hash%% *}" >/dev/null || [ "${2-}" != sums ] || {
    echo "the pod has no sha256sum" >&2
    exit 1
}
eval "$(cat)"
