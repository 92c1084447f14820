"""Local TCP servers that talk well or badly, and can be made to listen later."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from runpod_client import Pod, PodStatus, PortMapping, Protocol


@dataclass
class Listener:
    """A socket that can be made to listen later; each connection meets `talk`."""

    talk: Callable[[socket.socket], None]

    def __post_init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.opened_at = math.inf
        self.accepted = 0
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        self.socket.listen(64)
        self.opened_at = time.monotonic()
        thread = threading.Thread(target=self._serve)
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._talk, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                self.talk(connection)
            except OSError:
                return  # the client hung up

    def close(self) -> None:
        # a plain close does not wake the accepting thread
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for thread in self._threads:
            thread.join(timeout=10)


@contextlib.contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[Listener]:
    listener = Listener(talk)
    listener.open()
    try:
        yield listener
    finally:
        listener.close()


def say(*parts: bytes, pause_seconds: float = 0.0) -> Callable[[socket.socket], None]:
    """Send the parts one by one, then hang up."""

    def talk(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_seconds)

    return talk


def hold(connection: socket.socket) -> None:
    """Say nothing until the other side hangs up."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """Send single bytes for ever, each soon enough to reset a careless time limit."""
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def make_pod(
    port: int | None = None,
    *,
    private_port: int = 22,
    protocol: Protocol = Protocol.TCP,
    status: PodStatus = PodStatus.RUNNING,
) -> Pod:
    """Return a running pod whose private port is mapped to a local one."""
    ports: tuple[PortMapping, ...] = ()
    if port is not None:
        row = PortMapping(
            private_port=private_port,
            public_port=port,
            ip="127.0.0.1",
            is_public=protocol is Protocol.TCP,
            protocol=protocol,
        )
        ports = (row,)
    return Pod(
        pod_id="50qynxzilsxoey",
        name="trainer",
        status=status,
        gpu_type="NVIDIA L4",
        gpu_count=1,
        image="img",
        price_usd_per_hour=Decimal("0.49"),
        started_at=datetime(2026, 11, 1, tzinfo=UTC),
        ports=ports,
    )
