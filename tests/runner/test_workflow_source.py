"""YAML with places, and the names in expressions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_installer.checking.expressions import (
    find_expressions,
    is_open,
    parse_expression,
)
from runner_installer.checking.source import (
    Items,
    Place,
    SourceError,
    Table,
    Text,
    parse_source,
    walk_texts,
)


def table_of(text: str) -> Table:
    tree = parse_source(text)
    assert isinstance(tree, Table)
    return tree


def references(body: str) -> list[str]:
    return [str(one) for one in parse_expression(body, Place(1, 1)).references]


def test_every_value_knows_its_line_and_column() -> None:
    table = table_of("on: push\njobs:\n  a:\n    steps: [one, two]\n")

    job = table.find_table("jobs")
    steps = job and job.find_table("a")
    found = steps and steps.get("steps")

    assert isinstance(found, Items)
    assert [text.place for text in walk_texts(found)] == [Place(4, 13), Place(4, 18)]


def test_words_stay_as_they_are_written() -> None:
    table = table_of("on: yes\nversion: 1.10\nempty:\n")

    assert [str(text) for text in walk_texts(table)] == ["yes", "1.10", ""]


def test_key_that_stands_twice_is_there_twice() -> None:
    table = table_of("a: 1\na: 2\n")

    assert [key.value for key in table.names] == ["a", "a"]
    assert str(table.find_text("a")) == "2"


def test_alias_is_the_value_it_names() -> None:
    table = table_of("a: &x [1, 2]\nb: *x\n")

    assert table.get("a") == table.get("b")


def test_many_aliases_of_aliases_cost_no_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    table = table_of("\n".join(lines))

    assert len(table.names) == 12


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("a: b\n\tc: d\n", "a tab stands where", Place(2, 1)),
        ("a: [1, 2\nb: 3\n", "this is no YAML", Place(2, 2)),
        ("", "the file is empty", Place(1, 1)),
        ("a: &x\n  b: *x\n", "inside of what it names", Place(1, 4)),
        ("? [a, b]\n: c\n", "a key is a list", Place(1, 3)),
        ("a: \x00", "what YAML does not allow", Place(1, 1)),
        ("[" * 5000, "nested too deeply", Place(1, 1)),
        ("#" * 600_000, "larger than 512 KiB", Place(1, 1)),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(
    text: str, words: str, place: Place
) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        parse_source(text)

    assert caught.value.place == place


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SourceError):
        list(walk_texts(parse_source(text)))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("needs.up.outputs.labels", ["needs.up.outputs.labels"]),
        ("needs['up'].outputs['la-bels']", ["needs.up.outputs.la-bels"]),
        ("steps.a.outputs.x == 'matrix.y' && true", ["steps.a.outputs.x"]),
        ("fromJSON(needs.up.outputs.matrix).include", ["needs.up.outputs.matrix"]),
        ("github.event.commits.*.message", ["github.event.commits.*.message"]),
        ("Secrets.KEY || 'it''s secrets.OTHER'", ["secrets.KEY"]),
        ("failure()", []),
        ("1.5 > 0x1f", []),
    ],
)
def test_names_are_found_and_strings_are_not(body: str, names: list[str]) -> None:
    assert references(body) == names


def test_functions_are_no_names() -> None:
    found = parse_expression("always() && contains(env.A, 'b')", Place(1, 1))

    assert found.calls == {"always", "contains"}
    assert [str(one) for one in found.references] == ["env.A"]


def test_condition_is_an_expression_without_braces() -> None:
    text = Text(value="always() && needs.a.result == 'success'", place=Place(3, 9))

    (found,) = find_expressions(text, is_condition=True)

    assert [str(one) for one in found.references] == ["needs.a.result"]
    assert list(find_expressions(text)) == []


def test_expression_in_a_script_is_found_in_its_line() -> None:
    table = table_of("run: |\n  one\n  echo ${{ env.A }}\n")
    run = table.find_text("run")
    assert run is not None

    (found,) = find_expressions(run)

    assert found.place.line == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${{ a.b }}", False),
        ("${{ a.b }", True),
        ("a ${{ b }} ${{", True),
        ("$", False),
    ],
)
def test_expression_that_does_not_end_is_seen(value: str, *, expected: bool) -> None:
    assert is_open(Text(value=value, place=Place(1, 1))) is expected
