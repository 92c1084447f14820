"""From text or a TOML value to the type a setting is declared with; pure."""

import enum
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runpod_client.errors import ConfigError
from runpod_client.nearest import find_nearest

_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def plain_type(hint: Any) -> Any:
    """Return T for `T | None`, else the hint itself."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def parse_value(value: Any, hint: Any, *, name: str, source: str) -> Any:
    """Turn a variable's text or a TOML value into the type of a setting.

    Args:
        hint: bool, int, float, Decimal, str, Path, a StrEnum or `tuple[str, ...]`,
            or one of these or None.

    Raises:
        ConfigError: It does not fit; names the setting and its origin.
        TypeError: The setting is declared with another type: a bug.
    """
    kind = plain_type(hint)
    parse = _find_parser(kind)
    if parse is None:
        raise TypeError(f"setting {name} has the unsupported type {kind}")
    try:
        return parse(value)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        choices = _choices(kind)
        near = find_nearest(str(value), choices)
        known = f"Choose from {', '.join(choices)}." if choices else ""
        raise ConfigError(
            f"{name} from {source} is {value!r}, which is no {_name_of(kind)}",
            setting=name,
            source=source,
            hint=f"Did you mean {near!r}? {known}" if near else known,
        ) from None


def render_value(value: Any) -> str:
    """Return a setting's value as people write it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _find_parser(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return lambda value: kind(_parse_text(value).lower())
    if typing.get_origin(kind) is tuple:
        return _parse_texts
    parsers: Mapping[str, Callable[[Any], Any]] = {
        "bool": _parse_bool,
        "int": _parse_int,
        "float": _parse_float,
        "Decimal": _parse_decimal,  # by name: its module is slow to import
        "str": _parse_text,
        "Path": lambda value: Path(_parse_text(value)).expanduser(),
    }
    return parsers.get(getattr(kind, "__name__", ""))


def _choices(kind: Any) -> list[str]:
    is_enum = isinstance(kind, type) and issubclass(kind, enum.StrEnum)
    return [str(member) for member in kind] if is_enum else []


def _name_of(kind: Any) -> str:
    return "list of texts" if typing.get_origin(kind) is tuple else str(kind.__name__)


def _parse_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _parse_texts(value: Any) -> tuple[str, ...]:
    """Return a TOML list, or a variable's text split at commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list):
        raise TypeError
    return tuple(_parse_text(part) for part in value)


def _parse_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else _BOOLS[_parse_text(value).lower()]


def _parse_int(value: Any) -> int:
    # int(2.7) and int(True) would be silent mistakes
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _parse_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_decimal(value: Any) -> Any:
    from decimal import Decimal  # noqa: PLC0415  # kept out of --help

    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError
    return number
