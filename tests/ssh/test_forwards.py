"""Tunnels through a real sshd: what goes through, what a cut link does to them."""

import asyncio
import hashlib
import http.client
import random
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runpod_ssh import (
    Connection,
    Credentials,
    ForwardError,
    HostKeyError,
    HostKeyVerifier,
    SSHUnreachableError,
    connect,
)
from runpod_ssh.forward_specs import ForwardSpec, parse_spec
from runpod_ssh.forwards import ForwardChange, Forwarder, ForwardEvent
from runpod_ssh.model import Bounds
from runpod_ssh.reconnection import watchful
from support.sshd import Sshd, SshdFactory, find_program, free_port
from support.waiting import wait_for

WAIT_SECONDS = 30.0
BACK_SECONDS = 3.0
OpenLink = Callable[[], AbstractAsyncContextManager[Connection]]


def link_to(server: Sshd, host_keys: HostKeyVerifier) -> OpenLink:
    def open_link() -> AbstractAsyncContextManager[Connection]:
        credentials = Credentials(identity_file=server.identity_file)
        return connect(
            server.address,
            host_keys=host_keys,
            credentials=credentials,
            bounds=watchful(Bounds()),
        )

    return open_link


@pytest.fixture
def open_link(sshd: Sshd, host_keys: HostKeyVerifier) -> OpenLink:
    return link_to(sshd, host_keys)


class Events:
    """What a forwarder tells, in order, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[ForwardEvent] = []
        self._news = asyncio.Event()

    def take(self, event: ForwardEvent) -> None:
        self.all.append(event)
        self._news.set()

    @property
    def changes(self) -> list[ForwardChange]:
        """Return what happened, without the attempts in between."""
        return [e.change for e in self.all if e.change is not ForwardChange.RETRYING]

    async def until(self, change: ForwardChange, *, count: int = 1) -> ForwardEvent:
        """Wait until something has happened so many times; return the last."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.changes.count(change) < count:
                self._news.clear()
                await self._news.wait()
        return [event for event in self.all if event.change is change][-1]

    async def until_refused_on_the_pod(self) -> None:
        """Wait until the pod has refused to listen."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not any("listening on" in event.reason for event in self.all):
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def events() -> Events:
    return Events()


@pytest.fixture
async def forwarder(events: Events) -> AsyncIterator[Forwarder]:
    async with Forwarder(on_event=events.take) as made:
        yield made


@asynccontextmanager
async def serving(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    port: int = 0,
) -> AsyncIterator[int]:
    """Serve on the loopback, which the pod shares with this machine here."""
    server = await asyncio.start_server(talk, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give back what comes, and its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    writer.close()


async def ask(port: int, text: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Return what comes back through a tunnel, to the end; empty when it is cut."""
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(text)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def until_answered(port: int, text: bytes) -> float:
    """Return the seconds until a tunnel answers, new connections being tried."""
    began = time.monotonic()
    async with asyncio.timeout(WAIT_SECONDS):
        while await ask(port, text) != text:
            pass
    return time.monotonic() - began


async def test_everything_gets_through_both_ways_and_the_end_as_well(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    noise = random.Random(1).randbytes(5_000_000)  # noqa: S311  # the same every time
    async with serving(echo) as far:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])
        answers = await asyncio.gather(*(ask(spec.port, noise) for _ in range(3)))

    digests = {hashlib.sha256(answer).hexdigest() for answer in answers}
    assert digests == {hashlib.sha256(noise).hexdigest()}


async def test_server_that_speaks_first_and_hangs_up_is_heard_to_the_end(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello" * 100_000)
        writer.close()

    async with serving(greet) as far:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])

        assert await ask(spec.port, b"") == b"hello" * 100_000


async def test_slow_reader_slows_the_sender_down(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
        except ConnectionError:
            return

    async with serving(pour) as far:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", spec.port, limit=65536
        )
        await reader.readexactly(1)
        before = -1
        async with asyncio.timeout(WAIT_SECONDS):
            while sent != before:
                before = sent
                await asyncio.sleep(0.5)
        writer.transport.abort()

    # the windows of SSH and of six sockets, and nothing that grows
    assert 0 < sent < 64 * 1024 * 1024


async def test_ports_listen_on_the_loopback_alone_unless_asked(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    async with serving(echo) as far:
        specs = await forwarder.add(
            "pod",
            open_link,
            [parse_spec(f"auto:{far}"), parse_spec(f"0.0.0.0:auto:127.0.0.1:{far}")],
        )
        outside = own_address()

        with pytest.raises(ConnectionRefusedError):
            await ask(specs[0].port, b"x", host=outside)
        assert await ask(specs[1].port, b"x", host=outside) == b"x"


def own_address() -> str:
    """Return an address of this machine that is not the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.2"  # a sandbox has no other; it is not what listens either
        return str(probe.getsockname()[0])


async def test_tunnels_are_back_soon_after_the_pod_is_and_the_port_never_goes(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd, events: Events
) -> None:
    async with serving(echo) as far:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])
        assert await ask(spec.port, b"before") == b"before"

        await asyncio.to_thread(sshd.stop)
        await events.until(ForwardChange.LOST)
        during = asyncio.create_task(ask(spec.port, b"during"))
        await asyncio.to_thread(sshd.start)
        took = await until_answered(spec.port, b"after")

        assert await during == b"during"
    assert took < BACK_SECONDS
    assert events.changes == [ForwardChange.LOST, ForwardChange.BACK]


async def test_client_of_a_link_that_stays_away_is_sent_away_in_time(
    open_link: OpenLink, sshd: Sshd, events: Events
) -> None:
    async with Forwarder(on_event=events.take, patience_seconds=0.2) as forwarder:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec("auto:9")])
        await asyncio.to_thread(sshd.stop)
        await events.until(ForwardChange.LOST)

        assert await ask(spec.port, b"x") == b""

    event = await events.until(ForwardChange.DEAD_END)
    assert event.reason == "the link to pod is down"


async def test_dead_end_closes_its_client_alone_and_is_told_once(
    forwarder: Forwarder, open_link: OpenLink, events: Events
) -> None:
    dead = free_port()
    async with serving(echo) as far:
        good, bad = await forwarder.add(
            "pod", open_link, [parse_spec(f"auto:{far}"), parse_spec(f"auto:{dead}")]
        )
        lasting = await asyncio.open_connection("127.0.0.1", good.port)

        assert [await ask(bad.port, b"x") for _ in range(3)] == [b"", b"", b""]
        event = await events.until(ForwardChange.DEAD_END)
        assert (event.spec, events.changes) == (bad, [ForwardChange.DEAD_END])
        lasting[1].write(b"still here")
        assert await lasting[0].readexactly(10) == b"still here"
        lasting[1].write_eof()
        assert await lasting[0].read() == b""
        lasting[1].close()

    async with serving(echo, port=dead):
        assert await ask(bad.port, b"x") == b"x"
    assert await ask(bad.port, b"x") == b""
    await events.until(ForwardChange.DEAD_END, count=2)


async def test_remote_tunnel_leads_back_and_keeps_its_port_over_a_cut(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd, events: Events
) -> None:
    async with serving(echo) as here:
        text = f"R:0:127.0.0.1:{here}"
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(text)])
        before = await ask(spec.port, b"before")
        await asyncio.to_thread(sshd.restart, with_new_host_key=False)
        await events.until(ForwardChange.BACK)
        await until_listening(spec.port)

        assert before == b"before"
        assert await ask(spec.port, b"after") == b"after"


def hold(port: int) -> socket.socket:
    """Take a port as soon as who had it is gone."""

    def take() -> socket.socket | None:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            return None

    return wait_for(take, timeout_seconds=WAIT_SECONDS, what=f"{port} is free")


async def until_listening(port: int) -> None:
    """Wait until somebody takes connections."""

    def is_taken() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await asyncio.to_thread(
        wait_for, is_taken, timeout_seconds=WAIT_SECONDS, what="somebody listens"
    )


async def test_port_of_the_pod_that_is_held_keeps_no_other_tunnel_waiting(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd, events: Events
) -> None:
    async with serving(echo) as here:
        local, remote = await forwarder.add(
            "pod",
            open_link,
            [parse_spec(f"auto:{here}"), parse_spec(f"R:0:127.0.0.1:{here}")],
        )
        await asyncio.to_thread(sshd.stop)
        with await asyncio.to_thread(hold, remote.port):
            await asyncio.to_thread(sshd.start)
            await events.until(ForwardChange.BACK)
            assert await ask(local.port, b"meanwhile") == b"meanwhile"
            await events.until_refused_on_the_pod()
        await until_listening(remote.port)

        assert await ask(remote.port, b"after") == b"after"


@pytest.mark.parametrize(
    ("greeting", "granted"),
    [
        (b"\5\1\0\5\1\0\3\x09localhost", b"\5\0\5\0\0\1" + bytes(6)),
        (b"\5\1\0\5\1\0\1\x7f\0\0\1", b"\5\0\5\0\0\1" + bytes(6)),
    ],
)
async def test_socks_client_reaches_what_the_pod_reaches(
    forwarder: Forwarder, open_link: OpenLink, greeting: bytes, granted: bytes
) -> None:
    async with serving(echo) as far:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec("D:auto")])

        answer = await ask(spec.port, greeting + far.to_bytes(2, "big") + b"text")

    assert answer == granted + b"text"


async def test_socks_client_is_told_of_a_dead_end(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    (spec,) = await forwarder.add("pod", open_link, [parse_spec("D:auto")])
    wish = b"\5\1\0\5\1\0\1\x7f\0\0\1" + free_port().to_bytes(2, "big")

    assert await ask(spec.port, wish) == b"\5\0\5\5\0\1" + bytes(6)
    assert await ask(spec.port, b"GET / HTTP/1.0\r\n\r\n") == b""


async def test_taken_port_is_said_before_anything_is_opened(
    forwarder: Forwarder, open_link: OpenLink
) -> None:
    free = free_port()
    async with serving(echo) as taken:
        with pytest.raises(ForwardError, match=f"127.0.0.1:{taken} is taken") as caught:
            await forwarder.add(
                "pod", open_link, [parse_spec(f"{free}:80"), parse_spec(f"{taken}:80")]
            )

    assert "auto:80" in caught.value.hint
    with pytest.raises(ConnectionRefusedError):
        await ask(free, b"x")


async def test_pod_that_cannot_be_reached_at_first_is_an_error(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd
) -> None:
    port = free_port()
    await asyncio.to_thread(sshd.stop)

    with pytest.raises(SSHUnreachableError):
        await forwarder.add("pod", open_link, [parse_spec(f"{port}:80")])

    with pytest.raises(ConnectionRefusedError):
        await ask(port, b"x")


async def test_another_machine_at_the_address_ends_the_tunnels(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd, events: Events
) -> None:
    (spec,) = await forwarder.add("pod", open_link, [parse_spec("auto:80")])

    await asyncio.to_thread(sshd.restart, with_new_host_key=True)
    async with asyncio.timeout(WAIT_SECONDS):
        error = await forwarder.wait_failed("pod")

    assert isinstance(error, HostKeyError)
    assert events.changes == [ForwardChange.LOST, ForwardChange.FAILED]
    with pytest.raises(ConnectionRefusedError):
        await ask(spec.port, b"x")


async def test_leaving_closes_ports_clients_and_the_link(
    open_link: OpenLink, sshd: Sshd
) -> None:
    async with serving(echo) as far:
        async with Forwarder() as forwarder:
            (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])
            reader, writer = await asyncio.open_connection("127.0.0.1", spec.port)
            writer.write(b"x")
            await reader.readexactly(1)

        async with asyncio.timeout(WAIT_SECONDS):
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(spec.port, b"x")
    await asyncio.to_thread(
        wait_for,
        lambda: sshd.process is not None and not children_of(sshd.process.pid),
        what="sshd has no session left",
    )


def children_of(pid: int) -> list[str]:
    children = f"/proc/{pid}/task/{pid}/children"
    with open(children) as file:  # noqa: PTH123  # one line of the kernel's
        return file.read().split()


async def test_many_pods_in_one_process(
    sshd_factory: SshdFactory,
    forwarder: Forwarder,
    verifier: Callable[..., HostKeyVerifier],
) -> None:
    await hold_tunnels(sshd_factory, forwarder, verifier, pods=2, tunnels=6)


@pytest.mark.heavy
async def test_two_hundred_tunnels_over_twenty_pods_in_one_process(
    sshd_factory: SshdFactory,
    forwarder: Forwarder,
    verifier: Callable[..., HostKeyVerifier],
) -> None:
    await hold_tunnels(sshd_factory, forwarder, verifier, pods=20, tunnels=200)


async def hold_tunnels(
    sshd_factory: SshdFactory,
    forwarder: Forwarder,
    verifier: Callable[..., HostKeyVerifier],
    *,
    pods: int,
    tunnels: int,
) -> None:
    """Open tunnels to many pods at once; all must answer, before and after a cut."""
    servers = [await asyncio.to_thread(sshd_factory) for _ in range(pods)]
    async with serving(echo) as far:
        wanted = [parse_spec(f"auto:{far}")] * (tunnels // pods)
        opened: list[tuple[ForwardSpec, ...]] = await asyncio.gather(
            *(
                forwarder.add(
                    str(at), link_to(server, verifier(pod_id=str(at))), wanted
                )
                for at, server in enumerate(servers)
            )
        )
        ports = [spec.port for specs in opened for spec in specs]
        before = await asyncio.gather(*(ask(port, b"%d" % port) for port in ports))
        for server in servers[: pods // 2]:
            await asyncio.to_thread(server.restart, with_new_host_key=False)
        after = await asyncio.gather(
            *(until_answered(port, b"%d" % port) for port in ports)
        )

    assert before == [b"%d" % port for port in ports]
    assert len(set(ports)) == tunnels
    assert max(after) < BACK_SECONDS


class Answer(BaseHTTPRequestHandler):
    """An answer in two pieces, over a connection that is kept.

    So answer servers that begin before they know all. OpenSSH's tunnel has the second
    piece wait for the acknowledgement of the first, which comes after 40 ms.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as servers have it; else they stall by themselves

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "200")
        self.end_headers()
        time.sleep(0.001)  # what the server thinks about
        self.wfile.write(b"x" * 200)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(timeout=WAIT_SECONDS)
        server.server_close()


@contextmanager
def openssh_tunnel(server: Sshd, far: int) -> Iterator[int]:
    """Hold a tunnel of OpenSSH's, as `ssh -N -L` makes it."""
    port = free_port()
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
    process = subprocess.Popen(
        [
            *(find_program("ssh"), "-F", "none", "-N", "-q"),
            *(part for option in options for part in ("-o", option)),
            *("-i", str(server.identity_file), "-p", str(server.port)),
            *("-L", f"127.0.0.1:{port}:127.0.0.1:{far}", "root@127.0.0.1"),
        ],
        stdin=subprocess.DEVNULL,
        env=server.environ,
    )

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(is_open, what="ssh listens")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)


def time_requests(port: int, count: int) -> float:
    """Return the seconds of a GET over one connection that is kept.

    The lower quartile: what else runs on this machine slows down the others.
    """
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        client.request("GET", "/")
        client.getresponse().read()
        times.append(time.perf_counter() - began)
    client.close()
    return statistics.quantiles(times, n=4)[0]


async def test_http_through_a_tunnel_does_not_stall_as_through_openssh(
    forwarder: Forwarder, open_link: OpenLink, sshd: Sshd
) -> None:
    with web_server() as far, openssh_tunnel(sshd, far) as theirs:
        (spec,) = await forwarder.add("pod", open_link, [parse_spec(f"auto:{far}")])
        rounds = [
            (
                await asyncio.to_thread(time_requests, spec.port, 20),
                await asyncio.to_thread(time_requests, theirs, 10),
            )
            for _ in range(3)
        ]

    ours_seconds, theirs_seconds = map(min, zip(*rounds, strict=True))
    assert ours_seconds <= 0.1 * theirs_seconds
