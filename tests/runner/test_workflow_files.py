"""What a step writes for GitHub Actions, read back as the runner reads it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_installer.workflow_files import (
    WorkflowFiles,
    list_maskable,
    render_outputs,
)
from runpod_client import Error
from support.composite_actions import read_outputs

TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    )
)


@given(st.dictionaries(st.from_regex(r"[a-z-]{1,12}", fullmatch=True), TEXT))
def test_outputs_read_back_whatever_they_hold(outputs: dict[str, str]) -> None:
    found = parse(render_outputs(outputs, "0123456789abcdef"))

    assert found == outputs


def parse(text: str) -> dict[str, str]:
    """Read outputs as the runner's documentation says they are read."""
    found = {}
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and "<<" not in name:
            found[name] = value
            continue
        name, _, token = line.partition("<<")
        rows = []
        while (row := next(lines)) != token:
            rows.append(row)
        found[name] = "\n".join(rows)
    return found


def test_value_cannot_end_itself_and_set_another_output(tmp_path: Path) -> None:
    file = tmp_path / "output"
    files = WorkflowFiles({"GITHUB_OUTPUT": str(file)})

    files.write_outputs({"label": "gpu\nEOF\nevil=1", "runners": "[]"})

    assert read_outputs(file) == {"label": "gpu\nEOF\nevil=1", "runners": "[]"}


def test_secrets_are_masked_in_a_workflow_line_by_line() -> None:
    said: list[str] = []
    files = WorkflowFiles({"GITHUB_ACTIONS": "true"}, said.append)

    files.mask(["rpa_SECRET", None, "-----BEGIN\nline%one\n-----END", "abc"])

    assert said == [
        "::add-mask::rpa_SECRET",
        "::add-mask::-----BEGIN",
        "::add-mask::line%25one",
        "::add-mask::-----END",
    ]


def test_outside_of_a_workflow_no_secret_is_said_and_nothing_written(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    files = WorkflowFiles({}, said.append)

    files.mask(["rpa_SECRET"])
    files.warn("look")
    files.write_outputs({"label": "x"})
    files.append_summary("# x")

    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_sections_of_a_summary_stand_apart(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    files = WorkflowFiles({"GITHUB_STEP_SUMMARY": str(file)})

    files.append_summary("### one")
    files.append_summary("### two\n")

    assert file.read_text() == "### one\n\n### two\n\n"


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none" / "output"

    with pytest.raises(Error, match=r"cannot write .*/none/output: No such file"):
        WorkflowFiles({"GITHUB_OUTPUT": str(file)}).write_outputs({"a": "b"})


def test_short_and_repeated_lines_are_no_masks() -> None:
    assert list_maskable(["abc", "secret", "secret", ""]) == ["secret"]
