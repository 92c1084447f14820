"""The scripts that run on pods, run here in a home of their own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_installer.facts import parse_facts, parse_runners
from runner_installer.pod_model import PodRunner, SupervisorState
from runner_installer.scripts import (
    delete_command,
    inspect_command,
    probe_command,
    render_script,
    render_settings,
    script_text,
    stop_command,
    supervision_settings,
)
from support.busybox import busybox_path
from support.sshd import find_program, parents_by_pid
from support.waiting import wait_for

STUBBORN = "#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 0.1; done\n"
WILLING = "#!/bin/sh\ntrap 'exit 0' TERM\necho up\nwhile :; do sleep 0.1; done\n"


class Home:
    """A pod's home folder with one runner, whose package is a script."""

    def __init__(self, path: Path, search_path: str) -> None:
        self.path = path
        self.search_path = search_path
        self.folder = path / "actions-runner" / "one"
        self.app = self.folder / "runner"
        self.app.mkdir(parents=True)
        self.write_settings()
        supervisor = script_text("supervise")
        (self.folder / "supervise.sh").write_text(supervisor)

    def write_settings(self, **changes: str) -> None:
        """Write what the supervisor goes by; it is in a hurry."""
        settings = {
            "USER_WAY": "same",
            "OWN_USER": "no",
            "APP": str(self.app),
            "INVARIANT_CULTURE": "no",
            **supervision_settings(),
            "RESTART_SECONDS": "0",
            "CONFLICT_SECONDS": "0",
            "WATCH_SECONDS": "0.1",
            **changes,
        }
        (self.folder / "settings").write_bytes(render_settings(settings))

    def shell(
        self, command: str, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            env={"PATH": self.search_path, "HOME": str(self.path), **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def launch(self, script: str, **env: str) -> int:
        """Start a runner that is this script and return its supervisor's pid."""
        run = self.app / "run.sh"
        run.write_text(script.replace("#!/bin/sh", f"#!{find_program('bash')}"))
        run.chmod(0o755)
        done = self.shell(self.launch_command(), "the-jit-config\n", **env)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: "up" in self.console(), what="the runner is up")
        said = dict(line.split("=", 1) for line in done.stdout.splitlines())
        return int(said["pid"])

    def launch_command(self) -> str:
        folder = str(self.folder)
        return render_script("launch", RUNNER_FOLDER=folder, UNIT="one.service")

    def console(self) -> str:
        return (self.folder / "run.log").read_text()

    def inspect(self) -> PodRunner:
        (runner,) = parse_runners(self.shell(inspect_command()).stdout)
        return runner

    def ended(self) -> PodRunner:
        """Wait until the supervisor has given up and return what it noted."""
        return wait_for(
            lambda: None if (runner := self.inspect()).is_alive else runner,
            timeout_seconds=20,
            what="the supervisor ended",
        )

    def child(self, pid: int) -> int:
        """Return the run.sh below a supervisor."""
        parents = parents_by_pid()
        return next(
            child
            for child, parent in parents.items()
            if parent == pid
            and b"run.sh" in Path(f"/proc/{child}/cmdline").read_bytes()
        )

    def stop(self, *, grace_seconds: int = 5) -> str:
        done = self.shell(stop_command(str(self.folder), grace_seconds=grace_seconds))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(params=["this machine", "busybox"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    search_path = os.environ["PATH"]
    if request.param == "busybox":
        search_path = busybox_path(tmp_path / "bin")
        (tmp_path / "bin" / "bash").symlink_to(find_program("bash"))
    made = Home(tmp_path / "it's home", search_path)
    yield made
    with contextlib.suppress(OSError, ValueError):
        pid = int((made.folder / "run.pid").read_text().split()[0])
        for other in parents_by_pid():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(other) == pid:
                    os.kill(other, signal.SIGKILL)


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


def test_probe_offers_another_place_where_the_home_cannot_be_written(
    home: Home, tmp_path: Path
) -> None:
    other = tmp_path / "scratch"
    other.mkdir()
    missing = str(tmp_path / "nowhere")

    done = home.shell(f"HOME={missing} TMPDIR={other} exec {probe_command()}")

    assert parse_facts(done.stdout).base in {"/workspace", str(other)}


def test_probe_takes_the_folder_a_person_names(home: Home, tmp_path: Path) -> None:
    named = str(tmp_path / "fast disk")

    facts = parse_facts(home.shell(probe_command(named)).stdout)

    assert facts.base == named


def test_launched_runner_has_the_secret_and_a_session_of_its_own(home: Home) -> None:
    pid = home.launch(WILLING)

    runner = home.inspect()

    assert (runner.pid, runner.is_alive) == (pid, True)
    assert os.getsid(home.child(pid)) == pid
    environment = Path(f"/proc/{home.child(pid)}/environ").read_text()
    assert "ACTIONS_RUNNER_INPUT_JITCONFIG=the-jit-config\0" in environment
    assert "RUNNER_MANUALLY_TRAP_SIG=1\0" in environment
    assert "the-jit-config" not in Path(f"/proc/{pid}/environ").read_text()


def test_what_the_login_brought_along_is_not_handed_to_the_runner(home: Home) -> None:
    pid = home.launch(
        WILLING,
        RUNPOD_API_KEY="rpa_secret",
        MULTI="a\nRUNPOD_POD_ID=forged",
        RUNPOD_POD_ID="pod1",
        CUDA_VISIBLE_DEVICES="0",
        https_proxy="http://proxy:3128",
    )

    variables = Path(f"/proc/{home.child(pid)}/environ").read_text().split("\0")

    assert "RUNPOD_POD_ID=pod1" in variables
    assert "CUDA_VISIBLE_DEVICES=0" in variables
    assert "https_proxy=http://proxy:3128" in variables
    assert not [v for v in variables if v.startswith(("RUNPOD_API_KEY", "MULTI"))]
    assert "rpa_secret" not in "".join(
        path.read_text() for path in home.folder.iterdir() if path.is_file()
    )


CRASH = "#!/bin/sh\necho up; echo x >>starts; exit 0\n"


def test_crash_before_any_job_is_started_again_twice_and_then_given_up(
    home: Home,
) -> None:
    home.launch(CRASH)

    runner = home.ended()

    assert (home.app / "starts").read_text() == "x\n" * 3
    assert runner.supervision is not None
    assert runner.supervision.state is SupervisorState.ENDED
    assert runner.supervision.restarts == 2
    assert "crashed 3 times" in runner.supervision.reason


@pytest.mark.parametrize(
    "line",
    [
        "Failed to create a session. The runner registration has been deleted from the "
        "server, please re-configure.",
        "An error occurred: Runner version v2.0.0 is deprecated and cannot receive "
        "messages.",
        "Must not run interactively with sudo",
        "Couldn't find a valid ICU package installed on the system.",
    ],
)
def test_runner_that_another_start_cannot_help_is_not_started_again(
    home: Home, line: str
) -> None:
    home.launch(f'#!/bin/sh\necho x >>starts; echo up; echo "{line}"\n')

    runner = home.ended()

    assert (home.app / "starts").read_text() == "x\n"
    assert runner.supervision is not None
    assert runner.supervision.reason == line


def test_session_held_elsewhere_is_waited_for(home: Home) -> None:
    taken = (
        "#!/bin/sh\necho up; echo x >>starts\n"
        'if [ "$(wc -l <starts)" -lt 2 ]; then\n'
        "  echo 'A session for this runner already exists.'; exit 0\nfi\n"
        "echo '2026-11-22 10:00:00Z: Listening for Jobs'; exec sleep 300\n"
    )
    home.launch(taken)

    runner = wait_for(
        lambda: r if (r := home.inspect()).console.state == "listening" else None,
        what="it listens at last",
    )

    assert runner.is_alive
    assert runner.supervision is not None
    assert runner.supervision.restarts == 1


def test_runner_that_ended_in_the_middle_of_its_job_is_not_started_again(
    home: Home,
) -> None:
    busy = "echo '2026-11-22 10:00:00Z: Running job: train'"
    home.launch(f"#!/bin/sh\necho x >>starts; {busy}; echo up; exit 0\n")

    runner = home.ended()

    assert (home.app / "starts").read_text() == "x\n"
    assert runner.supervision is not None
    assert "in the middle of its job" in runner.supervision.reason


def test_listener_started_over_and_over_by_run_sh_is_stopped(home: Home) -> None:
    home.launch(
        "#!/bin/sh\ntrap 'exit 0' TERM\necho up\n"
        "while :; do echo 'Restarting runner...'; sleep 0.05; done\n"
    )

    runner = home.ended()

    assert runner.supervision is not None
    assert runner.supervision.state is SupervisorState.STOPPED
    assert "Restarted too often" in home.console()


def test_runner_that_had_its_job_is_finished(home: Home) -> None:
    home.launch(
        "#!/bin/sh\necho x >>starts\n"
        "echo '2026-11-22 10:00:00Z: Running job: train'\n"
        "echo '2026-11-22 10:00:01Z: Job train completed with result: Failed'\n"
        "echo up\n"
    )

    runner = home.ended()

    assert (home.app / "starts").read_text() == "x\n"
    assert runner.supervision is not None
    assert runner.supervision.state is SupervisorState.FINISHED


def test_runner_waiting_for_its_next_start_can_be_stopped(home: Home) -> None:
    home.write_settings(RESTART_SECONDS="60")
    home.launch(CRASH)
    wait_for(
        lambda: (s := home.inspect().supervision) and s.state == "restarting",
        what="it waits for its next start",
    )

    assert home.stop() in {"stopped=asked", "stopped=killed"}

    assert not home.inspect().is_alive
    assert (home.app / "starts").read_text() == "x\n"


SYSTEMD_RUN = """#!/bin/sh
echo "$@" >>"$HOME/asked"
while [ "$1" != bash ]; do shift; done
setsid "$@" </dev/null >/dev/null 2>&1 &
"""


def put_systemd(folder: Path, *, run: str) -> str:
    """Put a systemd that seems to be in charge on a PATH and return it."""
    folder.mkdir()
    programs = {"systemctl": "#!/bin/sh\necho degraded\n", "systemd-run": run}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


def test_systemd_keeps_the_runner_where_it_really_runs_and_we_are_root(
    home: Home, tmp_path: Path
) -> None:
    bin_folder = put_systemd(tmp_path / "systemd", run=SYSTEMD_RUN)
    home.search_path = f"{bin_folder}:{home.search_path}"
    asked = home.path / "asked"
    asked.touch()

    pid = home.launch(WILLING)

    assert ("--unit=one.service" in asked.read_text()) is (os.getuid() == 0)
    assert "the-jit-config" not in asked.read_text()
    environment = Path(f"/proc/{home.child(pid)}/environ").read_text()
    assert "ACTIONS_RUNNER_INPUT_JITCONFIG=the-jit-config\0" in environment
    assert not (home.folder / "secret").exists()
    assert home.stop() == "stopped=asked"


def test_runner_starts_without_systemd_where_that_fails_and_warns_once(
    home: Home, tmp_path: Path
) -> None:
    failing = "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n"
    bin_folder = put_systemd(tmp_path / "systemd", run=failing)
    home.search_path = f"{bin_folder}:{home.search_path}"
    run = home.app / "run.sh"
    run.write_text(f"#!{find_program('bash')}\necho up; exec sleep 300\n")
    run.chmod(0o755)

    done = home.shell(home.launch_command(), "the-jit-config\n")

    assert done.returncode == 0
    # whoever is not root has not tried
    is_root = os.getuid() == 0
    assert done.stdout.count("warning=") == is_root
    assert ("Failed to connect to bus" in done.stdout) is is_root
    assert "mode=session" in done.stdout
    assert not (home.folder / "secret").exists()
    assert home.inspect().is_alive


def test_launch_without_a_secret_starts_nothing(home: Home) -> None:
    done = home.shell(home.launch_command(), "")

    assert done.returncode == 9
    assert not (home.folder / "run.pid").exists()


def test_willing_runner_is_asked(home: Home) -> None:
    pid = home.launch(WILLING)
    child = home.child(pid)

    assert home.stop() == "stopped=asked"

    assert not is_alive(child)
    assert not is_alive(pid)
    assert home.stop() == "stopped=already-ended"


def test_stubborn_runner_is_killed_when_its_time_is_up(home: Home) -> None:
    pid = home.launch(STUBBORN)

    assert home.stop(grace_seconds=1) == "stopped=killed"

    assert not is_alive(pid)


def test_what_a_dead_runner_left_in_its_session_is_killed(home: Home) -> None:
    left = "(exec sleep 300) & echo $! >child; echo up"
    pid = home.launch(f"#!/bin/sh\n{left}\necho 'Not configured'\n")
    child = int((home.app / "child").read_text())
    wait_for(lambda: not is_alive(pid), what="the supervisor ended")
    assert is_alive(child)

    assert home.stop() == "stopped=killed"

    assert not is_alive(child)


def test_process_that_took_over_the_pid_is_left_alone(home: Home) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        (home.folder / "run.pid").write_text(f"{stranger.pid} 1\n")

        said = home.stop()
        runner = home.inspect()

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


@pytest.mark.parametrize(
    "folder", ["/tmp", "{home}", "{home}/actions-runner/../keep", "{home}/keep/x"]
)
def test_deleting_anything_else_is_refused(home: Home, folder: str) -> None:
    keep = home.path / "keep"
    keep.mkdir()

    done = home.shell(delete_command(folder.format(home=home.path)))

    assert done.returncode == 9
    assert keep.exists()
