"""What a tunnel leads from and to, as users write it. Pure.

8188                     local 8188, the pod's own 8188
8080:8188, auto:8188     another local port, or any free one
8080:db:5432             what the pod reaches as db:5432
0.0.0.0:8080:db:5432     listening on another address, as OpenSSH writes it
R:9000, D:1080           remote and dynamic ones; L: is what goes without saying
"""

import enum
import re
from dataclasses import dataclass

from runpod_client import ConfigError

LOOPBACK = "127.0.0.1"
_LOOPBACKS = re.compile(r"127(?:\.\d{1,3}){3}|::1|localhost")
# colons inside brackets belong to an IPv6 address
_FIELD = re.compile(r"\[([^\[\]]*)\]|([^:\[\]]*)")
_FREE = "auto"
_EXAMPLES = "Write 8188, 8080:8188, 8080:host:80 or address:8080:host:80."


class ForwardKind(enum.StrEnum):
    """Which way a tunnel leads.

    LOCAL listens here and leads to what the pod reaches, REMOTE listens on the pod and
    leads to what this machine reaches, DYNAMIC is a SOCKS proxy here.
    """

    LOCAL = "local"
    REMOTE = "remote"
    DYNAMIC = "dynamic"


@dataclass(frozen=True, kw_only=True)
class ForwardSpec:
    """One tunnel.

    Attributes:
        bind_host: Address to listen on: this machine's, for REMOTE the pod's.
        port: To listen on; 0 for any free one.
        to_host: Where it leads, as seen from the far end; empty for DYNAMIC.
    """

    kind: ForwardKind
    bind_host: str
    port: int
    to_host: str = ""
    to_port: int = 0

    @property
    def is_public(self) -> bool:
        """Return whether other machines can reach it."""
        return not _LOOPBACKS.fullmatch(self.bind_host)

    @property
    def listens_on(self) -> str:
        """Return address and port as one text."""
        return _join(self.bind_host, self.port)

    @property
    def leads_to(self) -> str:
        """Return where it leads as one text."""
        if self.kind is ForwardKind.DYNAMIC:
            return "wherever a client asks (SOCKS)"
        return _join(self.to_host, self.to_port)


def parse_spec(
    text: str, kind: ForwardKind = ForwardKind.LOCAL, *, bind_host: str = LOOPBACK
) -> ForwardSpec:
    """Return the tunnel that a text means.

    Args:
        kind: What it is where the text does not begin with L:, R: or D:.
        bind_host: This machine's address where the text names none.

    Raises:
        ConfigError: It means none.
    """
    letter, colon, rest = text.partition(":")
    if colon and letter in {"L", "R", "D"}:
        kind = next(kind for kind in ForwardKind if kind.name[0] == letter)
    else:
        rest = text
    fields = _split(rest, text)
    default = LOOPBACK if kind is ForwardKind.REMOTE else bind_host
    if kind is ForwardKind.DYNAMIC:
        return _parse_dynamic(fields, text, default)
    if len(fields) == 1:
        port = _port(fields[0], text)
        return ForwardSpec(
            kind=kind, bind_host=default, port=port, to_host=LOOPBACK, to_port=port
        )
    if len(fields) == 2:
        fields = [default, fields[0], LOOPBACK, fields[1]]
    elif len(fields) == 3:
        fields = [default, *fields]
    if len(fields) != 4 or not fields[2]:
        raise _refuse(text)
    return ForwardSpec(
        kind=kind,
        bind_host=_bind(fields[0]),
        port=_port(fields[1], text, may_be_free=True),
        to_host=fields[2],
        to_port=_port(fields[3], text),
    )


def _parse_dynamic(fields: list[str], text: str, default: str) -> ForwardSpec:
    if len(fields) == 1:
        fields = [default, *fields]
    if len(fields) != 2:
        raise _refuse(text)
    return ForwardSpec(
        kind=ForwardKind.DYNAMIC,
        bind_host=_bind(fields[0]),
        port=_port(fields[1], text, may_be_free=True),
    )


def _split(rest: str, text: str) -> list[str]:
    fields = []
    position = 0
    while True:
        match = _FIELD.match(rest, position)
        if match is None:
            raise _refuse(text)
        fields.append(match[1] if match[1] is not None else match[2])
        position = match.end()
        if position == len(rest):
            return fields
        if rest[position] != ":":
            raise _refuse(text)
        position += 1


def _bind(host: str) -> str:
    # to OpenSSH an empty address and * mean all
    return "0.0.0.0" if host in {"", "*"} else host  # noqa: S104  # was asked for


def _port(field: str, text: str, *, may_be_free: bool = False) -> int:
    if may_be_free and field == _FREE:
        return 0
    if not (field.isascii() and field.isdigit()):
        raise _refuse(text)
    port = int(field)
    if port > 65535 or (port == 0 and not may_be_free):
        raise _refuse(text)
    return port


def _join(host: str, port: int) -> str:
    shown = "auto" if port == 0 else str(port)
    return f"[{host}]:{shown}" if ":" in host else f"{host}:{shown}"


def _refuse(text: str) -> ConfigError:
    return ConfigError(f"{text!r} describes no tunnel", hint=_EXAMPLES)
