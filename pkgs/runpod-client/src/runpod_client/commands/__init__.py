"""The commands of `runpod-client`, a module per group; `runpod_client.cli` names them.

A module here is imported when one of its commands is asked for, and imports what is
heavy inside the command that needs it.
"""
