"""What the wires of RunPod have in common: JSON, figures, times, stock; pure, no I/O.

It must not know how an answer travelled, nor the shape of any: each dialect has a
module of its own for that. Unknown words become `UNKNOWN`; a figure or a time that
makes no sense is an error, since money and leases hang on them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec

from runpod_client.errors import ProtocolError
from runpod_client.model import CloudType, Stock

Record = TypeVar("Record")

UNKNOWN_GPU_TYPE = "unknown"  # a placeholder row that the catalogue carries
# both wires' words in one case; GraphQL's null means that no host matches
_STOCK: Mapping[str, Stock] = {stock.value: stock for stock in Stock} | {
    "": Stock.NONE,
}
# RunPod reaches HTTP ports and hosts without a public address through carrier-grade NAT
_CARRIER_GRADE = range(64, 128)


def decode(body: bytes, record: type[Record], *, operation: str) -> Record:
    """Read a JSON answer as `record`.

    Raises:
        ProtocolError: It is no JSON, or not shaped as documented.
    """
    try:
        return msgspec.json.decode(body, type=record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            f"RunPod's answer to {operation} is not as documented: {error}",
            operation=operation,
            hint="If this stays so, RunPod has changed its API; look for an update.",
        ) from error


def parse_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time as aware UTC; None stays None.

    Raises:
        ProtocolError: The text is no such time.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"RunPod gives the time as {text!r}") from error


def parse_figure(value: Decimal | None) -> Decimal:
    """Return a figure, 0 for null.

    Raises:
        ProtocolError: It is none, like NaN, or larger than anything RunPod has.
    """
    if value is None:
        return Decimal(0)
    # a JSON string may spell any Decimal; int() of 1E+999999 would never end
    if not value.is_finite() or abs(value) > 10**12:
        raise ProtocolError(f"RunPod gives a figure as {value}")
    return value


def parse_money(value: Decimal | None) -> Decimal | None:
    """Return a price; RunPod writes 0 and null for what is not offered."""
    return parse_figure(value) or None


def parse_stock(word: str | None) -> Stock:
    """Return a stock level; a word that is not known is UNKNOWN, not NONE."""
    return _STOCK.get((word or "").lower(), Stock.UNKNOWN)


def parse_cloud_type(word: str | None) -> CloudType | None:
    """Return SECURE or COMMUNITY as both wires write them, None for anything else."""
    return _CLOUDS.get(word or "")


_CLOUDS: Mapping[str, CloudType] = {
    "SECURE": CloudType.SECURE,
    "COMMUNITY": CloudType.COMMUNITY,
}


def is_carrier_grade(ip: str) -> bool:
    """Return whether an address lies in 100.64.0.0/10, which no outsider reaches."""
    first, _, rest = ip.partition(".")
    second = rest.partition(".")[0]
    return first == "100" and second.isdecimal() and int(second) in _CARRIER_GRADE


def split_ports(text: str | None) -> tuple[str, ...]:
    """Return the entries of a comma separated list of ports."""
    return tuple(part for row in (text or "").split(",") if (part := row.strip()))
