"""The stand-in for the runner package, run as real processes against a served forge."""

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.forge import (
    RUNNERS,
    RunnerProcess,
    ServedForge,
    served_forge,
    session_commands,
    unpack,
)
from support.leftovers import processes_mentioning
from support.waiting import wait_for

Launch = Callable[..., RunnerProcess]


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


@pytest.fixture
def root(served: ServedForge, tmp_path: Path) -> Path:
    return unpack(served, tmp_path / "runner")


@pytest.fixture
def launch(root: Path) -> Iterator[Launch]:
    """Start run.sh, by default from the one unpacked package; all end with the test."""
    with ExitStack() as started:

        def launch(
            *arguments: str, folder: Path = root, **environment: str
        ) -> RunnerProcess:
            runner = RunnerProcess(folder, *arguments, **environment)
            started.callback(runner.close)
            return runner

        yield launch


def launch_jit(served: ServedForge, launch: Launch, **rest: str) -> RunnerProcess:
    config = served.jit("one")["encoded_jit_config"]
    return launch(ACTIONS_RUNNER_INPUT_JITCONFIG=config, **rest)


def test_jit_runner_takes_one_job_reports_it_and_wipes_itself(
    served: ServedForge, root: Path, launch: Launch
) -> None:
    job_id = served.queue('echo "in $GITHUB_REPOSITORY on $RUNNER_NAME"; pwd')

    runner = launch_jit(served, launch)
    job = served.finished(job_id)

    assert runner.wait() == 0
    assert (job["conclusion"], job["runner_name"]) == ("success", "one")
    assert job["log"] == f"in acme/widgets on one\n{root}/_work/widgets/widgets\n"
    for line in (
        "√ Connected to GitHub",
        "Current runner version: '2.336.0'",
        "Z: Listening for Jobs",
        "Z: Running job: train",
        "Z: Job train completed with result: Succeeded",
        "√ Removed .credentials",
        "√ Removed .runner",
    ):
        assert line in runner.console
    assert not list(root.glob(".credentials*"))
    assert not (root / ".runner").exists()
    assert len(list((root / "_diag").glob("Worker_*-utc.log"))) == 1
    served.clock.advance(2)
    assert served.runner("one") is None


def test_waiting_runner_is_online_and_its_key_is_for_its_owner_only(
    served: ServedForge, root: Path, launch: Launch
) -> None:
    launch_jit(served, launch)

    served.wait_for_status("one", status="online")

    mode = stat.S_IMODE((root / ".credentials_rsaparams").stat().st_mode)
    assert mode == 0o600
    shown = served.runner("one")
    assert shown is not None
    assert (shown["os"], shown["version"]) == ("Linux", "2.336.0")


def test_no_secret_is_in_any_command_line_or_log(
    served: ServedForge, root: Path, launch: Launch
) -> None:
    config = served.jit("one")["encoded_jit_config"]
    key = next(iter(served.forge.runners.values())).key
    job_id = served.queue("env; sleep 0.3")

    runner = launch(ACTIONS_RUNNER_INPUT_JITCONFIG=config)
    served.wait_for_status("one", status="online", busy=True)
    commands = " ".join(command for _, command in session_commands(runner.process.pid))
    job = served.finished(job_id)
    runner.wait()

    logs = "".join(path.read_text() for path in (root / "_diag").iterdir())
    assert "Runner.Worker" in commands
    for text in (commands, job["log"], runner.console, logs):
        assert config not in text
        assert key not in text


def test_failing_script_fails_the_job(served: ServedForge, launch: Launch) -> None:
    job_id = served.queue("echo before\nfalse\necho after")

    runner = launch_jit(served, launch)

    job = served.finished(job_id)
    assert job["conclusion"] == "failure"
    assert job["log"].startswith("before\n##[error]")
    runner.wait_for_line("completed with result: Failed")


def test_cancelled_run_stops_the_script(served: ServedForge, launch: Launch) -> None:
    job_id = served.queue("echo started; sleep 60")
    launch_jit(served, launch)
    wait_for(lambda: "started" in served.job(job_id)["log"], what="the script runs")

    run_id = served.job(job_id)["run_id"]
    served.call("POST", f"/repos/acme/widgets/actions/runs/{run_id}/cancel")

    assert served.finished(job_id)["conclusion"] == "cancelled"


def test_process_left_behind_dies_with_its_job_unless_it_sheds_the_mark(
    served: ServedForge, tmp_path: Path, launch: Launch
) -> None:
    kept = tmp_path / "kept.pid"
    script = (
        "setsid sleep 61 >/dev/null 2>&1 &\n"
        f"RUNNER_TRACKING_ID= setsid sleep 62 >/dev/null 2>&1 & echo $! >{kept}\n"
    )
    job_id = served.queue(script)

    runner = launch_jit(served, launch)
    served.finished(job_id)
    runner.wait()

    mine = processes_mentioning(str(tmp_path))
    try:
        assert [x for x in mine if "sleep 61" in x] == []
        assert len([x for x in mine if "sleep 62" in x]) == 1
    finally:
        os.kill(int(kept.read_text()), signal.SIGKILL)


def test_hooks_run_before_and_after_and_a_failing_one_fails_the_job(
    served: ServedForge, tmp_path: Path, launch: Launch
) -> None:
    before, after = tmp_path / "before.sh", tmp_path / "after.sh"
    before.write_text('echo "before $GITHUB_REPOSITORY"')
    after.write_text("echo after; exit 3")
    job_id = served.queue("echo between")

    launch_jit(
        served,
        launch,
        ACTIONS_RUNNER_HOOK_JOB_STARTED=str(before),
        ACTIONS_RUNNER_HOOK_JOB_COMPLETED=str(after),
    )

    job = served.finished(job_id)
    lines = [x for x in job["log"].splitlines() if x[:1] not in {"R", "#"}]
    assert job["conclusion"] == "failure"
    assert lines == ["before acme/widgets", "between", "after"]


def test_hook_that_is_missing_fails_the_job(
    served: ServedForge, launch: Launch
) -> None:
    job_id = served.queue("echo never")

    launch_jit(served, launch, ACTIONS_RUNNER_HOOK_JOB_STARTED="/nowhere/hook.sh")

    job = served.finished(job_id)
    assert job["conclusion"] == "failure"
    assert "never" not in job["log"]


def test_jit_config_used_a_second_time_is_refused(
    served: ServedForge, launch: Launch
) -> None:
    config = served.jit("one")["encoded_jit_config"]
    job_id = served.queue("true")
    launch(ACTIONS_RUNNER_INPUT_JITCONFIG=config).wait()
    assert served.finished(job_id)["conclusion"] == "success"

    again = launch(ACTIONS_RUNNER_INPUT_JITCONFIG=config)

    assert again.wait() == 0
    assert "The runner registration has been deleted" in again.console
    assert "Listening for Jobs" not in again.console


def test_second_listener_of_a_runner_gives_up_with_a_session_conflict(
    served: ServedForge, tmp_path: Path, launch: Launch
) -> None:
    config = served.jit("one")["encoded_jit_config"]
    first = launch(ACTIONS_RUNNER_INPUT_JITCONFIG=config)
    first.wait_for_line("Listening for Jobs")
    other = unpack(served, tmp_path / "other")

    second = launch(folder=other, ACTIONS_RUNNER_INPUT_JITCONFIG=config)

    assert second.wait() == 0
    assert second.console.count("A session for this runner already exists.") == 8
    assert first.process.poll() is None


def test_idle_runner_whose_registration_is_deleted_wipes_itself(
    served: ServedForge, root: Path, launch: Launch
) -> None:
    runner = launch_jit(served, launch)
    runner.wait_for_line("Listening for Jobs")
    shown = served.runner("one")
    assert shown is not None

    deleted = served.call("DELETE", f"{RUNNERS}/{shown['id']}")

    assert deleted.status_code == 204
    assert runner.wait() == 0
    assert "The runner no longer exists on the server." in runner.console
    assert not (root / ".runner").exists()


def test_busy_runner_cannot_be_deleted(served: ServedForge, launch: Launch) -> None:
    job_id = served.queue("sleep 0.5")
    launch_jit(served, launch)
    served.wait_for_status("one", status="online", busy=True)
    shown = served.runner("one")
    assert shown is not None

    refused = served.call("DELETE", f"{RUNNERS}/{shown['id']}")

    assert refused.status_code == 422
    assert served.finished(job_id)["conclusion"] == "success"


def test_runner_killed_while_busy_loses_its_job_when_the_lock_lapses(
    served: ServedForge, launch: Launch
) -> None:
    job_id = served.queue("sleep 60")
    runner = launch_jit(served, launch)
    served.wait_for_status("one", status="online", busy=True)
    runner.close()
    wait_for(
        lambda: not served.forge.jobs[job_id].open_renewals, what="the cut is noticed"
    )

    served.clock.advance(600)

    job = served.job(job_id)
    assert job["conclusion"] == "failure"
    assert "lost communication with the server" in job["problem"]


@pytest.mark.parametrize(("told", "code"), [({}, 0), ({"told": "1"}, 7)])
def test_deprecated_version_is_refused_with_its_own_exit_code_where_asked_for(
    served: ServedForge, launch: Launch, told: dict[str, str], code: int
) -> None:
    end_at = served.clock.now().isoformat()
    served.order(
        "/deprecations", {"version": "2.336.0", "runtime_deprecates_at": end_at}
    )
    name = "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"

    runner = launch_jit(served, launch, **dict.fromkeys([name] if told else [], "1"))

    assert runner.wait() == code
    assert "is deprecated and cannot receive messages" in runner.console


def test_run_as_root_is_refused_with_status_zero(
    served: ServedForge, launch: Launch
) -> None:
    # Another user is not refused, and has this to do.
    served.queue("true")

    runner = launch_jit(served, launch, RUNNER_ALLOW_RUNASROOT="")

    assert runner.wait() == 0
    refused = "Must not run interactively with sudo" in runner.console
    assert refused is (os.geteuid() == 0)


def test_run_without_configuration_ends(launch: Launch) -> None:
    runner = launch()

    assert runner.wait() == 0
    assert "Not configured" in runner.console


def test_jit_config_that_is_none_ends(launch: Launch) -> None:
    runner = launch("--jitconfig", "nonsense")

    assert runner.wait() == 0
    assert "The JIT config is not valid." in runner.console


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_trapped_signal_ends_listener_and_session(
    served: ServedForge, launch: Launch, number: int, code: int
) -> None:
    runner = launch_jit(served, launch, RUNNER_MANUALLY_TRAP_SIG="1")
    served.wait_for_status("one", status="online")

    os.kill(runner.process.pid, number)

    assert runner.wait() == code
    assert "Exiting runner..." in runner.console
    assert runner.listener_pids() == []
    served.wait_for_status("one", status="offline")


def test_untrapped_term_leaves_the_listener_behind(
    served: ServedForge, launch: Launch
) -> None:
    runner = launch_jit(served, launch)
    served.wait_for_status("one", status="online")

    os.kill(runner.process.pid, signal.SIGTERM)

    assert runner.wait() == -signal.SIGTERM
    assert len(runner.listener_pids()) == 1


def test_interrupt_to_the_group_ends_runner_and_job(
    served: ServedForge, launch: Launch
) -> None:
    job_id = served.queue("sleep 60")
    runner = launch_jit(served, launch)
    served.wait_for_status("one", status="online", busy=True)
    wait_for(
        lambda: any("sleep 60" in x for _, x in session_commands(runner.process.pid)),
        what="the script runs",
    )

    os.killpg(runner.process.pid, signal.SIGINT)

    assert runner.wait() == 0
    assert served.finished(job_id)["conclusion"] == "cancelled"
    assert session_commands(runner.process.pid) == []


def test_retryable_trouble_restarts_the_listener(
    served: ServedForge, launch: Launch
) -> None:
    runner = launch_jit(served, launch)
    runner.wait_for_line("Listening for Jobs")

    served.order(
        "/faults", {"operation": "get_message", "kind": "error_500", "times": 10}
    )

    runner.wait_for_line("Restarting runner...")
    assert "Retrying until reconnected." in runner.console


def test_short_trouble_is_survived(served: ServedForge, launch: Launch) -> None:
    runner = launch_jit(served, launch)
    runner.wait_for_line("Listening for Jobs")

    served.order(
        "/faults", {"operation": "get_message", "kind": "error_500", "times": 2}
    )

    runner.wait_for_line("Runner reconnected.")
    assert "Restarting runner..." not in runner.console


def test_missing_libraries_end_the_listener(
    served: ServedForge, launch: Launch
) -> None:
    runner = launch_jit(served, launch, RUNNER_SIM_MISSING_LIBICU="1")

    assert runner.wait() == 0
    assert "unknown error code: 134" in runner.console
