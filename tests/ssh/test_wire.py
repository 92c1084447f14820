"""What is sent to the pod's shell means there what it meant here."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError
from runpod_ssh.wire import prepare, quote, render_exports

ARGUMENTS = st.binary(max_size=30).filter(lambda b: b"\0" not in b).map(os.fsdecode)


def shell(command: bytes, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["sh", "-c", command], input=stdin, capture_output=True, check=True, timeout=30
    ).stdout


@given(ARGUMENTS)
def test_quoted_argument_is_the_same_bytes_in_the_shell(argument: str) -> None:
    command = f"printf %s {quote(argument)}".encode()

    assert shell(command) == os.fsencode(argument)


@given(ARGUMENTS)
def test_exported_value_is_the_same_bytes_in_the_shell(value: str) -> None:
    call = prepare('printf %s "$V"; cat', {"V": value})

    assert shell(call.command.encode(), call.preamble + b"<rest>") == (
        os.fsencode(value) + b"<rest>"
    )


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A;id"])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        render_exports({name: "x"})


def test_value_with_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        render_exports({"A": "x\0y"})


def test_command_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        prepare(os.fsdecode(b"ls \xff"), {})


def test_each_call_has_a_mark_of_its_own() -> None:
    assert prepare("true", {}).mark != prepare("true", {}).mark
