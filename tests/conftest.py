"""Fixtures for all tests come from `support`; nothing else belongs here."""

import os

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
