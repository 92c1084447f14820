"""What is said to tmux and what is read from it, as data."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError
from runpod_ssh import tmux
from runpod_ssh.tmux import PodSession, SessionPlan

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
STAMP = int(AT.timestamp())


@pytest.mark.parametrize("name", ["a", "agent-a", "A_9", "x" * 32])
def test_names_of_plain_letters_are_taken(name: str) -> None:
    assert tmux.check_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a:b", "=a", "ä", "x" * 33, "a\n"])
def test_names_that_tmux_or_a_shell_could_misread_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a session"):
        tmux.check_name(name)


@pytest.mark.parametrize("key", ["C-c", "M-x", "C-M-Left", "F12", "Enter", "q", ";"])
def test_keys_of_tmux_are_taken(key: str) -> None:
    assert tmux.check_key(key) == key


@pytest.mark.parametrize("key", ["", "F13", "Return", "C-", "ab", "X-c", "C-c C-d"])
def test_a_word_that_tmux_would_type_as_text_is_no_key(key: str) -> None:
    with pytest.raises(ConfigError, match="is no key"):
        tmux.check_key(key)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_word_is_written_in_letters_that_mean_nothing_to_tmux(text: str) -> None:
    word = tmux.render_word(text)

    assert re.fullmatch(r'"([A-Za-z0-9_\-+=./:@%,]|\\[0-3][0-7]{2})*"', word)
    raw = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), word[1:-1])
    assert raw.encode("latin-1").decode() == text


def test_a_word_with_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        tmux.render_word("a\0b")


def test_variable_that_no_shell_takes_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="cannot name an environment variable"):
        tmux.render_start([SessionPlan(name="a", env={"A-B": "1"})])


def test_plan_does_not_show_its_variables() -> None:
    assert "s3cret" not in repr(SessionPlan(name="a", env={"TOKEN": "s3cret"}))


def test_each_session_is_asked_for_on_a_line_of_its_own() -> None:
    text = tmux.render_start([SessionPlan(name="a"), SessionPlan(name="b")]).decode()

    made = [line for line in text.splitlines() if line.startswith('"new-session"')]
    assert [tmux.render_word("a") in made[0], tmux.render_word("b") in made[1]] == [
        True,
        True,
    ]


def test_long_command_is_shown_on_one_short_line() -> None:
    assert tmux.summarize("a \n  b\tc") == "a b c"
    assert len(tmux.summarize("x " * 1000)) == 200


def line(
    *,
    name: str = "agent-a",
    current: str = "bash",
    command: str = "",
    dead: str = "0",
    status: str = "",
    signal: str = "",
) -> str:
    """Return a line of tmux's answer to `list_command`."""
    length = len(current.encode())
    return (
        f"{STAMP}:{STAMP + 5}:{STAMP + 7}:2:120:40:{dead}:{status}:{signal}:"
        f"{name}:{length}:{current}{command}"
    )


def test_a_running_session_is_read_with_its_times_by_the_pods_clock() -> None:
    (found,) = tmux.parse_list(f"{STAMP + 10}\n{line()}\n")

    assert found == PodSession(
        name="agent-a",
        command="",
        current_command="bash",
        is_ended=False,
        exit_status=None,
        exit_signal=None,
        attached_count=2,
        columns=120,
        rows=40,
        created_at=AT,
        last_activity_at=datetime.fromtimestamp(STAMP + 7, UTC),
        idle_seconds=3.0,
    )


@pytest.mark.parametrize(
    ("status", "signal", "state"),
    [("0", "", "ended (0)"), ("3", "", "ended (3)"), ("", "9", "ended (signal 9)")],
)
def test_an_ended_session_says_how_it_ended(
    status: str, signal: str, state: str
) -> None:
    text = line(dead="1", status=status, signal=signal)

    assert [s.state for s in tmux.parse_list(text)] == [state]


@pytest.mark.parametrize(
    ("current", "command"),
    [("nginx: master", "a:b"), ("", "make -j8"), ("ü", "ü:1:2"), ("a", "")],
)
def test_colons_in_commands_do_not_shift_anything(current: str, command: str) -> None:
    (found,) = tmux.parse_list(line(current=current, command=command))

    assert (found.current_command, found.command) == (current, command)


def test_a_command_cannot_steer_the_users_terminal() -> None:
    (found,) = tmux.parse_list(line(current="\x1b[2J"))

    assert found.current_command == "\ufffd[2J"


def test_sessions_come_by_name_and_other_lines_are_passed_over() -> None:
    text = f"{STAMP}\n{line(name='b')}\nsome warning\n{line(name='a')}\n"

    assert [s.name for s in tmux.parse_list(text)] == ["a", "b"]


def test_duplicates_are_told_from_complaints() -> None:
    stderr = "duplicate session: agent-b\n-:7: duplicate session: x\n"
    wrong = f"{stderr}-:9: unknown flag -e\n"

    assert tmux.find_duplicates(stderr) == {"agent-b", "x"}
    assert tmux.find_complaint(stderr) == ""
    assert tmux.find_complaint(wrong) == "unknown flag -e"


@pytest.mark.parametrize(
    "stderr",
    [
        "no server running on /tmp/tmux-0/runpod\n",
        "error connecting to /tmp/tmux-0/runpod (No such file or directory)\n",
        "can't find session: x\n",
        "can't find pane: x\n",
        "server exited unexpectedly\n",
    ],
)
def test_absence_is_told_from_failure(stderr: str) -> None:
    assert tmux.says_absent(stderr)
    assert not tmux.says_absent("sh: 1: tmux: not found\n")
