"""YAML with the place of every value: the text of a workflow as a tree.

It must not know what a workflow is. Every scalar is a text, as it is written: whether
`on` is a word or a truth value is the reader's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import yaml

# GitHub refuses larger files
MAX_BYTES = 512 * 1024


@dataclass(frozen=True, order=True)
class Place:
    """A line and a column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Text:
    """A scalar as it is written; empty where there is none."""

    value: str
    place: Place
    is_block: bool = False

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list."""

    values: "tuple[Tree, ...]"
    place: Place


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping with its keys' places, in order; a key may stand there twice."""

    entries: "tuple[tuple[Text, Tree], ...]"
    place: Place

    def get(self, name: str) -> "Tree | None":
        """Return the value of a key, the last one where it is repeated."""
        found = [value for key, value in self.entries if key.value == name]
        return found[-1] if found else None

    def find_key(self, name: str) -> Text | None:
        """Return a key with its place."""
        return next((key for key, _ in self.entries if key.value == name), None)

    def find_text(self, name: str) -> Text | None:
        """Return a value that is a scalar."""
        value = self.get(name)
        return value if isinstance(value, Text) else None

    def find_table(self, name: str) -> "Table | None":
        """Return a value that is a mapping."""
        value = self.get(name)
        return value if isinstance(value, Table) else None

    def list_texts(self, name: str) -> tuple[Text, ...]:
        """Return a value that is a list of scalars, or one scalar, as a list."""
        value = self.get(name)
        if isinstance(value, Text):
            return (value,) if value.value else ()
        if isinstance(value, Items):
            return tuple(item for item in value.values if isinstance(item, Text))
        return ()

    @property
    def names(self) -> tuple[Text, ...]:
        """Return the keys in order."""
        return tuple(key for key, _ in self.entries)


Tree: TypeAlias = Text | Items | Table


class SourceError(Exception):
    """The text is no YAML, or one that no workflow needs."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def parse_source(text: str) -> Tree:
    """Read YAML.

    Raises:
        SourceError: It cannot be read; says where.
    """
    if len(text.encode()) > MAX_BYTES:
        raise SourceError("the file is larger than 512 KiB", Place(1, 1))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise SourceError(_explain(error, text, place), place) from error
    except yaml.YAMLError as error:
        raise SourceError(
            "the file holds what YAML does not allow", Place(1, 1)
        ) from error
    except RecursionError:
        raise SourceError("the file is nested too deeply", Place(1, 1)) from None
    if node is None:
        raise SourceError("the file is empty", Place(1, 1))
    return _Grower().grow(node)


def walk_texts(tree: Tree | None) -> Iterator[Text]:
    """Yield every scalar that is a value, in order."""
    if isinstance(tree, Text):
        yield tree
    elif isinstance(tree, Items):
        for value in tree.values:
            yield from walk_texts(value)
    elif isinstance(tree, Table):
        for _, value in tree.entries:
            yield from walk_texts(value)


def walk_tables(tree: Tree) -> Iterator[Table]:
    """Yield every mapping, outer ones first."""
    if isinstance(tree, Table):
        yield tree
        for _, value in tree.entries:
            yield from walk_tables(value)
    elif isinstance(tree, Items):
        for value in tree.values:
            yield from walk_tables(value)


class _Grower:
    """Turns PyYAML's nodes into a tree; an anchor used often is grown once."""

    def __init__(self) -> None:
        self._grown: dict[int, Tree] = {}
        self._open: set[int] = set()

    def grow(self, node: yaml.Node) -> Tree:
        known = self._grown.get(id(node))
        if known is not None:
            return known
        place = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        if id(node) in self._open:
            raise SourceError("an alias stands inside of what it names", place)
        self._open.add(id(node))
        tree = self._make(node, place)
        self._open.discard(id(node))
        self._grown[id(node)] = tree
        return tree

    def _make(self, node: yaml.Node, place: Place) -> Tree:
        if isinstance(node, yaml.SequenceNode):
            return Items(values=tuple(map(self.grow, node.value)), place=place)
        if isinstance(node, yaml.MappingNode):
            entries = [(self._key(key), self.grow(value)) for key, value in node.value]
            return Table(entries=tuple(entries), place=place)
        is_block = isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}
        return Text(value=str(node.value), place=place, is_block=is_block)

    def _key(self, node: yaml.Node) -> Text:
        grown = self.grow(node)
        if isinstance(grown, Text):
            return grown
        raise SourceError("a key is a list or a mapping", grown.place)


def _explain(error: yaml.MarkedYAMLError, text: str, place: Place) -> str:
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if line.lstrip(" ").startswith("\t"):
        return "a tab stands where YAML wants spaces"
    problem = error.problem or "it cannot be read"
    context = f" ({error.context})" if error.context else ""
    return f"this is no YAML: {problem}{context}"
