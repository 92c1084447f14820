"""What a sync leaves out: patterns as in a .gitignore. Pure.

A pattern without a slash is a name anywhere in the tree, one with a slash starts at
the top; a slash at its end means folders alone. `*` `?` `[a-z]` stay within a name,
`**` does not. `!` takes back what an earlier pattern hid, but nothing can be taken
back inside a hidden folder. The last pattern that fits decides.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runpod_client import ConfigError

# what copies and syncs leave behind for a moment, on either side
OWN_PREFIX = ".runpod-ssh-"
_PLAIN = re.compile(r"[^][?\\/!#\s][^][?\\/]*")


@dataclass(frozen=True, kw_only=True)
class _Rule:
    fits: re.Pattern[str]
    hides: bool
    is_for_folders: bool


@dataclass(frozen=True, kw_only=True)
class Excludes:
    """The patterns of one sync, in their order; made by `parse_excludes`."""

    rules: tuple[_Rule, ...]
    patterns: tuple[str, ...]

    def hides(self, path: str, *, is_folder: bool) -> bool:
        """Return whether a path is left out; the folders above it are not asked."""
        if path.rpartition("/")[2].startswith(OWN_PREFIX):
            return True
        for rule in reversed(self.rules):
            if rule.is_for_folders and not is_folder:
                continue
            if rule.fits.fullmatch(path):
                return rule.hides
        return False

    @property
    def plain_names(self) -> tuple[str, ...]:
        """Return patterns for `find -name` that spare the pod walking through them.

        They hide no more than all patterns together do: none are returned that a
        later one could take back, or that find may read differently.
        """
        own = f"{OWN_PREFIX}*"
        if not all(rule.hides for rule in self.rules):
            return (own,)
        return (own, *(text for text in self.patterns if _PLAIN.fullmatch(text)))

    @property
    def is_plain(self) -> bool:
        """Return whether `plain_names` hide all that is to be hidden."""
        return len(self.plain_names) == len(self.patterns) + 1


def parse_excludes(patterns: Iterable[str]) -> Excludes:
    """Return what the patterns mean; our own temporary names are always left out.

    Raises:
        ConfigError: A pattern is none.
    """
    texts = tuple(patterns)
    return Excludes(rules=tuple(_rule(text) for text in texts), patterns=texts)


def parse_lines(text: str) -> tuple[str, ...]:
    """Return the patterns of a .gitignore's text."""
    lines = (_without_trailing_spaces(line) for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _without_trailing_spaces(line: str) -> str:
    bare = line.rstrip(" ")
    return f"{bare} " if bare.endswith("\\") and bare != line else bare


def _rule(text: str) -> _Rule:
    hides = not text.startswith("!")
    body = text if hides else text[1:]
    is_for_folders = body.endswith("/")
    body = body.removesuffix("/")
    if not body.strip("/"):
        raise ConfigError(
            f"{text!r} is no pattern",
            hint="Write a name such as *.pyc, or a path from the top such as /data.",
        )
    expression = _translate(body.removeprefix("/"))
    if "/" not in body:
        expression = f"(?:.*/)?{expression}"
    return _Rule(
        fits=re.compile(expression, re.DOTALL),
        hides=hides,
        is_for_folders=is_for_folders,
    )


def _translate(pattern: str) -> str:
    """Return the regular expression of one pattern, part by part between slashes."""
    parts = pattern.split("/")
    out: list[str] = []
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if part == "**" and len(parts) > 1:
            out.append(".+" if is_last else "(?:.*/)?")
        else:
            out.append(_translate_name(part) + ("" if is_last else "/"))
    return "".join(out)


def _translate_name(part: str) -> str:
    out: list[str] = []
    place = 0
    while place < len(part):
        letter = part[place]
        place += 1
        if letter == "*":
            out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[" and (end := _end_of_set(part, place)):
            out.append(_translate_set(part[place:end]))
            place = end + 1
        elif letter == "\\" and place < len(part):
            out.append(re.escape(part[place]))
            place += 1
        else:
            out.append(re.escape(letter))
    return "".join(out)


def _end_of_set(part: str, start: int) -> int:
    """Return where a set's `]` stands, 0 where there is none; it may come first."""
    first = start + 1 if part[start : start + 1] in {"!", "^"} else start
    return max(part.find("]", first + 1), 0)


def _translate_set(inside: str) -> str:
    is_negated = inside[:1] in {"!", "^"}
    letters = inside[1:] if is_negated else inside
    escaped = "".join(
        f"\\{letter}" if letter in r"\[]^&~|" else letter for letter in letters
    )
    return f"(?!/)[{'^' if is_negated else ''}{escaped}]"


def hide(paths: Sequence[tuple[str, bool]], excludes: Excludes) -> frozenset[str]:
    """Return which paths are left out, by themselves or by a folder above.

    Args:
        paths: Each with whether it is a folder; a folder before what is in it.
    """
    hidden: set[str] = set()
    for path, is_folder in paths:
        above = path.rpartition("/")[0]
        if above in hidden or excludes.hides(path, is_folder=is_folder):
            hidden.add(path)
    return frozenset(hidden)
