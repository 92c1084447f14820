"""The demo as a user runs it: the whole job, and nothing left whatever happens."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.leftovers import processes_mentioning
from support.waiting import wait_for

PHASES = 12
# first, in the middle of renting and of the job, and last; --all stops at every phase
QUICK_PHASES = (7,)


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    """Return an environment whose every file lies under `tmp_path`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RUNPOD_API")}
    return {
        **kept,
        "TMPDIR": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "home-state"),
        **changes,
    }


def run_once(environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["runpod-hub", "demo", "--once"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def assert_nothing_left(tmp_path: Path) -> None:
    wait_for(
        lambda: not processes_mentioning(str(tmp_path)),
        timeout_seconds=10,
        what=f"no process left, but there is: {processes_mentioning(str(tmp_path))}",
    )
    assert not list(tmp_path.glob("runpod-*")), "a temporary folder was left"
    assert not list(tmp_path.rglob("demo.env"))


def test_the_demo_does_the_whole_job_within_a_minute_and_reads_no_real_key(
    tmp_path: Path,
) -> None:
    key, token = tmp_path / "key", tmp_path / "token"
    for path in (key, token):
        path.write_text("not for the demo")
        path.chmod(0)  # whoever opens one is told so, and root would fail to parse it

    result = run_once(
        environment(
            tmp_path, RUNPOD_API_KEY_FILE=str(key), GITHUB_TOKEN_FILE=str(token)
        )
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "| hello from runpod-" in result.stdout
    assert "the sum of 1 to 1000 is 500500" in result.stdout
    assert "conclusion: success" in result.stdout
    assert "1 of 1 pods running, $0.17/hour, $4.08/day" in result.stdout
    assert re.search(r"\$0\.00\d{4} of simulated money", result.stdout)
    total = re.search(r"All phases done in ([\d.]+) s", result.stdout)
    assert total is not None
    assert float(total[1]) < 60
    assert_nothing_left(tmp_path)


@pytest.mark.unwrapped
def test_the_demo_needs_no_sshd_on_the_path(tmp_path: Path) -> None:
    folders = os.environ["PATH"].split(os.pathsep)
    without = [f for f in folders if not (Path(f) / "sshd").exists()]

    result = run_once(environment(tmp_path, PATH=os.pathsep.join(without)))

    assert result.returncode == 0, result.stdout + result.stderr
    assert "pods served by asyncssh" in result.stdout
    assert "the sum of 1 to 1000 is 500500" in result.stdout
    assert_nothing_left(tmp_path)


def interrupt_at(phase: int, tmp_path: Path, number: signal.Signals) -> int:
    """Start the demo, signal its process group when a phase begins, return its end."""
    with subprocess.Popen(
        ["runpod-hub", "demo", "--once"],
        env=environment(tmp_path, PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(f"{phase:2}. "):
                break
        # as a terminal does on Ctrl-C: every process of the foreground group gets it
        os.killpg(demo.pid, number)
        demo.stdout.read()
        return demo.wait(30)


@pytest.mark.parametrize("phase", QUICK_PHASES)
def test_ctrl_c_leaves_nothing(phase: int, tmp_path: Path) -> None:
    status = interrupt_at(phase, tmp_path, signal.SIGINT)

    assert status == 130
    assert_nothing_left(tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("phase", sorted({*range(1, PHASES + 1)} - {*QUICK_PHASES}))
def test_ctrl_c_at_every_other_phase_leaves_nothing(phase: int, tmp_path: Path) -> None:
    status = interrupt_at(phase, tmp_path, signal.SIGINT)

    assert status == 130
    assert_nothing_left(tmp_path)


def test_killing_the_demo_hard_leaves_no_process(tmp_path: Path) -> None:
    status = interrupt_at(5, tmp_path, signal.SIGKILL)

    assert status == -signal.SIGKILL
    wait_for(
        lambda: not processes_mentioning(str(tmp_path)),
        timeout_seconds=20,
        what=f"no process left, but there is: {processes_mentioning(str(tmp_path))}",
    )
