#!/bin/sh
# Wait on stdin for a command and become it, as sshd would have started it.
#
#   standby.sh RUNPOD_SSH_CALL=MARK
#
# The mark is what interrupt.sh looks for. Lines on stdin: `0` asks for a sign of life;
# N announces a command of N lines. Each is answered `+`, and so is the start. `read`
# takes its line and not a byte more, so that the rest of stdin is the command's.
echo +
while IFS= read -r runpod_ssh_lines; do
    runpod_ssh_command=
    runpod_ssh_newline=
    runpod_ssh_left=$runpod_ssh_lines
    while [ "$runpod_ssh_left" -gt 0 ]; do
        IFS= read -r runpod_ssh_line || exit 1
        runpod_ssh_command=$runpod_ssh_command$runpod_ssh_newline$runpod_ssh_line
        runpod_ssh_newline='
'
        runpod_ssh_left=$((runpod_ssh_left - 1))
    done
    echo +
    [ "$runpod_ssh_lines" -eq 0 ] || exec "${SHELL##*/}" -c "$runpod_ssh_command"
done
