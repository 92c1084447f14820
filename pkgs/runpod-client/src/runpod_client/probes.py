"""What a pod serves, asked once: an SSH greeting, an HTTP status, a connection, a log.

The only module of this package that opens sockets of its own; RunPod's API is reached
through the functions it is given. It must not know when or how often it is asked.

Every check ends within its probe's time limit, with what it met in a few words. A
greeting proves no identity, as addresses are handed on between pods: whoever connects
still verifies the host key.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from runpod_client import model
from runpod_client.model import LogLine, Pod, PodStatus

PROXY_URL = "https://{pod_id}-{port}.proxy.runpod.net"
PROBE_SECONDS = 3.0
_MAX_LINE_BYTES = 1024
_MAX_GREETING_LINES = 32  # RFC 4253 lets a server write some before its own
_CLOSED = "closed without an answer"

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a probe met; `status` says it in a few words for people."""

    is_ready: bool
    status: str


class Probe(Protocol):
    """One way to see whether a pod can be used.

    Attributes:
        uses_api: Each check is a call to RunPod, and is paced like one.
    """

    @property
    def uses_api(self) -> bool:
        """Return whether a check is a call to RunPod."""
        ...

    def check(self, pod: Pod) -> Outcome:
        """Return whether the pod is ready, within the probe's own time limit."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunningProbe:
    """Ready when the pod's container runs; asks nobody."""

    uses_api: bool = False

    def check(self, pod: Pod) -> Outcome:
        """Return whether RunPod says it runs."""
        is_running = pod.status is PodStatus.RUNNING
        return Outcome(is_ready=is_running, status=pod.status.lower())


@dataclass(frozen=True, kw_only=True)
class TCPProbe:
    """Ready when a port accepts a connection."""

    port: int
    limit_seconds: float = PROBE_SECONDS
    uses_api: bool = False

    def check(self, pod: Pod) -> Outcome:
        """Connect once."""
        address = find_address(pod, self.port)
        if address is None:
            return _unmapped(self.port)

        def greet(_connection: "_Connection") -> Outcome:
            return Outcome(is_ready=True, status=f"port {self.port} accepts")

        return _ask(address, self.limit_seconds, greet)


@dataclass(frozen=True, kw_only=True)
class SSHProbe:
    """Ready when sshd has sent its identification; no login is tried."""

    port: int = 22
    limit_seconds: float = PROBE_SECONDS
    uses_api: bool = False

    def check(self, pod: Pod) -> Outcome:
        """Connect once and read the server's first lines."""
        address = find_address(pod, self.port)
        if address is None:
            return _unmapped(self.port)
        return _ask(address, self.limit_seconds, self._read)

    def _read(self, connection: "_Connection") -> Outcome:
        for number in range(_MAX_GREETING_LINES):
            line = connection.read_line()
            if line.startswith("SSH-"):
                return Outcome(is_ready=True, status=f"sshd answers: {line[:60]}")
            if connection.is_over and not line and not number:
                return Outcome(is_ready=False, status=_CLOSED)
            if connection.is_over:
                break
        return Outcome(is_ready=False, status="something that is no sshd answers")


@dataclass(frozen=True, kw_only=True)
class HTTPProbe:
    """Ready when a GET answers as expected.

    A port mapped to a public address is asked directly and in the clear, any other by
    way of RunPod's proxy. The status line is all that is read.

    Attributes:
        expected_status: None accepts 200 to 399.
        proxy_url: With `{pod_id}` and `{port}`.
    """

    port: int
    path: str = "/"
    expected_status: int | None = None
    limit_seconds: float = PROBE_SECONDS
    proxy_url: str = PROXY_URL
    uses_api: bool = False

    def check(self, pod: Pod) -> Outcome:
        """Send one request."""
        direct = find_address(pod, self.port)
        if direct is not None:
            host, port = direct
            return _ask(direct, self.limit_seconds, lambda c: self._get(c, host, port))
        url = urlsplit(self.proxy_url.format(pod_id=pod.pod_id, port=self.port))
        is_tls = url.scheme == "https"
        port = url.port or (443 if is_tls else 80)
        host = url.hostname or ""
        return _ask(
            (host, port),
            self.limit_seconds,
            lambda c: self._get(c, host, port),
            server_name=host if is_tls else "",
        )

    def _get(self, connection: "_Connection", host: str, port: int) -> Outcome:
        # HTTP/1.0 and a closing header: nothing is kept waiting on either side
        connection.send(
            f"GET {self.path} HTTP/1.0\r\nHost: {host}:{port}\r\n"
            "User-Agent: runpod-client\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        line = connection.read_line()
        found = re.match(r"HTTP/\d(?:\.\d)? (\d{3})\b", line)
        if found is None:
            status = "something that is no HTTP server answers" if line else _CLOSED
            return Outcome(is_ready=False, status=status)
        code = int(found[1])
        wanted = self.expected_status
        is_ready = code == wanted if wanted is not None else 200 <= code < 400
        return Outcome(is_ready=is_ready, status=_render_status(self.port, code))


@dataclass(frozen=True, kw_only=True)
class LogProbe:
    """Ready when a line of the container's log matches.

    Attributes:
        read_logs: Returns the newest lines of a pod's container; one call to RunPod.
    """

    pattern: re.Pattern[str]
    read_logs: Callable[[Pod], Sequence[LogLine]]
    uses_api: bool = True

    def check(self, pod: Pod) -> Outcome:
        """Read the log once."""
        lines = self.read_logs(pod)
        if any(self.pattern.search(line.text) for line in lines):
            return Outcome(is_ready=True, status="the log has the line")
        last = lines[-1].text[:60] if lines else "nothing"
        return Outcome(is_ready=False, status=f"the log ends with: {last}")


def find_address(pod: Pod, private_port: int) -> Address | None:
    """Return where a TCP port of a pod is reached from outside, None if nowhere."""
    for port in pod.ports:
        is_tcp = port.protocol is model.Protocol.TCP
        if port.private_port == private_port and is_tcp and port.is_public:
            return port.ip, port.public_port
    return None


def _unmapped(port: int) -> Outcome:
    return Outcome(is_ready=False, status=f"port {port} has no public address yet")


def _render_status(port: int, code: int) -> str:
    reason = http.client.responses.get(code, "")
    return f"port {port} answers {code} {reason}".rstrip()


class _Connection:
    """A socket whose every wait ends at one deadline."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline
        self._unread = b""
        self.is_over = False

    def send(self, text: str) -> None:
        self._socket.settimeout(_remaining(self._deadline))
        self._socket.sendall(text.encode("ascii"))

    def read_line(self) -> str:
        """Return the next line, or what came of it; bounded in bytes and time."""
        while b"\n" not in self._unread and len(self._unread) < _MAX_LINE_BYTES:
            self._socket.settimeout(_remaining(self._deadline))
            received = self._socket.recv(_MAX_LINE_BYTES)
            if not received:
                self.is_over = True
                break
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        # what a stranger sent is shown to people: nothing may move their cursor
        text = line[:_MAX_LINE_BYTES].decode("ascii", "replace").strip()
        return "".join(c if c.isprintable() else "?" for c in text)


def _ask(
    address: Address,
    limit_seconds: float,
    talk: Callable[[_Connection], Outcome],
    *,
    server_name: str = "",
) -> Outcome:
    """Connect, talk, hang up; whatever fails is an outcome, not an error."""
    deadline = time.monotonic() + limit_seconds
    is_connected = False
    try:
        with _connect(address, deadline) as plain:
            is_connected = True
            if not server_name:
                return talk(_Connection(plain, deadline))
            plain.settimeout(_remaining(deadline))
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=server_name) as secured:
                return talk(_Connection(secured, deadline))
    except TimeoutError:
        status = "connected, but nothing is said" if is_connected else "no answer"
    except ConnectionRefusedError:
        status = "connection refused"
    except ConnectionError:
        status = _CLOSED
    except ssl.SSLError as error:
        status = f"no TLS: {error.reason or error.strerror}"
    except OSError as error:
        status = error.strerror or type(error).__name__
    return Outcome(is_ready=False, status=status)


def _connect(address: Address, deadline: float) -> socket.socket:
    host, port = address
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, target in _resolve(host, port, deadline):
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(_remaining(deadline))
            candidate.connect(target)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    """Return a host's addresses; the system's resolver has no time limit of its own."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[Any] = []
    failures: list[OSError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            failures.append(error)
        except UnicodeError:
            failures.append(OSError(None, f"{host!r} is no host name"))

    resolver = threading.Thread(target=look_up, daemon=True)
    resolver.start()
    resolver.join(_remaining(deadline))
    if failures:
        raise failures[0]
    return list(found)


def _remaining(deadline: float) -> float:
    """Return the seconds left.

    Raises:
        TimeoutError: There are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
