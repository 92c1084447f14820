# shellcheck shell=bash
# To be sourced: puts the project's programs on PATH, and, when no RunPod key is configured while a demo is running
# on this machine, points them at the demo's simulated cloud, saying so.
scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
if ! command -v runpod-client >/dev/null || [ -x "$scripts/../.venv/bin/runpod-client" ]; then
  "$scripts/bootstrap"
  PATH="$(readlink -f "$scripts/../.venv/bin"):$PATH"
  export PATH
fi

demo_env=${XDG_STATE_HOME:-$HOME/.local/state}/runpod/demo.env
if [ -z "${RUNPOD_API_KEY:-}${RUNPOD_API_KEY_FILE:-}" ] && [ -r "$demo_env" ]; then
  demo_pid=$(sed -n 's/^# pid //p' "$demo_env")
  if [ -n "$demo_pid" ] && [ -d "/proc/$demo_pid" ]; then
    # shellcheck source=/dev/null
    . "$demo_env"
    echo "(the demo's simulated cloud at $RUNPOD_API_BASE_URL)" >&2
  fi
fi
