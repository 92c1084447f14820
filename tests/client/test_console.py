import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, click
from runpod_client import console, errors
@click.command()
@console.options()
def tool(session):
    what = sys.stdin.read()
    if what == "bug":
        raise KeyError("oops")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "error":
        raise errors.RateLimitedError("key rpa_ABCDEF0123456789 is tired", hint="rest")
    if what == "status":
        return 7
    if what == "pipe":
        while True:
            session.emit(["x"] * 10000, lambda: "x")
    session.emit({"a": 1}, lambda: "for people")
console.run(tool, "tool")
"""


def run(what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        input=what,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("", 0, ""),
        ("status", 7, ""),
        ("error", 5, "Error: key *** is tired\n  rest\n"),
        ("interrupt", 130, "Interrupted.\n"),
    ],
)
def test_every_way_out_has_its_status_and_words(
    what: str, code: int, said: str
) -> None:
    done = run(what)

    assert (done.returncode, done.stderr.lstrip()) == (code, said)


def test_bug_shows_its_traceback_and_says_so() -> None:
    done = run("bug")

    assert done.returncode == 70
    assert "KeyError: 'oops'" in done.stderr
    assert "this is a bug in tool" in done.stderr


def test_results_are_for_people_or_for_programs() -> None:
    assert run("").stdout == "for people\n"
    assert run("", "--json").stdout == '{\n  "a": 1\n}\n'


def test_unknown_option_is_a_usage_error() -> None:
    done = run("", "--unknown")

    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_reader_that_goes_away_ends_the_program_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write("pipe")
        child.stdin.close()
        child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
        child.wait(timeout=30)

    assert (child.returncode, said) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--help"]])
def test_full_disk_is_a_sentence_and_no_bug(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert "cannot write the result: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
