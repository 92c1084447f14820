"""An end to every call, whatever the other side does with its bytes.

A socket's own time limit starts anew with every byte, so a peer that drips holds a call
for ever. Here a timer shuts the connection at the deadline, and a blocked read ends
then: `cut_at` for a body, `DeadlineAdapter` for the head of an answer, which urllib3
reads before anyone else gets hold of the connection.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from requests import exceptions as lower
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

# a moment later, so that who wakes up finds the deadline passed
_GRACE_SECONDS = 0.01

_head_deadline: ContextVar[float | None] = ContextVar("head_deadline", default=None)


def check_time(deadline: float, cause: Exception | None = None) -> None:
    """Raise requests' `ReadTimeout` when the deadline has passed."""
    if time.monotonic() >= deadline:
        raise lower.ReadTimeout("the answer did not end in time") from cause


@contextmanager
def cut_at(find_descriptor: Callable[[], int], deadline: float) -> Iterator[None]:
    """Shut a connection when the deadline comes.

    Args:
        find_descriptor: Return the socket's; it may fail when there is none any more.
        deadline: An instant of the monotonic clock.
    """
    try:
        # a descriptor of our own: theirs may be closed, and its number given away
        descriptor = os.dup(find_descriptor())
    except (OSError, AttributeError, ValueError):
        # the body was empty, and the connection is back in the pool
        yield
        return
    connection = socket.socket(fileno=descriptor)

    def shut() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    wait = max(deadline - time.monotonic(), 0.0) + _GRACE_SECONDS
    timer = threading.Timer(wait, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        connection.close()


@contextmanager
def head_until(deadline: float) -> Iterator[None]:
    """Bound how long the answers' heads of the calls made inside may take."""
    token = _head_deadline.set(deadline)
    try:
        yield
    except (lower.RequestException, OSError) as error:
        check_time(deadline, error)
        raise
    finally:
        _head_deadline.reset(token)


@contextmanager
def _head_cut(connection: HTTPConnection) -> Iterator[None]:
    deadline = _head_deadline.get()
    opened = getattr(connection, "sock", None)  # None once the other side hung up
    if deadline is None or opened is None:
        yield
        return
    with cut_at(opened.fileno, deadline):
        yield


class _Connection(HTTPConnection):
    """Plain, for loopback."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 says so too
        """Read the head of the answer."""
        with _head_cut(self):
            return super().getresponse()


class _TLSConnection(HTTPSConnection):
    """The usual one."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 says so too
        """Read the head of the answer."""
        with _head_cut(self):
            return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class DeadlineAdapter(HTTPAdapter):
    """requests' adapter, with connections that obey `head_until`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of the direct connections."""
        super().init_poolmanager(*args, **kwargs)  # type: ignore[no-untyped-call]
        _set_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pools of the connections through a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)  # type: ignore[no-untyped-call]
        _set_pools(manager)
        return manager


def _set_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
