"""Reading one TOML table key by key: typed, bounded, and no key left unexplained."""

import difflib
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from runpod_client import ConfigError

MOST_COUNTED = 1000


class Keys:
    """The keys of one table, taken one after the other; what is left is unknown."""

    def __init__(self, entries: Mapping[str, Any], *, place: str, source: str) -> None:
        self._left = dict(entries)
        self._known: list[str] = []
        self._place = place
        self._source = source

    def take(self, key: str, default: Any, *kinds: type) -> Any:
        """Return a key's value, the default where it is not given.

        Raises:
            ConfigError: The value is of another type.
        """
        self._known.append(key)
        value = self._left.pop(key, default)
        is_bool = isinstance(value, bool) and bool not in kinds
        if value is not default and (is_bool or not isinstance(value, kinds)):
            raise self.refuse(key, value, "a " + " or ".join(k.__name__ for k in kinds))
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts; one text stands for a list of one."""
        value = self.take(key, list(default), list, str)
        texts = [value] if isinstance(value, str) else value
        for text in texts:
            if not isinstance(text, str):
                raise self.refuse(key, text, "a text")
        return tuple(texts)

    def count(self, key: str, default: int, *, least: int = 0) -> int:
        """Return a whole number within bounds."""
        value = self.take(key, default, int)
        if not least <= value <= MOST_COUNTED:
            raise self.refuse(key, value, f"a number from {least} to {MOST_COUNTED}")
        return int(value)

    def money(self, key: str) -> Decimal | None:
        """Return an amount above zero, None where it is not given."""
        value = self.take(key, None, int, float)
        if value is None:
            return None
        if not 0 < value < 1_000_000:
            raise self.refuse(key, value, "an amount of dollars above 0")
        return Decimal(str(value))

    def minutes(self, key: str, default: timedelta, *, least: float = 0) -> timedelta:
        """Return a length of time given in minutes."""
        value = self.take(key, default.total_seconds() / 60, int, float)
        if not least <= value <= 7 * 24 * 60:
            raise self.refuse(key, value, f"minutes from {least:g} to a week")
        return timedelta(minutes=value)

    def refuse(self, key: str, value: Any, wanted: str) -> ConfigError:
        """Return the error of a value of no use."""
        return ConfigError(
            f"{key} = {value!r} {self._place} is not {wanted}",
            setting=key,
            source=self._source,
        )

    def refuse_rest(self) -> None:
        """Refuse what nobody took.

        Raises:
            ConfigError: Names the key and the nearest valid one.
        """
        for key in self._left:
            raise ConfigError(
                f"unknown key {key!r} {self._place}",
                setting=key,
                source=self._source,
                hint=_render_nearest(key, self._known),
            )


def _render_nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.casefold(), known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
