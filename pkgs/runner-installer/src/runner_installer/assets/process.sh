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

# Print the living processes of a session or of a user: living session|user NUMBER
living() {
	for folder in /proc/[0-9]*; do
		{ read -r line <"$folder/stat"; } 2>/dev/null || continue
		pid=${folder##*/}
		# shellcheck disable=SC2086  # splitting into fields is the purpose
		state=${line##*) }
		case $state in Z*) continue ;; esac
		if [ "$1" = session ]; then
			owner=${state#* * * }
			owner=${owner%% *}
		else
			owner=''
			while read -r key value _; do
				[ "$key" = Uid: ] && owner=$value && break
			done 2>/dev/null <"$folder/status"
		fi
		[ "$owner" = "$2" ] && printf '%s\n' "$pid"
	done
	return 0
}

# Kill them all, again until nothing new has been started meanwhile; sets $killed.
kill_all() {
	rounds=50
	while [ "$rounds" -gt 0 ]; do
		found=$(living "$1" "$2")
		[ -n "$found" ] || return 0
		# shellcheck disable=SC2034  # for whoever calls it
		killed=yes
		# shellcheck disable=SC2086  # splitting into numbers is the purpose
		kill -KILL $found 2>/dev/null
		sleep 0.05
		rounds=$((rounds - 1))
	done
	return 1
}
