#!/bin/sh
# What the other scripts need to know about processes; it is put in front of them.

# Print when a living process was started (clock ticks since boot), nothing for one
# that is gone or a zombie: a pod's first process often does not bury the dead.
# Together with the pid this names one process, also after the pid has been reused.
process_started() {
	{ read -r process_stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	# the command's name stands in parentheses and may hold spaces: skip past it
	# shellcheck disable=SC2086  # splitting into fields is the purpose
	set -- ${process_stat##*) }
	[ "$1" = Z ] || printf '%s' "${20}"
}
