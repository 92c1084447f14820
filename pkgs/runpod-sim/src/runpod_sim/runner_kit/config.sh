#!/bin/bash
# Sets up, or with `remove` takes down, the runner in this folder.

if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
    echo "Must not run with sudo"
    exit 1
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
cd "$root" || exit 1

# A pod image without the libraries of .NET, for those who want to meet one.
if [ -n "$RUNNER_SIM_MISSING_LIBICU" ] && [ ! -e bin/.dependencies ]; then
    echo "Libicu's dependencies are missing for .NET"
    echo "Execute sudo ./bin/installdependencies.sh to install them."
    exit 1
fi

./env.sh

if [ "$1" = remove ]; then
    exec ./bin/Runner.Listener "$@"
fi
exec ./bin/Runner.Listener configure "$@"
