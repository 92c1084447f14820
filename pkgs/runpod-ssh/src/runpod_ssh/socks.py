"""What a SOCKS client says before it talks to whom it wants to reach. Pure.

SOCKS5 without a password (RFC 1928) and SOCKS4 with names (4a), CONNECT only: what
OpenSSH's -D speaks. Who may connect is decided by the address that listens.
"""

import ipaddress
import struct
from dataclasses import dataclass

from runpod_ssh.errors import SocksError

_MOST_BYTES = 1024
_NO_PASSWORD = 0x00
_CONNECT = 0x01
_NOBODY = bytes(6)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Whom a client wants to reach, and how it is told of the outcome."""

    host: str
    port: int
    granted: bytes
    refused: bytes


class Greeting:
    """A client's words so far."""

    def __init__(self) -> None:
        self._buffer = b""
        self._has_chosen = False

    @property
    def rest(self) -> bytes:
        """Return what came after the wish."""
        return self._buffer

    def feed(self, data: bytes) -> tuple[bytes, Wish | None]:
        """Take what arrived; return what to answer, and the wish once it is complete.

        Raises:
            SocksError: Nothing can come of this.
        """
        self._buffer += data
        answer = b""
        try:
            if not self._buffer:
                return b"", None
            if self._buffer[0] == 4:
                return b"", self._read_version_4()
            if self._buffer[0] != 5:
                raise SocksError("a client of the proxy speaks no SOCKS")
            if not self._has_chosen:
                answer = self._choose_method()
            return answer, self._read_version_5() if self._buffer else None
        except (IndexError, struct.error) as error:
            if len(self._buffer) > _MOST_BYTES:
                raise SocksError("a client of the proxy talks on and on") from error
            return answer, None

    def _choose_method(self) -> bytes:
        end = 2 + self._buffer[1]
        self._buffer[end - 1]  # all of it, or IndexError
        methods, self._buffer = self._buffer[2:end], self._buffer[end:]
        if _NO_PASSWORD not in methods:
            raise SocksError(
                "a client of the proxy insists on a password", answer=b"\5\xff"
            )
        self._has_chosen = True
        return b"\5\0"

    def _read_version_5(self) -> Wish:
        _version, command, _reserved, kind = struct.unpack_from("4B", self._buffer)
        length = {1: 4, 4: 16}.get(kind)
        start = 4
        if kind == 3:
            length, start = self._buffer[4], 5
        if length is None:
            raise SocksError("unknown kind of address", answer=b"\5\x08\0\1" + _NOBODY)
        if command != _CONNECT:
            raise SocksError("only CONNECT is offered", answer=b"\5\x07\0\1" + _NOBODY)
        end = start + length
        (port,) = struct.unpack_from("!H", self._buffer, end)
        raw, self._buffer = self._buffer[start:end], self._buffer[end + 2 :]
        host = _name(raw) if kind == 3 else str(ipaddress.ip_address(raw))
        return Wish(
            host=host,
            port=port,
            granted=b"\5\0\0\1" + _NOBODY,
            refused=b"\5\5\0\1" + _NOBODY,
        )

    def _read_version_4(self) -> Wish:
        _version, command, port, raw = struct.unpack_from("!BBH4s", self._buffer)
        _user, rest = _take_string(self._buffer[8:])
        host = str(ipaddress.ip_address(raw))
        if raw[:3] == b"\0\0\0" and raw[3]:
            name, rest = _take_string(rest)
            host = _name(name)
        if command != _CONNECT:
            raise SocksError("only CONNECT is offered", answer=b"\0\x5b" + _NOBODY)
        self._buffer = rest
        return Wish(
            host=host,
            port=port,
            granted=b"\0\x5a" + _NOBODY,
            refused=b"\0\x5b" + _NOBODY,
        )


def _take_string(data: bytes) -> tuple[bytes, bytes]:
    text, end, rest = data.partition(b"\0")
    if not end:
        raise IndexError
    return text, rest


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise SocksError("a host's name is no ASCII") from error
    if not name or not name.isprintable():
        raise SocksError("a host has no name")
    return name
