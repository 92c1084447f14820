"""Bringing a connection about: the way to sshd, its greeting, keys, the login.

Every phase has its own bound, over the direct way as through jump hosts. It knows
nothing of commands and channels; those are `connection`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from runpod_client import SSHAddress
from runpod_ssh.errors import HostKeyError, SSHAuthenticationError, SSHUnreachableError
from runpod_ssh.key_files import KeyRing, Keys
from runpod_ssh.model import Bounds, HostKey, HostKeyJudge
from runpod_ssh.ssh_failures import reason_of, too_slow, translate
from runpod_ssh.taps import Tap

# AES-GCM first: it is what the processor is fast at
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)
# The post-quantum exchanges cost sshd up to 100 ms; they stay behind as a fallback. So
# does curve25519: sshd has portable code of its own for it, OpenSSL's nistp256 saves it
# a tenth of what a whole login costs.
_KEY_EXCHANGES = "^ecdh-sha2-nistp256,curve25519-sha256,curve25519-sha256@libssh.org"
_HOST_KEY_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}

# what a tunnel through a jump host may have under way towards us
_TUNNEL_WINDOW_BYTES = 16 * 1024 * 1024

# Makes a tap the protocol of a stream of bytes to an sshd, and returns when it is.
Carrier = Callable[[Tap], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A login that stands."""

    raw: asyncssh.SSHClientConnection
    tap: Tap
    host_key: HostKey


@dataclass(frozen=True, kw_only=True)
class Door:
    """An sshd, what it is known by, and what to log in with."""

    address: SSHAddress
    host_keys: HostKeyJudge
    keys: KeyRing

    @property
    def algorithms(self) -> list[str]:
        """Return the types of host key to ask for, the known one first."""
        preferred = self.host_keys.preferred_algorithm
        ordered = sorted(_HOST_KEY_ALGORITHMS, key=lambda name: name != preferred)
        return [a for name in ordered for a in _HOST_KEY_ALGORITHMS[name]]


class _Phases:
    """How far a connection has come, and until when it may stay there."""

    def __init__(self, limits: Bounds, deadline: float, limit: asyncio.Timeout) -> None:
        self.now = ""
        self.seconds = 0.0
        self._limits = limits
        self._deadline = deadline
        self._limit = limit
        self._is_over = False

    def finish(self) -> None:
        self._is_over = True

    def reach_out(self) -> None:
        self._enter("the TCP connection", self._limits.tcp_seconds)

    def await_greeting(self) -> None:
        self._enter("sshd's greeting", self._limits.banner_seconds)

    def exchange_keys(self) -> None:
        self._enter("the key exchange", self._limits.key_exchange_seconds)

    def authenticate(self) -> None:
        self._enter("the authentication", self._limits.authentication_seconds)

    @property
    def is_before_greeting(self) -> bool:
        return self.now == "sshd's greeting"

    @property
    def is_authenticating(self) -> bool:
        return self.now == "the authentication"

    def _enter(self, name: str, seconds: float) -> None:
        # asyncssh calls back when the time is up, and at every later exchange of keys
        if self._is_over or self._limit.expired():
            return
        now = asyncio.get_running_loop().time()
        self.now = name
        self.seconds = min(seconds, max(0.0, self._deadline - now))
        self._limit.reschedule(now + self.seconds)


class _Client(asyncssh.SSHClient):
    """Hears from asyncssh how far a connection has come, and answers its questions."""

    def __init__(self, door: Door, phases: _Phases) -> None:
        self._door = door
        self._phases = phases
        self.host_key: HostKey | None = None
        self.refusal: Exception | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Ask the judge; an error of its must not unwind through asyncssh."""
        del host, addr, port
        algorithm, blob = key.export_public_key().decode().split()[:2]
        self.host_key = HostKey(algorithm=algorithm, blob=blob)
        try:
            self._door.host_keys.check(self.host_key)
        except Exception as error:  # noqa: BLE001  # re-raised by `log_in`
            self.refusal = error
            return False
        self._phases.authenticate()
        return True

    async def public_key_auth_requested(self) -> Keys | None:
        """Return the next keys to offer."""
        try:
            return await self._door.keys.next() or None
        except SSHAuthenticationError as error:
            self.refusal = error
            return None


class _Tunnel:
    """What asyncssh takes for an SSH tunnel: it lets a tap carry its bytes."""

    def __init__(self, carry: Carrier, phases: _Phases) -> None:
        self.taps: list[Tap] = []
        self._carry = carry
        self._phases = phases

    async def create_connection(
        self, session_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[None, Any]:
        """Open the way to sshd; asyncssh calls it."""
        del host, port
        inner = session_factory()
        tap = Tap(
            inner,
            on_open=self._phases.await_greeting,
            on_greeting=self._phases.exchange_keys,
        )
        self._phases.reach_out()
        await self._carry(tap)
        self.taps.append(tap)
        return None, inner


async def log_in(door: Door, carry: Carrier, limits: Bounds, deadline: float) -> Link:
    """Connect to an sshd, check its host key and log in.

    Args:
        deadline: The moment, in the loop's time, that cuts every phase short.

    Raises:
        SSHUnreachableError, HostKeyError, SSHAuthenticationError: As for `connect`.
    """
    address = door.address
    limit = asyncio.timeout_at(deadline)
    phases = _Phases(limits, deadline, limit)
    client = _Client(door, phases)
    tunnel = _Tunnel(carry, phases)
    try:
        async with limit:
            raw = await asyncssh.connect(
                address.host,
                address.port,
                tunnel=tunnel,
                client_factory=lambda: client,
                **_options(door, limits),
            )
            phases.finish()
    except TimeoutError as error:
        if not limit.expired():
            raise translate(error, address, "connecting to") from error
        raise too_slow(address, phases.now, round(phases.seconds, 1)) from error
    except (asyncssh.Error, OSError) as error:
        if client.refusal is not None:
            if isinstance(client.refusal, HostKeyError):
                client.refusal.address = address
            raise client.refusal from error
        said = "".join(tap.said_in_place_of_greeting for tap in tunnel.taps)
        raise _failure(error, address, phases, said) from error
    if client.host_key is None:
        raw.abort()
        raise HostKeyError(f"{address} showed no host key", address=address)
    try:
        door.host_keys.confirm(client.host_key)
    except BaseException:
        raw.abort()
        raise
    return Link(raw=raw, tap=tunnel.taps[0], host_key=client.host_key)


def _failure(
    error: Exception, address: SSHAddress, phases: _Phases, said: str
) -> Exception:
    if phases.is_before_greeting and isinstance(
        error, asyncssh.ConnectionLost | ConnectionError
    ):
        told = f" and said: {said}" if said else ""
        return SSHUnreachableError(
            f"{address} closed the connection before sshd's greeting{told}",
            address=address,
            hint="sshd may be starting or full; try again in a moment.",
        )
    is_farewell = isinstance(error, asyncssh.DisconnectError) and not isinstance(
        error, asyncssh.ConnectionLost
    )
    if phases.is_authenticating and is_farewell:
        # such as sshd's "Too many authentication failures"
        error = asyncssh.PermissionDenied(reason_of(error))
    return translate(error, address, "connecting to")


def _options(door: Door, limits: Bounds) -> dict[str, Any]:
    """Return the options of a connection; no file and no variable has a say in it."""
    return {
        "config": None,
        "username": door.address.user,
        # no key is known to asyncssh itself: it asks the client object about each
        "known_hosts": lambda _host, _addr, _port: ([], [], []),
        "client_keys": None,
        "server_host_key_algs": door.algorithms,
        "kex_algs": _KEY_EXCHANGES,
        "encryption_algs": list(_CIPHERS),
        "compression_algs": None,
        "preferred_auth": "publickey",
        "host_based_auth": False,
        "gss_host": None,
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "agent_path": None,
        "agent_forwarding": False,
        "send_env": None,
        "env": None,
        "connect_timeout": None,
        "login_timeout": limits.total_seconds + 1,
        "keepalive_interval": limits.keepalive_seconds,
        "keepalive_count_max": limits.keepalive_count,
    }


async def carry_by_tunnel(
    address: SSHAddress,
    jump: asyncssh.SSHClientConnection,
    jump_address: SSHAddress,
    tap: Tap,
) -> None:
    """Carry a tap over a channel of the connection to a jump host."""
    # a tap is what asyncssh asks of a session, by shape
    session: Any = tap
    try:
        await jump.create_connection(
            lambda: session, address.host, address.port, window=_TUNNEL_WINDOW_BYTES
        )
    except asyncssh.ChannelOpenError as error:
        raise SSHUnreachableError(
            f"the jump host {jump_address} cannot reach {address}: {reason_of(error)}",
            address=address,
            hint="Is the pod still running, and is it reachable from there?",
        ) from error


async def hang_up(raw: asyncssh.SSHClientConnection) -> None:
    """Say goodbye, or cut the connection where the other side does not answer."""
    raw.close()
    try:
        async with asyncio.timeout(2):
            await raw.wait_closed()
    except (TimeoutError, asyncssh.Error, OSError):
        raw.abort()
