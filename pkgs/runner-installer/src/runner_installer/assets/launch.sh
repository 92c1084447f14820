#!/bin/sh
# Start the runner in a session of its own, with its pid and console in files.
# RUNNER_FOLDER: where the package was unpacked. INVARIANT_CULTURE: yes without libicu.
# stdin: the JIT config, which so never stands in an argument or a file of ours.
set -u
umask 077

IFS= read -r jit_config || [ -n "$jit_config" ] || exit 9
cd "$RUNNER_FOLDER" || exit 9
: >>run.log

export ACTIONS_RUNNER_INPUT_JITCONFIG="$jit_config"
# run.sh passes signals on to the listener only when told to
export RUNNER_MANUALLY_TRAP_SIG=1
# without this a version that GitHub no longer serves looks like a normal end
export ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1
if [ "$(id -u)" = 0 ]; then
	export RUNNER_ALLOW_RUNASROOT=1
fi
if [ "${INVARIANT_CULTURE:-no}" = yes ]; then
	export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
fi
# jobs get the umask they would have anywhere else
umask 022

# A shell without job control starts background commands with SIGINT ignored, for
# ever; the listener is stopped by SIGINT, so it must be put back where env can.
if env --default-signal=INT,QUIT sh -c : 2>/dev/null; then
	env --default-signal=INT,QUIT setsid ./run.sh >>run.log 2>&1 </dev/null &
else
	setsid ./run.sh >>run.log 2>&1 </dev/null &
fi
pid=$!

printf '%s %s\n' "$pid" "$(process_started "$pid")" >run.pid.tmp || exit 9
mv run.pid.tmp run.pid || exit 9
printf 'pid=%s\n' "$pid"
