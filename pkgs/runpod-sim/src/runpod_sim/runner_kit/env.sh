#!/bin/bash
# Notes the environment that the runner shall start its jobs with; made once.

if [ ! -e .env ]; then
    for name in LANG JAVA_HOME ANT_HOME M2_HOME ANDROID_HOME ANDROID_SDK_ROOT; do
        if [ -n "${!name}" ]; then
            echo "$name=${!name}"
        fi
    done >.env
fi
if [ ! -e .path ]; then
    echo "$PATH" >.path
fi
