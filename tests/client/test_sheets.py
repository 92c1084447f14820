import io

import pytest
from rich.console import Console

from runpod_client.sheets import Cell, Lines, Page, Sheet, names_of

SHEET = Sheet(
    headings=("NAME", ">$/H", "STATUS"),
    rows=[["trainer", "0.69", Cell("RUNNING", "green")], ["x", "12.00", "STOPPED"]],
)
PAGE = Page((("name", "trainer"), ("SSH", Cell("ssh root@203.0.113.7", "bold"))))


def drawn(result: Sheet | Page | Lines) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, no_color=True).print(result.render_rich())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_plain_sheet_is_aligned_with_figures_to_the_right() -> None:
    assert SHEET.render_plain().splitlines() == [
        "NAME       $/H  STATUS",
        "trainer   0.69  RUNNING",
        "x        12.00  STOPPED",
    ]


def test_terminal_shows_the_same_sheet_as_a_pipe() -> None:
    assert drawn(SHEET) == SHEET.render_plain().splitlines()


def test_terminal_shows_the_same_page_as_a_pipe() -> None:
    assert drawn(PAGE) == PAGE.render_plain().splitlines()


@pytest.mark.parametrize("text", ["[bold]not markup[/]", "a\nb"])
def test_text_is_shown_as_it_is(text: str) -> None:
    assert "\n".join(drawn(Lines(text))) == text == Lines(text).render_plain()


def test_sheet_without_rows_says_what_to_do() -> None:
    empty = Sheet(headings=("NAME",), rows=[], empty="Rent one.")

    assert empty.render_plain() == "Rent one."
    assert drawn(empty) == ["Rent one."]


def test_ambiguous_and_missing_names_give_way_to_ids() -> None:
    rows = [("a", "id0"), ("b", "id1"), ("b", "id2"), ("", "id3")]

    assert names_of(rows) == ["a", "id1", "id2", "id3"]
