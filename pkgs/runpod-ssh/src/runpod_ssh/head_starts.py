"""TCP connections begun before what speaks SSH over them is loaded.

sshd takes as long to start a session as asyncssh takes to load, and a far pod is a round
trip away: both can happen at once. It knows addresses and nothing of SSH; whoever begins
a connection hands it on with the route, and it is closed where nobody takes it.
"""

import contextlib
import ipaddress
import socket

from runpod_client import SSHAddress


class HeadStart:
    """A connection on its way to one address; taken once, or closed."""

    def __init__(self, address: SSHAddress) -> None:
        self._place = (address.host, address.port)
        self._socket: socket.socket | None = _begin(*self._place)

    def take(self, address: SSHAddress) -> socket.socket | None:
        """Return the connection if it leads there; None if it does not or is taken.

        It may not stand yet, or have failed: what is sent tells.
        """
        if self._socket is None or self._place != (address.host, address.port):
            return None
        taken, self._socket = self._socket, None
        return taken

    def close(self) -> None:
        """Hang up where nobody took it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _begin(host: str, port: int) -> socket.socket | None:
    """Return a socket that connects by itself; None where that would have to wait."""
    try:
        family = (
            socket.AF_INET6
            if ipaddress.ip_address(host).version == 6
            else socket.AF_INET
        )
    except ValueError:
        return None  # a name: looking it up takes time
    begun = socket.socket(family, socket.SOCK_STREAM)
    begun.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            begun.connect((host, port))
    except OSError:
        begun.close()
        return None
    return begun
