"""What rsync here starts in place of ssh: it hands its two ends of the stream to us.

A program of its own, `rsync_shell.py DESCRIPTOR HOST WORD...`, that needs nothing but
Python: through the inherited socket go the command rsync wants run, NUL between its
words, and the descriptors of its stdin and stdout. Nothing is copied on the way.
"""

import os
import socket
import sys


def main(descriptor: str, _host: str, *words: str) -> None:
    """Hand over, and end: rsync talks to whoever holds the other ends."""
    with socket.socket(fileno=int(descriptor)) as link:
        command = b"\0".join(map(os.fsencode, words))
        socket.send_fds(link, [command], [0, 1])


if __name__ == "__main__":
    main(*sys.argv[1:])
