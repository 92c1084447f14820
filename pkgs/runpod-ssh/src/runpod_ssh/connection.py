"""The transport: one SSH connection to a pod. The only importer of asyncssh.

Every phase has its own bound, every failure of asyncssh or the socket leaves here as
an error of ours. It knows nothing of RunPod, of terminals or of the command line.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncssh

from runpod_client import SSHAddress
from runpod_client.logs import get_logger
from runpod_ssh import wire
from runpod_ssh.errors import (
    CommandError,
    CommandTimeoutError,
    HostKeyError,
    SSHAuthenticationError,
    SSHError,
    SSHUnreachableError,
    TransferError,
)
from runpod_ssh.model import (
    Bounds,
    ExecResult,
    HostKey,
    HostKeyJudge,
    Sink,
    Source,
    Terminal,
)

log = get_logger(__name__)

CHUNK_BYTES = 64 * 1024
# what asyncssh's streams raise when the connection or the channel has gone
_LOST = (asyncssh.Error, OSError)
# AES-GCM first: it is what the processor is fast at
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_CIPHERS_ELSE = ("chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr")
_HOST_KEY_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}

# What each exception of asyncssh means, by the most specific class named here.
TRANSLATIONS: Mapping[type[BaseException], type[SSHError]] = {
    asyncssh.HostKeyNotVerifiable: HostKeyError,
    asyncssh.PermissionDenied: SSHAuthenticationError,
    asyncssh.IllegalUserName: SSHAuthenticationError,
    asyncssh.PasswordChangeRequired: SSHAuthenticationError,
    asyncssh.KeyImportError: SSHAuthenticationError,
    asyncssh.KeyExportError: SSHAuthenticationError,
    asyncssh.KeyEncryptionError: SSHAuthenticationError,
    asyncssh.KeyGenerationError: SSHAuthenticationError,
    asyncssh.ConnectionLost: SSHUnreachableError,
    asyncssh.ServiceNotAvailable: SSHUnreachableError,
    asyncssh.DisconnectError: SSHUnreachableError,
    asyncssh.CompressionError: SSHError,
    asyncssh.KeyExchangeFailed: SSHError,
    asyncssh.MACError: SSHError,
    asyncssh.ProtocolError: SSHError,
    asyncssh.ProtocolNotSupported: SSHError,
    asyncssh.ChannelOpenError: SSHError,
    asyncssh.ChannelListenError: SSHError,
    asyncssh.ConfigParseError: SSHError,
    asyncssh.BreakReceived: SSHError,
    asyncssh.SignalReceived: SSHError,
    asyncssh.TerminalSizeChanged: SSHError,
    asyncssh.TimeoutError: SSHError,
    asyncssh.ProcessError: CommandError,
    asyncssh.SFTPError: TransferError,
    OSError: SSHUnreachableError,
}


def translation_of(kind: type[BaseException]) -> type[SSHError] | None:
    """Return what an exception class becomes; None when nobody thought of it."""
    return next((TRANSLATIONS[k] for k in kind.__mro__ if k in TRANSLATIONS), None)


def translate(error: Exception, address: SSHAddress, doing: str) -> SSHError:
    """Return our error for one of asyncssh's or the socket's."""
    if isinstance(error, SSHError):
        return error
    kind = translation_of(type(error)) or SSHError
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        return SSHUnreachableError(
            f"sshd on {address} refused the connection",
            address=address,
            hint="Is the pod still starting? Wait for it: runpod-client pods wait POD",
        )
    if kind is SSHAuthenticationError:
        hint = (
            "The pod takes only the keys it was created with: name the right one "
            "with --identity."
        )
    if kind is SSHUnreachableError:
        hint = "Is the pod still running? See: runpod-client pods list"
    return kind(f"{doing} {address} failed: {reason}", address=address, hint=hint)


@contextlib.contextmanager
def _translated(address: SSHAddress, doing: str) -> Iterator[None]:
    try:
        yield
    except (asyncssh.Error, OSError) as error:
        raise translate(error, address, doing) from error


class _Client(asyncssh.SSHClient):
    """Hears from asyncssh how far a connection has come."""

    def __init__(
        self, verifier: HostKeyJudge, limit: asyncio.Timeout, login_deadline: float
    ) -> None:
        self._verifier = verifier
        self._limit = limit
        self._login_deadline = login_deadline
        self.phase = "key exchange"
        self.host_key: HostKey | None = None
        self.refusal: Exception | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Ask the verifier; an error of its must not unwind through asyncssh."""
        del host, addr, port
        algorithm, blob = key.export_public_key().decode().split()[:2]
        self.host_key = HostKey(algorithm=algorithm, blob=blob)
        try:
            self._verifier.check(self.host_key)
        except Exception as error:  # noqa: BLE001  # re-raised by connect
            self.refusal = error
            return False
        self.phase = "authentication"
        self._limit.reschedule(self._login_deadline)
        return True


@contextlib.asynccontextmanager
async def connect(
    address: SSHAddress,
    *,
    host_keys: HostKeyJudge,
    identity_file: Path | None = None,
    bounds: Bounds | None = None,
) -> AsyncIterator["Connection"]:
    """Connect, log in and check the host key; the connection closes with the block.

    Args:
        identity_file: The one private key to offer; None offers the keys of the
            user's ssh-agent and of ~/.ssh.

    Raises:
        SSHUnreachableError: Nothing answers there in time, or not as an sshd.
        HostKeyError: The machine that answers is not known to be the pod.
        SSHAuthenticationError: It accepts none of our keys.
    """
    limits = bounds or Bounds()
    loop = asyncio.get_running_loop()
    started = loop.time()
    deadline = started + limits.total_seconds
    with _translated(address, "connecting to"):
        sock = await _open_socket(address, limits, deadline)
        try:
            await _wait_for_banner(sock, address, limits, deadline)
            raw, client = await _log_in(
                sock, address, host_keys, identity_file, limits, deadline
            )
        except BaseException:
            sock.close()
            raise
    elapsed = loop.time() - started
    log.debug("ssh_connected", host=address.host, port=address.port, seconds=elapsed)
    connection = Connection(raw, address, limits, client.host_key)
    try:
        yield connection
    finally:
        await connection.close()


async def _open_socket(
    address: SSHAddress, limits: Bounds, deadline: float
) -> socket.socket:
    """Open a TCP connection, trying each of the host's addresses."""
    loop = asyncio.get_running_loop()
    until = min(loop.time() + limits.tcp_seconds, deadline)
    last: OSError = OSError(f"{address.host} has no address")
    try:
        async with asyncio.timeout_at(until):
            found = await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )
            for family, kind, protocol, _name, place in found:
                sock = socket.socket(family, kind, protocol)
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
    except TimeoutError as error:
        raise _too_slow(address, "the TCP connection", limits.tcp_seconds) from error
    raise last


async def _wait_for_banner(
    sock: socket.socket, address: SSHAddress, limits: Bounds, deadline: float
) -> None:
    """Wait until the peer has said that it speaks SSH, without taking its words.

    asyncssh gives one bound to everything after TCP. Peeking gives the banner its
    own, and a sentence of its own to a peer that accepts and stays silent.
    """
    loop = asyncio.get_running_loop()
    until = min(loop.time() + limits.banner_seconds, deadline)
    try:
        async with asyncio.timeout_at(until):
            while True:
                await _wait_readable(sock)
                seen = sock.recv(1024, socket.MSG_PEEK)
                if not seen:
                    raise SSHUnreachableError(
                        f"{address} closed the connection before sshd's greeting",
                        address=address,
                        hint="sshd may be starting or full; try again in a moment.",
                    )
                if b"\n" in seen or len(seen) >= 1024:
                    return
                # bytes that were peeked stay readable: do not spin on them
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise _too_slow(address, "sshd's greeting", limits.banner_seconds) from error


async def _wait_readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, on_ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


async def _log_in(
    sock: socket.socket,
    address: SSHAddress,
    host_keys: HostKeyJudge,
    identity_file: Path | None,
    limits: Bounds,
    deadline: float,
) -> tuple[asyncssh.SSHClientConnection, _Client]:
    """Exchange keys and authenticate over a socket whose peer has greeted."""
    loop = asyncio.get_running_loop()
    exchange_until = min(loop.time() + limits.key_exchange_seconds, deadline)
    login_until = min(exchange_until + limits.authentication_seconds, deadline)
    limit = asyncio.timeout_at(exchange_until)
    client = _Client(host_keys, limit, login_until)
    try:
        async with limit:
            raw = await asyncssh.connect(
                address.host,
                address.port,
                sock=sock,
                username=address.user,
                client_factory=lambda: client,
                options=_options(identity_file, host_keys, address, limits),
            )
    except TimeoutError as error:
        seconds = (
            limits.key_exchange_seconds
            if client.phase == "key exchange"
            else limits.authentication_seconds
        )
        raise _too_slow(address, f"the {client.phase}", seconds) from error
    except asyncssh.Error as error:
        if client.refusal is not None:
            if isinstance(client.refusal, HostKeyError):
                client.refusal.address = address
            raise client.refusal from error
        raise
    if client.host_key is not None:
        try:
            host_keys.confirm(client.host_key)
        except BaseException:
            raw.abort()
            raise
    return raw, client


def _options(
    identity_file: Path | None,
    host_keys: HostKeyJudge,
    address: SSHAddress,
    limits: Bounds,
) -> asyncssh.SSHClientConnectionOptions:
    """Return the options of a connection; the user's ssh_config has no say in it."""
    preferred = host_keys.preferred_algorithm
    ordered = sorted(_HOST_KEY_ALGORITHMS, key=lambda name: name != preferred)
    algorithms = [a for name in ordered for a in _HOST_KEY_ALGORITHMS[name]]
    keys: dict[str, object] = {"ignore_encrypted": True}
    if identity_file is not None:
        keys = {"client_keys": [_read_key(identity_file, address)], "agent_path": None}
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        # no key is known to asyncssh itself: it asks the client object about each
        known_hosts=lambda _host, _addr, _port: ([], [], []),
        server_host_key_algs=algorithms,
        encryption_algs=[*_CIPHERS, *_CIPHERS_ELSE],
        compression_algs=None,
        preferred_auth="publickey",
        x509_trusted_certs=None,
        login_timeout=limits.total_seconds + 1,
        keepalive_interval=limits.keepalive_seconds,
        keepalive_count_max=limits.keepalive_count,
        **keys,
    )


def _read_key(path: Path, address: SSHAddress) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SSHAuthenticationError(
            f"cannot use the private key {path}: {reason}",
            address=address,
            hint="Name a readable private key without passphrase, or use ssh-agent.",
        ) from error


def _too_slow(address: SSHAddress, what: str, seconds: float) -> SSHUnreachableError:
    return SSHUnreachableError(
        f"{what} of {address} took longer than {seconds:g} s",
        address=address,
        hint="The pod is overloaded, still starting, or something swallows the "
        "packets; see: runpod-client pods list",
    )


class Connection:
    """A connection that stands; made by `connect`."""

    def __init__(
        self,
        raw: asyncssh.SSHClientConnection,
        address: SSHAddress,
        bounds: Bounds,
        host_key: HostKey | None,
    ) -> None:
        self._raw = raw
        self._bounds = bounds
        self.address = address
        self.host_key = host_key

    @property
    def is_closed(self) -> bool:
        """Return whether the connection has ended, by us or by the pod."""
        return self._raw.is_closed()

    async def close(self) -> None:
        """Say goodbye, or hang up where the pod does not answer; safe to repeat."""
        self._raw.close()
        try:
            async with asyncio.timeout(2):
                await self._raw.wait_closed()
        except (TimeoutError, asyncssh.Error, OSError):
            self._raw.abort()

    async def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """Run a command in the pod's shell and collect what it writes.

        A status other than 0 is a result, not an error.

        Args:
            timeout: Seconds after which the command is told to end.
            env: Variables for the command; they travel over stdin, not in any argv.

        Raises:
            CommandTimeoutError: `timeout` passed.
            SSHUnreachableError: The connection was lost; whether the command ran to
                its end is unknown.
        """
        out, err = bytearray(), bytearray()

        async def keep_out(chunk: bytes) -> None:
            out.extend(chunk)

        async def keep_err(chunk: bytes) -> None:
            err.extend(chunk)

        async def given() -> Source:
            if stdin:
                yield stdin

        ended = await self.stream(
            command,
            stdin=given(),
            stdout=keep_out,
            stderr=keep_err,
            timeout=timeout,
            env=env,
        )
        return ExecResult(
            exit_status=ended.exit_status,
            exit_signal=ended.exit_signal,
            stdout=bytes(out),
            stderr=bytes(err),
            elapsed_seconds=ended.elapsed_seconds,
        )

    async def stream(
        self,
        command: str,
        *,
        stdin: Source,
        stdout: Sink,
        stderr: Sink,
        timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """Run a command with its streams handed on chunk by chunk, in flat memory.

        A cancelled call interrupts the command on the pod before it returns.

        Returns:
            How the command ended; `stdout` and `stderr` are empty.

        Raises:
            CommandTimeoutError, SSHUnreachableError: As for `run`.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        call = wire.prepare(command, env or {})
        try:
            async with asyncio.timeout(timeout):
                ended = await self._stream(call, stdin, stdout, stderr)
        except TimeoutError as error:
            waited = loop.time() - started
            raise CommandTimeoutError(
                f"the command on {self.address} took longer than {timeout:g} s",
                waited_seconds=waited,
                address=self.address,
                hint="It was told to end. Give it more time with a larger timeout.",
            ) from error
        return ExecResult(
            exit_status=ended[0],
            exit_signal=ended[1],
            stdout=b"",
            stderr=b"",
            elapsed_seconds=loop.time() - started,
        )

    async def shell(self, terminal: Terminal, command: str | None = None) -> ExecResult:
        """Run a login shell, or a command, behind a terminal of its own on the pod.

        Returns:
            How it ended; `stdout` and `stderr` are empty.

        Raises:
            SSHUnreachableError: The connection was lost.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        process = await self._open(
            command, term_type=terminal.kind, term_size=terminal.size()
        )

        def resize() -> None:
            process.change_terminal_size(*terminal.size())

        try:
            with terminal.on_resize(resize):
                feeder = loop.create_task(_feed(process.stdin, b"", terminal.keys()))
                try:
                    await _pump(process.stdout, terminal.show)
                    await process.wait_closed()
                finally:
                    feeder.cancel()
                    await asyncio.wait([feeder])
        finally:
            process.close()
        status, signal_name = self._ending(process)
        return ExecResult(
            exit_status=status,
            exit_signal=signal_name,
            stdout=b"",
            stderr=b"",
            elapsed_seconds=loop.time() - started,
        )

    async def _stream(
        self, call: wire.Call, stdin: Source, stdout: Sink, stderr: Sink
    ) -> tuple[int | None, str | None]:
        process = await self._open(call.command)
        try:
            async with asyncio.TaskGroup() as group:
                feeder = group.create_task(_feed(process.stdin, call.preamble, stdin))
                pumps = [
                    group.create_task(_pump(process.stdout, stdout)),
                    group.create_task(_pump(process.stderr, stderr)),
                ]
                await asyncio.wait(pumps)
                await process.wait_closed()
                feeder.cancel()
        except asyncio.CancelledError:
            await self._interrupt(process, call)
            raise
        except BaseExceptionGroup as failures:
            # one cause, many witnesses: hand on the first
            first = failures.exceptions[0]
            await self._interrupt(process, call)
            raise first from None
        finally:
            process.close()
        return self._ending(process)

    async def _open(
        self, command: str | None, **terminal: object
    ) -> "asyncssh.SSHClientProcess[bytes]":
        with _translated(self.address, "opening a channel to"):
            try:
                async with asyncio.timeout(self._bounds.channel_seconds):
                    return await self._raw.create_process(
                        command, encoding=None, **terminal
                    )
            except TimeoutError as error:
                raise _too_slow(
                    self.address, "a new channel", self._bounds.channel_seconds
                ) from error

    def _ending(
        self, process: "asyncssh.SSHClientProcess[bytes]"
    ) -> tuple[int | None, str | None]:
        if process.exit_signal is not None:
            return None, process.exit_signal[0]
        if process.exit_status is None:
            raise SSHUnreachableError(
                f"the connection to {self.address} was lost while a command ran",
                address=self.address,
                hint="Whether the command finished is unknown: look before you repeat.",
            )
        return process.exit_status, None

    async def _interrupt(
        self, process: "asyncssh.SSHClientProcess[bytes]", call: wire.Call
    ) -> None:
        """End a command and everything it started, within a few seconds.

        SSH's own signal request is refused by an sshd with a forced command, so a
        second channel looks for the call's mark among the pod's processes.
        """
        if self.is_closed:
            return
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError, SSHError):
            process.send_signal("INT")
            async with asyncio.timeout(5):
                sweep = await self._raw.create_process(
                    wire.interrupt_command(), encoding=None
                )
                sweep.stdin.write(call.mark.encode() + b"\n")
                sweep.stdin.write_eof()
                await sweep.wait_closed()


async def _feed(
    writer: "asyncssh.SSHWriter[bytes]", preamble: bytes, source: Source
) -> None:
    """Send the input; a command that does not want it all is no failure.

    Neither is a lost connection: the missing exit status tells of it.
    """
    try:
        if preamble:
            writer.write(preamble)
    except _LOST:
        return
    async for chunk in source:
        try:
            for start in range(0, len(chunk), CHUNK_BYTES):
                writer.write(chunk[start : start + CHUNK_BYTES])
                await writer.drain()
        except _LOST:
            return
    with contextlib.suppress(*_LOST):
        writer.write_eof()


async def _pump(reader: "asyncssh.SSHReader[bytes]", sink: Sink) -> None:
    """Hand on the output; a lost connection ends it, see `_feed`."""
    while True:
        try:
            chunk = await reader.read(CHUNK_BYTES)
        except _LOST:
            return
        if not chunk:
            return
        await sink(chunk)
