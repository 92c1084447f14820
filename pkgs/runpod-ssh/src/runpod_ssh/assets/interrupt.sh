#!/bin/sh
# End every process that carries the mark read from stdin: INT, then TERM, then KILL.
# A shell that was given the mark has it in its command line, all that it started in
# their environment. The mark comes by stdin so that this script does not match itself.
read -r mark || exit 0

marked() {
    # shellcheck disable=SC2062  # these are files: the pattern comes by stdin
    printf '%s\n' "RUNPOD_SSH_CALL=$mark" |
        grep -laFf - /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null |
        sed 's|/proc/||; s|/.*||' | sort -u
}

# a command that was left while it started may show only now
tries=0
while [ -z "$(marked)" ] && [ "$tries" -lt 3 ]; do
    sleep 0.1
    tries=$((tries + 1))
done

for signal in INT TERM KILL; do
    tries=0
    while [ "$tries" -lt 10 ]; do
        pids=$(marked)
        [ -n "$pids" ] || exit 0
        # shellcheck disable=SC2086  # a list of numbers
        [ "$tries" -gt 0 ] || kill -s "$signal" $pids 2>/dev/null
        sleep 0.1
        tries=$((tries + 1))
    done
done
