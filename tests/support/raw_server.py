"""A server that answers with raw bytes, as no HTTP library would ever send them."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class RawServer:
    """Each request without a body gets the next of `answers`.

    Attributes:
        answers: Lists of pieces; between two there is a pause of `pause_seconds`.
        heads: What was asked, head only.
        closed: Connections that are over, whoever ended them.
        hold: Leave the connection open after the last piece, for the next request.
    """

    def __init__(self, *, pause_seconds: float = 0.0, hold: bool = False) -> None:
        self.answers: list[list[bytes]] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.closed = 0
        self._pause_seconds = pause_seconds
        self._hold = hold
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self._read_head(connection):
                for piece in self.answers.pop(0) if self.answers else []:
                    connection.sendall(piece)
                    self._stopping.wait(self._pause_seconds)
                if not self._hold:
                    break
        self.closed += 1

    def _read_head(self, connection: socket.socket) -> bool:
        """Return whether a request came."""
        connection.settimeout(0.02)
        head = b""
        while b"\r\n\r\n" not in head:
            if self._stopping.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                if not received:
                    return False
                head += received
        connection.settimeout(5)
        self.heads.append(head)
        return True
