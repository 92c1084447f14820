"""What this machine's rsync is told and says, as text."""

import shlex
import sys

import pytest

from runpod_ssh.rsync_program import (
    parse_command,
    parse_position,
    parse_version,
    render_shell,
)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (b"rsync  version 3.5.0  protocol version 32\n", (3, 5)),
        (b"rsync  version v3.2.7  protocol version 31\n", (3, 2)),
        (b"rsync  version 2.6.9  protocol version 29\n", (2, 6)),
        (b"openrsync: protocol version 29\nrsync version 2.6.9 compatible\n", (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_version_is_that_of_the_real_rsync_alone(
    said: bytes, version: tuple[int, int]
) -> None:
    assert parse_version(said) == version


@pytest.mark.parametrize(
    ("said", "position"),
    [
        (b"\r              0   0%    0.00kB/s    0:00:00  ", 0),
        (b"\r  1048576   3%  1.0MB/s  0:00:31 \r  2097152   6%  9.0MB/s  ", 2_097_152),
        (b"file list\n", None),
    ],
)
def test_position_is_the_last_that_was_told(said: bytes, position: int | None) -> None:
    assert parse_position(said) == position


def test_command_for_the_pod_is_taken_without_its_program() -> None:
    said = b"rsync\0--server\0-ISe.LsfxCIvu\0.\0payload"

    assert parse_command(said) == ["--server", "-ISe.LsfxCIvu", ".", "payload"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"rsync\0--daemon\0.\0payload",
        b"rsync\0--server\0.\0/etc/passwd",
        b"rsync\0--server\0; reboot\0.\0payload",
        b"rsync\0--server\0\xff\0.\0payload",
        b"sh\0--server\0.\0payload",
    ],
)
def test_command_that_is_not_expected_is_refused(said: bytes) -> None:
    assert parse_command(said) is None


def test_remote_shell_is_found_where_python_stands_in_an_odd_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/odd folder/python3")

    words = shlex.split(render_shell(7))

    assert (words[0], words[-1]) == ("/odd folder/python3", "7")
