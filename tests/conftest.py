"""Fixtures for all tests come from `support`; nothing else belongs here."""

pytest_plugins = [
    "support.heap",
    "support.http_server",
    "support.runpod_script",
    "support.sim",
    "support.pods",  # after sim, which it imports
    "support.sshd",
    "support.hub",  # after sim, which it imports
]
