"""The straight way to a host: a TCP connection that carries a tap.

It knows addresses and sockets, and nothing of what is said over them.
"""

import asyncio
import contextlib
import os
import socket
from typing import Any

from runpod_client import SSHAddress
from runpod_ssh.head_starts import HeadStart
from runpod_ssh.taps import Tap


async def carry_by_tcp(
    address: SSHAddress, tap: Tap, *, head_start: HeadStart | None = None
) -> None:
    """Carry a tap over a TCP connection of our own."""
    loop = asyncio.get_running_loop()
    sock = head_start.take(address) if head_start else None
    begun = sock is not None
    if sock is None:
        sock = await _open_socket(address)
    try:
        if begun:
            await _finish_connecting(sock)
        await loop.create_connection(lambda: tap, sock=sock)
    except BaseException:
        sock.close()
        raise


async def _finish_connecting(sock: socket.socket) -> None:
    """Return when a connection that was begun stands; raises OSError if it failed."""
    loop = asyncio.get_running_loop()
    decided = asyncio.Event()
    loop.add_writer(sock, decided.set)
    try:
        await decided.wait()
    finally:
        loop.remove_writer(sock)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


async def _open_socket(address: SSHAddress) -> socket.socket:
    """Open a TCP connection, trying each of the host's addresses."""
    loop = asyncio.get_running_loop()
    last: OSError = OSError(f"{address.host} has no address")
    for family, place in await _find_places(address):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)  # the method's own shape
        try:
            await loop.sock_connect(sock, place)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


async def _find_places(
    address: SSHAddress,
) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Return where a host may be reached; a pod's is a number, and costs no thread."""
    where = (address.host, address.port)
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, address.host)
            return [(family, where)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*where, type=socket.SOCK_STREAM)
    return [(family, place) for family, _kind, _number, _name, place in found]
