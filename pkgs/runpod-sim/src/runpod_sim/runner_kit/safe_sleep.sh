#!/bin/bash
# Waits without needing a `sleep` program on PATH: safe_sleep.sh SECONDS

read -r -t "$1" <> <(:) || :
