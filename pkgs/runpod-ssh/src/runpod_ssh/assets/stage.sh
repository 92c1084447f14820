# shellcheck shell=sh
# What the scripts that make a stage share; they follow it in one text.

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# Set `final` and `parent` from where a copy goes and what its source is called.
find_place() {
    [ -n "$1" ] || set -- . "$2"
    if [ -d "$1" ]; then
        final=${1%/}/$2
    else
        case $1 in
        */) fail "there is no folder $1" ;;
        *) final=$1 ;;
        esac
    fi
    case $final in
    */*) parent=${final%/*}/ ;;
    *) parent=./ final=./$final ;;
    esac
    case $final in -*) final=./$final ;; esac
    case $parent in -*) parent=./$parent ;; esac
    [ -d "$parent" ] || fail "there is no folder $parent"
}

# Remove a stage, whatever permissions its folders were given.
drop() {
    rm -rf -- "$1" 2>/dev/null || {
        chmod -R u+rwX -- "$1"
        rm -rf -- "$1"
    }
}

# Say whether the script whose number is in stage $1 still runs.
is_held() {
    old=
    [ -r "$1/pid" ] && read -r old <"$1/pid"
    [ -n "$old" ] && grep -qs runpod-ssh- "/proc/$old/cmdline" 2>/dev/null
}

# Remove the stages in folder $1 that nobody came back to within a day.
drop_old() {
    for past in "$1".runpod-ssh-*; do
        if [ ! -d "$past" ] || [ -L "$past" ]; then continue; fi
        [ -n "$(find "$past" -prune -mtime +0 2>/dev/null)" ] || continue
        is_held "$past" || drop "$past"
    done
}

# Print how much is free where $1 is, for a message.
free_space() {
    free=$(df -Pk -- "$1" 2>/dev/null | awk 'NR == 2 {print $4}') || free=
    printf '%s' "${free:+; $free KiB are free in $1}"
}

# Move the entries of folder $1, which are its arguments 3 and on, into folder $2.
move() {
    from=$1 into=$2
    shift 2
    [ "$#" -eq 0 ] || mv -f -- "$@" "$into/" || fail "cannot move from $from to $into"
}

# Move everything in folder $1 into the folder $2 that exists; each file by rename.
merge() (
    source=$1 place=$2
    set --
    for entry in "$source"/* "$source"/.[!.]* "$source"/..?*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        to=$place/${entry##*/}
        if [ -d "$entry" ] && [ ! -L "$entry" ]; then
            if [ -d "$to" ] && [ ! -L "$to" ]; then
                merge "$entry" "$to" || exit 1
                continue
            fi
            [ ! -e "$to" ] || fail "$to is there and is no folder"
            [ ! -L "$to" ] || rm -f -- "$to"
        elif [ -d "$to" ] && [ ! -L "$to" ]; then
            fail "$to is there and is a folder"
        elif [ -L "$to" ]; then
            # mv would follow a link to a folder and put the entry inside
            rm -f -- "$to"
        fi
        # many files are moved by one mv, and not more than a command line takes
        set -- "$@" "$entry"
        if [ "$#" -ge 100 ]; then
            move "$source" "$place" "$@" || exit 1
            set --
        fi
    done
    move "$source" "$place" "$@"
)

# Move the payload in stage $1 to its place $2.
commit() {
    if [ -d "$1/payload" ] && [ ! -L "$1/payload" ]; then
        if [ -d "$2" ]; then
            merge "$1/payload" "$2"
            return
        fi
        [ ! -e "$2" ] || fail "$2 is there and is no folder"
    elif [ -d "$2" ]; then
        fail "$2 is there and is a folder"
    fi
    mv -f -- "$1/payload" "$2"
}
