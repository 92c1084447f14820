#!/bin/sh
# Start the runner's supervisor in a session of its own, or as a systemd unit where
# systemd really runs. RUNNER_FOLDER, UNIT: the unit's name.
# stdin: the JIT config, or an empty line for a runner that is configured already; so
# it never stands in an argument or a file of ours.
set -u
umask 077
load_settings

IFS= read -r jit_config || [ -n "$jit_config" ] || exit 9
cd "$RUNNER_FOLDER" || exit 9
service=$UNIT
[ -n "$jit_config" ] || [ -e "$APP/.runner" ] || exit 9
: >>run.log
rm -f run.pid

# A job sees what the runner sees: only what it may know is handed on. RunPod gives
# pods an API key of their own; that, and whatever the login brought along, stays here.
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
	case $name in
	PATH | PWD | LANG | LC_* | TZ | TERM | HOME | USER | LOGNAME | SHELL) ;;
	http_proxy | https_proxy | no_proxy | all_proxy) ;;
	HTTP_PROXY | HTTPS_PROXY | NO_PROXY | ALL_PROXY | SSL_CERT_*) ;;
	CUDA* | NVIDIA_* | NV_* | NCCL_* | LD_LIBRARY_PATH | LIBRARY_PATH | DOTNET_*) ;;
	RUNPOD_POD_ID | RUNPOD_DC_ID | RUNPOD_GPU_COUNT | RUNPOD_CPU_COUNT | RUNPOD_VOLUME_ID) ;;
	ACTIONS_RUNNER_INPUT_*) unset "$name" ;;
	RUNNER_UPDATE_* | RUNNER_WAIT_* | RUNNER_TOOL_CACHE | RUNNER_SIM_* | ACTIONS_RUNNER_*) ;;
	*) unset "$name" 2>/dev/null ;;
	esac
done
RUNNER_FOLDER=$PWD
load_settings
export -p >environment.tmp && mv environment.tmp environment || exit 9

start_as_unit() {
	[ "$(id -u)" = 0 ] && command -v systemd-run >/dev/null 2>&1 || return 1
	case $(systemctl is-system-running 2>/dev/null) in
	running | degraded | starting) ;;
	*) return 1 ;;
	esac
	rm -f secret && mkfifo -m 600 secret || return 1
	if ! said=$(systemd-run --quiet --collect --unit="$service" --property=KillMode=mixed \
		--property=TimeoutStopSec=60 bash "$PWD/supervise.sh" "$PWD" 2>&1 </dev/null); then
		rm -f secret
		printf 'warning=systemd could not start it: %s\n' "$said" | tr '\n' ' '
		echo
		return 1
	fi
	# nobody reads where the unit died at once: then this must not wait for ever
	printf '%s\n' "$jit_config" >secret &
	writer=$!
	wait_for_pid && return 0
	kill "$writer" 2>/dev/null
	rm -f secret
	systemctl stop "$service" 2>/dev/null
	printf 'warning=the systemd unit %s did not come up\n' "$service"
	return 1
}

wait_for_pid() {
	tenths=100
	while [ "$tenths" -gt 0 ]; do
		[ -s run.pid ] && return 0
		sleep 0.1
		tenths=$((tenths - 1))
	done
	return 1
}

mode=unit
if ! start_as_unit; then
	mode=session
	# A shell without job control starts background commands with SIGINT ignored, for
	# ever, and the listener is stopped by SIGINT: so bash, with job control.
	printf '%s\n' "$jit_config" |
		bash -c 'set -m; setsid bash "$1/supervise.sh" "$1" >>"$1/supervise.log" 2>&1 &' launch "$PWD"
	wait_for_pid || {
		echo "the supervisor did not start: $(tail -c 400 supervise.log)" >&2
		exit 9
	}
fi
read -r pid _ <run.pid
printf 'mode=%s\npid=%s\n' "$mode" "$pid"
