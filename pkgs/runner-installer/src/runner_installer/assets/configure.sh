#!/bin/sh
# Register the runner with a registration token, by its own script. RUNNER_FOLDER,
# CONFIG_URL, CONFIG_NAME, CONFIG_LABELS, CONFIG_WORK, CONFIG_GROUP (empty for the
# default); stdin: the token, which so never stands in an argument or a file.
set -u
load_settings
IFS= read -r token || [ -n "$token" ] || exit 9
export APP CONFIG_URL CONFIG_NAME CONFIG_LABELS CONFIG_WORK CONFIG_GROUP
export ACTIONS_RUNNER_INPUT_TOKEN="$token"
[ "${RUNNER_UID:-$(id -u)}" = 0 ] && export RUNNER_ALLOW_RUNASROOT=1
case ${INVARIANT_CULTURE:-no} in
yes) export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 PROGRAM='./bin/Runner.Listener configure' ;;
*) export PROGRAM=./config.sh ;;
esac
# shellcheck disable=SC2016  # the runner's user is to expand it
as_user 'cd "$APP" || exit 9
[ -e .runner ] && exit 0
exec $PROGRAM --unattended --ephemeral --disableupdate --no-default-labels \
	--url "$CONFIG_URL" --name "$CONFIG_NAME" --labels "$CONFIG_LABELS" \
	--work "$CONFIG_WORK" ${CONFIG_GROUP:+--runnergroup "$CONFIG_GROUP"}' >&2 </dev/null
