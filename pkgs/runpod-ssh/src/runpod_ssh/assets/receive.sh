#!/bin/sh
# Receive one file or tree as a tar stream and put it under its final name.
#
#   receive.sh TARGET NAME KEY KEEP WRAP    # after stage.sh and hashing.sh, in one text
#
# TARGET is a path, or a folder that gets NAME; KEY names the stage, a hidden folder
# beside the place. With KEEP `yes` what has come stays there when the copy is cut off,
# and the next with the same KEY goes on with it. With WRAP empty the stream holds
# `payload`, and last `names`, the NUL-separated names of files to compare, and `end`:
# the SHA-256 over their contents, or `-`. Without `end` nothing gets its final name. With
# a WRAP the stream is what belongs into that folder of the stage; it stays there for
# commit.sh.
# Answers are records that end in NUL:
#   stage PATH    once the stage is there; with KEEP follows
#   have LIST     the files left from last time: lines of size, time and name
#   final PATH    with WRAP, at its end
#   done SHA256 FINAL
set -eu
key=$3 keep=$4 wrap=$5
final='' parent='' old=''
LC_ALL=C
export LC_ALL
find_place "$1" "$2"
stage=${parent}.runpod-ssh-$key
drop_old "$parent"

if [ -d "$stage" ] && [ ! -L "$stage" ]; then
    # the same copy once more: the one before has lost its other end
    is_held "$stage" && kill "$old"
    chmod -R u+rwX -- "$stage"
    # nothing is to be written through a link
    find "$stage" -type l -exec rm -f -- {} + 2>/dev/null || drop "$stage"
    rm -f -- "$stage/end" "$stage/names"
fi
umask 077
mkdir -p -- "$stage/$wrap" || fail "cannot write to $parent$(free_space "$parent")"
trap 'leave' EXIT
trap 'exit 1' HUP INT TERM PIPE
leave() {
    if [ "$keep" = yes ]; then rm -f -- "$stage/pid"; else drop "$stage"; fi
}
echo "$$" >"$stage/pid" || {
    keep=no
    fail "cannot write to $parent$(free_space "$parent")"
}

printf 'stage %s\0' "$stage"
if [ "$keep" = yes ]; then
    printf 'have '
    if [ -e "$stage/payload" ]; then
        (cd "$stage" && find payload -type f -exec stat -c '%s %Y %n' -- {} + 2>/dev/null) || :
    fi
    printf '\0'
fi

if ! said=$(tar -xpof - -C "$stage/$wrap" 2>&1); then
    case $said in
    *"o space"* | *"short write"* | *"rote only"* | *uota* | *"too large"*)
        # a full disk is not to be kept full
        keep=no
        room=$(free_space "$parent")
        fail "$said
${room#; }"
        ;;
    esac
    fail "$said"
fi
if [ -n "$wrap" ]; then
    trap - EXIT
    rm -f -- "$stage/pid"
    printf 'final %s\0' "$final"
    exit 0
fi
[ -f "$stage/end" ] || fail "the copy was cut off"
read -r expected <"$stage/end"
# from here on a failure is not one of the way
keep=no

sum=none
if [ "$expected" = - ]; then
    :
elif [ -f "$stage/payload" ]; then
    sum=$(hash_file <"$stage/payload")
else
    sum=$(cd "$stage" && hash_names <names)
fi
sum=${sum%% *}
if [ "$sum" = none ] || [ "$sum" = "$expected" ]; then
    commit "$stage" "$final"
fi
printf 'done %s %s\0' "$sum" "$final"
