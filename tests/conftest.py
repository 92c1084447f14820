"""Fixtures for all tests come from `support`; nothing else belongs here."""

import os
import signal

# a run in the background of a shell ignores Ctrl-C, and so would all that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a test that wants a background process of runpod-ssh says so, and ends it
os.environ["RUNPOD_SSH_BACKGROUND"] = "false"

pytest_plugins = [
    "support.heap",
    "support.http_server",
    "support.runpod_script",
    "support.sim",
    "support.pods",  # after sim, which it imports
    "support.sshd",
    "support.hub",  # after sim, which it imports
]
