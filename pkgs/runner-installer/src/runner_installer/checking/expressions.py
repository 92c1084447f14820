"""The expressions of a workflow, `${{ ... }}`, as far as names stand in them. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner_installer.checking.source import Place, Text

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STRING = re.compile(r"'(?:[^']|'')*'")
_INDEX = re.compile(r"\[\s*'((?:[^']|'')*)'\s*\]")
_PATH = re.compile(r"(?<![\w.'-])([A-Za-z_][\w-]*)((?:\.(?:[\w-]+|\*)|\[[^\]]*\])*)")
_CALL = re.compile(r"\s*\(")
_WORDS = frozenset({"true", "false", "null", "nan", "infinity"})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A dotted name in an expression: `needs.up.outputs.labels`.

    Attributes:
        parts: In small letters where GitHub does not tell them apart: the context.
        place: Of the expression's beginning.
    """

    context: str
    parts: tuple[str, ...]
    place: Place

    def __str__(self) -> str:
        return ".".join((self.context, *self.parts))


@dataclass(frozen=True, kw_only=True)
class Expression:
    """What stands between the braces, with the names in it.

    Attributes:
        calls: The functions it calls, in small letters.
    """

    body: str
    place: Place
    references: tuple[Reference, ...] = ()
    calls: frozenset[str] = field(default_factory=frozenset)


def find_expressions(text: Text, *, is_condition: bool = False) -> Iterator[Expression]:
    """Yield a text's expressions.

    Args:
        is_condition: Whether the whole of it is one where it has no braces: `if:`.
    """
    found = list(_EXPRESSION.finditer(text.value))
    for match in found:
        yield parse_expression(match[1], _place_at(text, match.start()))
    if is_condition and not found and text.value.strip():
        yield parse_expression(text.value, text.place)


def is_open(text: Text) -> bool:
    """Tell whether an expression begins and does not end."""
    return "${{" in _EXPRESSION.sub("", text.value)


def parse_expression(body: str, place: Place) -> Expression:
    """Find the names in an expression; strings in it are no names."""
    plain = _STRING.sub("''", _INDEX.sub(r".\1", body))
    references, calls = [], set()
    for match in _PATH.finditer(plain):
        name, rest = match[1], match[2]
        if not rest and _CALL.match(plain, match.end()):
            calls.add(name.lower())
        elif name.lower() not in _WORDS:
            parts = tuple(filter(None, re.split(r"\.|\[[^\]]*\]", rest)))
            references.append(Reference(context=name.lower(), parts=parts, place=place))
    return Expression(
        body=body.strip(),
        place=place,
        references=tuple(references),
        calls=frozenset(calls),
    )


def _place_at(text: Text, offset: int) -> Place:
    before = text.value[:offset]
    line_count = before.count("\n")
    if text.is_block:
        # a block begins in the line after its sign; its indentation is not kept
        return Place(text.place.line + 1 + line_count, 1)
    if line_count:
        return Place(text.place.line + line_count, 1)
    return Place(text.place.line, text.place.column + offset)
