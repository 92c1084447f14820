import pytest

from runner_installer import ConsoleReport, ConsoleState
from runner_installer.runner_console import parse_console

READY = """
√ Connected to GitHub

Current runner version: '2.336.0'
2026-11-22 10:00:00Z: Listening for Jobs
"""
JOB = READY + "2026-11-22 10:00:05Z: Running job: train: all of it\n"
DONE = (
    JOB + "2026-11-22 10:01:00Z: Job train: all of it completed with result: Failed\n"
)


def test_silent_console_is_starting() -> None:
    assert parse_console("") == ConsoleReport(state=ConsoleState.STARTING)


def test_connected_runner_is_still_starting() -> None:
    assert parse_console("√ Connected to GitHub\n").state is ConsoleState.STARTING


def test_listening_line_makes_it_ready() -> None:
    assert parse_console(READY) == ConsoleReport(state=ConsoleState.LISTENING)


def test_running_job_is_named() -> None:
    assert parse_console(JOB) == ConsoleReport(
        state=ConsoleState.BUSY, job="train: all of it"
    )


def test_result_is_kept_through_the_tidying_up_after_it() -> None:
    text = DONE + "√ Removed .credentials\n√ Removed .runner\nExiting runner...\n"

    assert parse_console(text) == ConsoleReport(
        state=ConsoleState.FINISHED, job="train: all of it", result="Failed"
    )


@pytest.mark.parametrize(
    "line",
    [
        "Must not run interactively with sudo",
        "Failed to create a session. The runner registration has been deleted from the "
        "server, please re-configure.",
        "The runner no longer exists on the server. Cleaning up local configuration.",
        "An error occurred: Runner version v2.0.0 is deprecated and cannot receive "
        "messages.",
        "A session for this runner already exists.",
        "Restarting runner...",
    ],
)
def test_runner_that_cannot_work_is_dead_with_its_own_words(line: str) -> None:
    report = parse_console(f"√ Connected to GitHub\n{line}\nExiting runner...\n")

    assert report == ConsoleReport(state=ConsoleState.DEAD, reason=line)


def test_session_conflict_that_resolves_is_ready() -> None:
    text = f"A session for this runner already exists.\n{READY}"

    assert parse_console(text).state is ConsoleState.LISTENING


def test_runner_told_to_stop_while_idle_is_dead() -> None:
    report = parse_console(READY + "Exiting...\n")

    assert report.state is ConsoleState.DEAD
    assert "before it had a job" in report.reason


def test_lost_connection_keeps_the_job_and_says_so_until_it_is_back() -> None:
    lost = (
        JOB
        + "2026-11-22 10:00:09Z: Runner connect error: x. Retrying until reconnected.\n"
    )
    back = lost + "2026-11-22 10:00:19Z: Runner reconnected.\n"

    assert parse_console(lost).state is ConsoleState.BUSY
    assert "connect error" in parse_console(lost).reason
    assert parse_console(back) == parse_console(JOB)


def test_what_a_job_is_called_cannot_end_the_runner() -> None:
    text = READY + "2026-11-22 10:00:05Z: Running job: Restarting runner...\n"

    assert parse_console(text).state is ConsoleState.BUSY
