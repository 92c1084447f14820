#!/bin/bash
# Stands for the installer of .NET's libraries; there is nothing to install here.

if [ "$(id -u)" -ne 0 ]; then
    echo "Need to run with sudo privilege"
    exit 1
fi
touch "$(dirname "${BASH_SOURCE[0]}")/.dependencies"
echo "Finished installing the dependencies."
