"""What a user's OpenSSH says of one host: its ssh_config and their known_hosts.

Taken of the first: where the host is and the way there (HostName, Port, User, ProxyJump,
ProxyCommand, HostKeyAlias), the keys to offer (IdentityFile, IdentityAgent,
PKCS11Provider) and ConnectTimeout. Never taken: anything that makes host keys matter
less, forwards an agent, or sends variables; those are not even read here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from runpod_client import ConfigError
from runpod_ssh.errors import HostKeyError
from runpod_ssh.model import HostKey


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """What applies to one host.

    Attributes:
        host, port, user: Where it is; None where nothing is said.
        jump: As `ssh -J` takes it, empty for none.
        proxy_command: The program that carries the connection, empty for none.
        host_key_alias: The name its key is filed under, empty for its own.
        identity_agent: An agent's socket; None where nothing is said, empty for none.
    """

    host: str = ""
    port: int | None = None
    user: str | None = None
    jump: str = ""
    proxy_command: tuple[str, ...] = ()
    host_key_alias: str = ""
    identity_files: tuple[Path, ...] = ()
    identity_agent: str | None = None
    pkcs11_provider: Path | None = None
    connect_timeout_seconds: float | None = None


async def read_host_config(
    files: Sequence[Path], host: str, *, port: int | None, user: str | None
) -> HostConfig:
    """Return what the files say of a host; files that are not there say nothing.

    Args:
        port, user: What is already decided; it goes before what the files say.

    Raises:
        ConfigError: A file cannot be read or understood.
    """
    present = [str(file) for file in files if file.is_file()]
    if not present:
        return HostConfig(host=host, port=port, user=user)
    # in a thread: a `Match exec` runs a program
    return await asyncio.to_thread(_read, present, host, port, user)


def _read(
    files: list[str], host: str, port: int | None, user: str | None
) -> HostConfig:
    decided: dict[str, object] = {}
    if port is not None:
        decided["port"] = port
    if user is not None:
        decided["username"] = user
    try:
        options = asyncssh.SSHClientConnectionOptions(
            config=files,
            host=host,
            # none of this is to be read, only what the files say
            client_keys=None,
            known_hosts=None,
            x509_trusted_certs=None,
            **decided,
        )
    except (asyncssh.ConfigParseError, OSError, ValueError) as error:
        raise ConfigError(
            f"cannot understand {', '.join(files)}: {error}",
            setting="ssh_config",
            source=files[0],
            hint="Correct it, or do without: RUNPOD_SSH_CONFIG=none",
        ) from error
    said = options.config
    agent = said.get("IdentityAgent")
    provider = said.get("PKCS11Provider")
    timeout = said.get("ConnectTimeout")
    identity_files = said.get("IdentityFile")
    return HostConfig(
        host=options.host,
        port=port if port is not None else _int_of(said.get("Port")),
        user=user if user is not None else _text_of(said.get("User")) or None,
        jump=_text_of(said.get("ProxyJump")),
        proxy_command=tuple(options.proxy_command or ()),
        host_key_alias=_text_of(said.get("HostKeyAlias")),
        identity_files=tuple(
            Path(str(name)).expanduser()
            for name in (identity_files if isinstance(identity_files, list) else ())
            if str(name).lower() != "none"
        ),
        identity_agent=None if agent is None else _agent_path(str(agent)),
        pkcs11_provider=Path(_text_of(provider)) if _text_of(provider) else None,
        connect_timeout_seconds=_int_of(timeout),
    )


def _text_of(value: object) -> str:
    """Return a word; ssh_config's `none` is none."""
    text = "" if value is None else str(value)
    return "" if text.lower() == "none" else text


def _int_of(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _agent_path(said: str) -> str | None:
    if said.lower() == "none":
        return ""
    # the variable is for the caller to read: it stands in Credentials.agent_path
    if said == "SSH_AUTH_SOCK" or said.startswith("$"):
        return None
    return str(Path(said).expanduser())


class KnownHostsJudge:
    """Judges the host key of a machine of the user's by their known_hosts alone."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._known, self._revoked = self._look_up()

    @property
    def preferred_algorithm(self) -> str:
        """Return the type of a key that is known, empty when none is."""
        return self._known[0].algorithm if self._known else ""

    def check(self, offered: HostKey) -> None:
        """Return if the key is known.

        Raises:
            HostKeyError: It is not, or another is.
        """
        place = self._host if self._port == 22 else f"[{self._host}]:{self._port}"
        if offered in self._revoked:
            raise HostKeyError(
                f"the host key of the jump host {place} is revoked in your known_hosts",
                offered_fingerprint=offered.fingerprint,
            )
        if offered in self._known:
            return
        learn = f"ssh-keyscan -p {self._port} {self._host} >>~/.ssh/known_hosts"
        if not self._known:
            raise HostKeyError(
                f"the jump host {place} is not in your known_hosts; it offers "
                f"{offered.fingerprint}",
                offered_fingerprint=offered.fingerprint,
                hint=f"Compare with what its owner says, then: {learn}",
            )
        raise HostKeyError(
            f"the host key of the jump host {place} is another than in your "
            f"known_hosts: it offers {offered.fingerprint}",
            expected_fingerprint=self._known[0].fingerprint,
            offered_fingerprint=offered.fingerprint,
            hint="Someone may be in between. If its owner changed it: "
            f"ssh-keygen -R '{place}' && {learn}",
        )

    def confirm(self, proved: HostKey) -> None:
        """Do nothing: known_hosts is the user's to write."""

    def _look_up(self) -> tuple[list[HostKey], list[HostKey]]:
        folder = Path.home() / ".ssh"
        files = [
            str(file)
            for file in (
                folder / "known_hosts",
                folder / "known_hosts2",
                Path("/etc/ssh/ssh_known_hosts"),
            )
            if file.is_file()
        ]
        if not files:
            return [], []
        port = self._port if self._port != 22 else None
        try:
            found = asyncssh.match_known_hosts(files, self._host, "", port)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot read {', '.join(files)}: {error}", source=files[0]
            ) from error
        return [_host_key_of(k) for k in found[0]], [_host_key_of(k) for k in found[2]]


def _host_key_of(key: asyncssh.SSHKey) -> HostKey:
    algorithm, blob = key.export_public_key().decode().split()[:2]
    return HostKey(algorithm=algorithm, blob=blob)
