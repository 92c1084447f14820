"""The scripts that run on pods, run here in a home of their own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_installer.facts import parse_facts, parse_runners
from runner_installer.plan import (
    delete_command,
    inspect_command,
    probe_command,
    render_script,
    stop_command,
)
from support.waiting import wait_for

STUBBORN = "#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 0.1; done\n"
WILLING = "#!/bin/sh\ntrap 'exit 0' TERM\necho up\nwhile :; do sleep 0.1; done\n"


class Home:
    """A pod's home folder with one runner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "actions-runner" / "one"
        self.folder.mkdir(parents=True)

    def shell(self, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            env={"PATH": os.environ["PATH"], "HOME": str(self.path)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def launch(self, script: str) -> int:
        """Start a runner that is this script and return its pid."""
        run = self.folder / "run.sh"
        run.write_text(script)
        run.chmod(0o755)
        done = self.shell(
            render_script("launch", RUNNER_FOLDER=str(self.folder)), "the-jit-config\n"
        )
        assert done.returncode == 0, done.stderr
        log = self.folder / "run.log"
        wait_for(lambda: "up" in log.read_text(), what="the runner is up")
        return int(done.stdout.removeprefix("pid="))

    def stop(self, *, grace_seconds: int = 5) -> str:
        done = self.shell(stop_command(str(self.folder), grace_seconds=grace_seconds))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "it's home")
    yield made
    with contextlib.suppress(OSError, ValueError):
        pid = int((made.folder / "run.pid").read_text().split()[0])
        os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_probe_tells_all_it_is_asked(home: Home) -> None:
    facts = parse_facts(home.shell(probe_command()).stdout)

    assert facts.home == str(home.path)
    assert facts.user_id == os.getuid()
    assert (facts.os, facts.missing_programs) == ("Linux", ())
    assert facts.free_disk_mb is not None


def test_launched_runner_has_the_secret_and_a_session_of_its_own(home: Home) -> None:
    pid = home.launch(WILLING)

    (runner,) = parse_runners(home.shell(inspect_command()).stdout)

    assert (runner.pid, runner.is_alive) == (pid, True)
    assert os.getsid(pid) == pid
    environment = Path(f"/proc/{pid}/environ").read_text()
    assert "ACTIONS_RUNNER_INPUT_JITCONFIG=the-jit-config\0" in environment
    assert "RUNNER_MANUALLY_TRAP_SIG=1\0" in environment


def test_launch_without_a_secret_starts_nothing(home: Home) -> None:
    done = home.shell(render_script("launch", RUNNER_FOLDER=str(home.folder)), "")

    assert done.returncode == 9
    assert not (home.folder / "run.pid").exists()


def test_willing_runner_is_asked(home: Home) -> None:
    pid = home.launch(WILLING)

    assert home.stop() == "stopped=asked"

    assert not is_alive(pid)
    assert home.stop() == "stopped=already-ended"


def test_stubborn_runner_is_killed_when_its_time_is_up(home: Home) -> None:
    pid = home.launch(STUBBORN)

    assert home.stop(grace_seconds=1) == "stopped=killed"

    assert not is_alive(pid)


def test_what_a_dead_runner_left_in_its_session_is_killed(home: Home) -> None:
    pid = home.launch("#!/bin/sh\n(exec sleep 300) & echo $! >child\necho up\n")
    child = int((home.folder / "child").read_text())
    wait_for(lambda: not is_alive(pid), what="run.sh ended")
    assert is_alive(child)

    assert home.stop() == "stopped=killed"

    assert not is_alive(child)


def test_process_that_took_over_the_pid_is_left_alone(home: Home) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        (home.folder / "run.pid").write_text(f"{stranger.pid} 1\n")

        said = home.stop()
        (runner,) = parse_runners(home.shell(inspect_command()).stdout)

        assert said == "stopped=already-ended"
        assert not runner.is_alive
        assert stranger.poll() is None
        stranger.kill()


def test_runner_that_never_started_is_nothing_to_stop(home: Home) -> None:
    assert home.stop() == "stopped=never-started"


def test_deleting_removes_the_last_trace_and_can_be_repeated(home: Home) -> None:
    (home.path / "actions-runner" / ".cache").mkdir()
    command = delete_command(str(home.folder))

    assert home.shell(command).stdout == "deleted=yes\n"
    assert home.shell(command).stdout == "deleted=absent\n"
    assert list(home.path.iterdir()) == []


def test_deleting_one_of_two_runners_keeps_the_packages(home: Home) -> None:
    root = home.path / "actions-runner"
    (root / ".cache").mkdir()
    (root / "two").mkdir()

    home.shell(delete_command(str(home.folder)))

    assert sorted(path.name for path in root.iterdir()) == [".cache", "two"]


@pytest.mark.parametrize("folder", ["/tmp", "{home}", "{home}/actions-runner/../keep"])
def test_deleting_anything_else_is_refused(home: Home, folder: str) -> None:
    keep = home.path / "keep"
    keep.mkdir()

    done = home.shell(delete_command(folder.format(home=home.path)))

    assert done.returncode == 9
    assert keep.exists()
