#!/bin/sh
# Install the libraries the runner needs, by its own script. RUNNER_FOLDER; as root.
set -u
load_settings
cd "$APP" || exit 9
./bin/installdependencies.sh >&2 || {
	echo "installdependencies.sh failed; the runner goes without libicu" >&2
	exit 0
}
