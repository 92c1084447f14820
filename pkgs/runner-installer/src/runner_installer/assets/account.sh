#!/bin/sh
# Acting as the user the runner belongs to; it is put in front of other scripts.
# USER_WAY: how to become that user here (same, setpriv, runuser, su), with
# RUNNER_USER, RUNNER_UID and RUNNER_GID.

# Run a shell script, given as text, as the runner's user: as_user TEXT
as_user() {
	case $USER_WAY in
	setpriv) setpriv --reuid "$RUNNER_UID" --regid "$RUNNER_GID" --init-groups sh -c "$1" ;;
	runuser) runuser -u "$RUNNER_USER" -- sh -c "$1" ;;
	su) su -s /bin/sh "$RUNNER_USER" -c "$1" ;;
	*) sh -c "$1" ;;
	esac
}

# Load what is known of the runner in $RUNNER_FOLDER; without it nobody is switched to.
load_settings() {
	# shellcheck disable=SC2034  # for whoever calls it
	USER_WAY=same RUNNER_USER='' RUNNER_UID='' RUNNER_GID='' RUNNER_HOME='' OWN_USER=no
	# shellcheck disable=SC2034  # for whoever calls it
	APP=$RUNNER_FOLDER/runner
	# what somebody else could have written is not carried out
	[ -O "$RUNNER_FOLDER/settings" ] || return 0
	# shellcheck source=/dev/null
	. "$RUNNER_FOLDER/settings"
}
