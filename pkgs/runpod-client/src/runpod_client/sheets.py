"""Results for people, as values: a sheet of rows, or a page of labels and texts.

The same sheet is drawn by rich on a terminal and as plain aligned text into a pipe,
which needs no library. Pure; it must not know what a pod is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP = "  "


@dataclass(frozen=True)
class Cell:
    """A text and its look, for instance `bold red`; a plain text is a cell as well."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table.

    Attributes:
        headings: A heading that starts with `>` marks a column of figures, which
            stands to the right.
        empty: Shown instead where there are no rows.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    empty: str = ""

    def render_plain(self) -> str:
        """Return aligned columns without colour, as wide as they need to be."""
        if not self.rows:
            return self.empty
        titles = [heading.removeprefix(">") for heading in self.headings]
        lines = [titles, *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(self._line(line, widths) for line in lines)

    def render_rich(self) -> "RenderableType":
        """Return the same for a terminal."""
        from rich.table import Table  # noqa: PLC0415  # slow
        from rich.text import Text  # noqa: PLC0415

        if not self.rows:
            return Text(self.empty)
        table = Table(
            box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
        )
        for heading in self.headings:
            table.add_column(
                heading.removeprefix(">"),
                justify="right" if heading.startswith(">") else "left",
                no_wrap=True,
            )
        for row in self.rows:
            table.add_row(*(Text(_text(cell), style=_style(cell)) for cell in row))
        return table

    def _line(self, texts: Sequence[str], widths: Sequence[int]) -> str:
        cells = (
            text.rjust(width) if heading.startswith(">") else text.ljust(width)
            for heading, text, width in zip(self.headings, texts, widths, strict=True)
        )
        return _GAP.join(cells).rstrip()


@dataclass(frozen=True)
class Page:
    """Labels and what there is to say under each."""

    rows: Sequence[tuple[str, str | Cell]]

    def render_plain(self) -> str:
        """Return a line per label."""
        width = max((len(label) for label, _ in self.rows), default=0)
        lines = (
            f"{label.ljust(width)}{_GAP}{_text(cell)}" for label, cell in self.rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def render_rich(self) -> "RenderableType":
        """Return the same for a terminal, long texts folded."""
        from rich.table import Table  # noqa: PLC0415  # slow
        from rich.text import Text  # noqa: PLC0415

        grid = Table.grid(padding=(0, 2))
        for label, cell in self.rows:
            text = Text(_text(cell), style=_style(cell), overflow="fold")
            grid.add_row(Text(label, style="dim"), text)
        return grid


@dataclass(frozen=True)
class Lines:
    """A text that stands as it is."""

    text: str

    def render_plain(self) -> str:
        """Return the text."""
        return self.text

    def render_rich(self) -> "RenderableType":
        """Return the text for a terminal, without reading markup into it."""
        from rich.text import Text  # noqa: PLC0415  # slow

        return Text(self.text)


def names_of(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return for each (name, id) the name if it stands for one thing alone, else the id."""
    pairs = list(rows)
    names = [name for name, _ in pairs]
    return [name if name and names.count(name) == 1 else key for name, key in pairs]


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _style(cell: str | Cell) -> str:
    return cell.style if isinstance(cell, Cell) else ""
