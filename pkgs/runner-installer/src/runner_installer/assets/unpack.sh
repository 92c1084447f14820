#!/bin/sh
# Unpack the package as the user it is for. RUNNER_FOLDER, TARBALL, SHA256.
set -u
umask 077
load_settings
export APP
# shellcheck disable=SC2016  # the runner's user is to expand it
as_user 'umask 022; mkdir -p "$APP" && chmod 700 "$APP" && cd "$APP" && tar -xozf - && chmod 700 "$APP"' <"$TARBALL" || exit 9
printf '%s\n' "$SHA256" >"$RUNNER_FOLDER/.unpacked.tmp" && mv "$RUNNER_FOLDER/.unpacked.tmp" "$RUNNER_FOLDER/.unpacked"
