"""The values this package speaks in: frozen, without I/O, without asyncssh's types."""

import base64
import enum
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runpod_client import Identity, Pod, SSHAddress
from runpod_ssh.head_starts import HeadStart

# Where a command's output goes, chunk by chunk; awaiting it is the backpressure.
Sink = Callable[[bytes], Awaitable[None]]
# Where a command's input comes from; its end is the end of input.
Source = AsyncIterator[bytes]


class HostKeyPolicy(enum.StrEnum):
    """How much proof a pod's host key needs.

    STRICT accepts pinned keys only. TRUST_ON_FIRST_USE pins what the pod shows after
    each start and refuses a change until the next one. OFF accepts anything.
    """

    STRICT = "strict"
    TRUST_ON_FIRST_USE = "trust-on-first-use"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class HostKey:
    """A public host key: its type and its base64, as in a known_hosts line."""

    algorithm: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """Return the SHA256 fingerprint as OpenSSH prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class HostKeyJudge(Protocol):
    """Decides whether a key may be the pod's; `host_keys.HostKeyVerifier` is the one.

    `check` is asked during the key exchange and raises `HostKeyError` to refuse.
    `confirm` is told of a key the pod has proved to hold, after the login.
    """

    @property
    def preferred_algorithm(self) -> str:
        """Return the type of key that is known, empty when none is."""

    def check(self, offered: HostKey) -> None:
        """Return if the key may be the pod's, else raise."""

    def confirm(self, proved: HostKey) -> None:
        """Take note of a proved key."""


class Terminal(Protocol):
    """This end of a remote terminal; `terminal.LocalTerminal` is the user's own."""

    @property
    def kind(self) -> str:
        """Return its TERM."""

    def size(self) -> tuple[int, int]:
        """Return columns and rows."""

    def keys(self) -> Source:
        """Return what is typed."""

    async def show(self, chunk: bytes) -> None:
        """Display what the pod wrote."""

    def on_resize(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Have `callback` called at every change of size within the block."""


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """How a command ended and what it wrote.

    Attributes:
        exit_status: None when a signal ended it.
        exit_signal: The signal's name without SIG, for instance `TERM`.
    """

    exit_status: int | None
    exit_signal: str | None
    stdout: bytes
    stderr: bytes
    elapsed_seconds: float


def _no_secret() -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a login offers, in this order: the identity, the token's keys, the agent's.

    Attributes:
        identity_file: A private key; None offers the user's own keys of ~/.ssh.
        read_passphrase: Returns the passphrase of an encrypted identity, None where
            there is none; called only when the file is encrypted.
        agent_path: Socket of an ssh-agent; None for none.
        pkcs11_provider: Library of a token that holds keys.
        read_pkcs11_pin: Returns the token's PIN.
    """

    identity_file: Path | None = None
    read_passphrase: Callable[[], str | None] = field(default=_no_secret, repr=False)
    agent_path: str | None = None
    pkcs11_provider: Path | None = None
    read_pkcs11_pin: Callable[[], str | None] = field(default=_no_secret, repr=False)


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way to an address.

    Attributes:
        jump: Hosts to go through, as `ssh -J` takes them: `[user@]host[:port],...`.
        ssh_config: Files of OpenSSH's client configuration to honour.
        head_start: A connection to the address that is already on its way; used where
            the way is the straight one.
    """

    jump: str = ""
    ssh_config: tuple[Path, ...] = ()
    head_start: HeadStart | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class PodTarget:
    """A pod that can be connected to.

    Attributes:
        address: Its own sshd; for `is_proxied` RunPod's proxy, which has a shell only.
    """

    pod: Pod
    address: SSHAddress
    identity: Identity | None
    credentials: Credentials = Credentials()
    route: Route = Route()
    is_proxied: bool = False

    @property
    def identity_file(self) -> Path | None:
        """Return the private key to offer; None offers the user's own keys."""
        return self.credentials.identity_file


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long each phase of a connection may take, in seconds.

    Attributes:
        total_seconds: All phases of connecting together.
        channel_seconds: Opening a channel on a connection that stands.
        keepalive_seconds: Silence after which the pod is asked for a sign of life;
            `keepalive_count` unanswered questions end the connection.
    """

    total_seconds: float = 30.0
    tcp_seconds: float = 10.0
    banner_seconds: float = 10.0
    key_exchange_seconds: float = 15.0
    authentication_seconds: float = 15.0
    channel_seconds: float = 15.0
    keepalive_seconds: float = 15.0
    keepalive_count: int = 3


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """What a copy moved.

    Attributes:
        source: As given; the pod's side reads `POD:path`.
        target: Where it stands now, under its final name.
        size_bytes: Contents of all files together.
        sha256: Over the contents of all files in order; a single file's own digest.
        is_verified: Whether the receiving (or sending) pod's own digest agreed; False
            where the pod has no sha256sum or verification was waived.
    """

    source: str
    target: str
    file_count: int
    size_bytes: int
    sha256: str
    is_verified: bool
    elapsed_seconds: float
