#!/bin/sh
# Receive one file or tree as a tar stream and put it under its final name when told to.
#
#   receive.sh TARGET NAME SIZE TICKET
#
# TARGET is a path, or a folder that gets NAME; SIZE is the length of the tar stream;
# TICKET makes the stage's name unique. The stream holds one entry, `payload`. It is
# unpacked in a hidden folder beside its place. Then words are read from stdin:
#   digest N   N bytes of NUL-separated names follow; answers their contents' SHA-256
#   commit     moves the payload to its place; answers `done`
# End of input without `commit`, a signal or a failure leave nothing behind.
set -eu
target=$1 name=$2 size=$3 ticket=$4

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

[ -n "$target" ] || target=.
if [ -d "$target" ]; then
    final=${target%/}/$name
else
    case $target in
    */) fail "there is no folder $target" ;;
    *) final=$target ;;
    esac
fi
case $final in
*/*) parent=${final%/*}/ ;;
*) parent=./ final=./$final ;;
esac
case $final in -*) final=./$final ;; esac
[ -d "$parent" ] || fail "there is no folder $parent"

stage=${parent}.runpod-ssh-$ticket
mkdir -m 700 -- "$stage" || fail "cannot write to $parent"
trap 'rm -rf -- "$stage"' EXIT
trap 'exit 1' HUP INT TERM PIPE

# Move everything in folder $1 into the folder $2 that exists; each file by rename.
merge() (
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        to=$2/${entry##*/}
        if [ -d "$entry" ] && [ ! -L "$entry" ]; then
            if [ -d "$to" ] && [ ! -L "$to" ]; then
                merge "$entry" "$to"
                continue
            fi
            [ ! -e "$to" ] || fail "$to is there and is no folder"
        elif [ -d "$to" ] && [ ! -L "$to" ]; then
            fail "$to is there and is a folder"
        elif [ -L "$to" ]; then
            # mv would follow a link to a folder and put the entry inside
            rm -f -- "$to"
        fi
        mv -f -- "$entry" "$to"
    done
)

commit() {
    payload=$stage/payload
    if [ -d "$payload" ] && [ ! -L "$payload" ]; then
        if [ -d "$final" ]; then
            merge "$payload" "$final"
            return
        fi
        [ ! -e "$final" ] || fail "$final is there and is no folder"
    elif [ -d "$final" ]; then
        fail "$final is there and is a folder"
    fi
    mv -f -- "$payload" "$final"
}

if ! head -c "$size" | tar -xpof - -C "$stage"; then
    free=$(df -Pk -- "$parent" 2>/dev/null | awk 'NR == 2 {print $4}') || free=
    fail "unpacking failed${free:+; $free KiB are free in $parent}"
fi
echo staged

while read -r word count; do
    case $word in
    digest)
        if command -v sha256sum >/dev/null && command -v xargs >/dev/null; then
            (cd "$stage" && head -c "$count" | xargs -0 cat -- | sha256sum)
        else
            head -c "$count" >/dev/null
            echo none
        fi
        ;;
    commit)
        commit
        printf 'done %s\n' "$final"
        exit 0
        ;;
    esac
done
exit 1
