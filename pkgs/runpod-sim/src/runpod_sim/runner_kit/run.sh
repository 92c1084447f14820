#!/bin/bash
# Keeps the runner in this folder going until its listener is done for good.
#
# The exit status tells little: most ends of the listener are answered with 0.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1

next() {
    case "$1" in
    2)
        echo "Restarting runner..."
        ;;
    7)
        echo "Exiting runner..."
        exit 7
        ;;
    *)
        echo "Exiting runner..."
        exit 0
        ;;
    esac
}

run() {
    while :; do
        cp -f "$root/run-helper.sh.template" "$root/run-helper.sh"
        # The split of arguments at blanks is part of the contract.
        # shellcheck disable=SC2048,SC2086
        "$root/run-helper.sh" $*
        next $?
    done
}

forward() {
    echo "Exiting runner..."
    kill -INT -- "-$helper" 2>/dev/null
    wait "$helper"
    exit "$1"
}

run_with_traps() {
    # Job control gives the helper, and with it the listener, a group of its own.
    set -m
    trap 'forward 130' INT
    trap 'forward 143' TERM
    while :; do
        cp -f "$root/run-helper.sh.template" "$root/run-helper.sh"
        # shellcheck disable=SC2048,SC2086
        "$root/run-helper.sh" $* &
        helper=$!
        wait "$helper"
        next $?
    done
}

if [ -n "$RUNNER_MANUALLY_TRAP_SIG" ]; then
    # shellcheck disable=SC2048,SC2086
    run_with_traps $*
else
    # shellcheck disable=SC2048,SC2086
    run $*
fi
