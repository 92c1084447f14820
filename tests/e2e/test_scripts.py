"""The scripts as printed in the README, against the cloud of a demo that keeps running."""

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.leftovers import processes_mentioning
from support.waiting import wait_for

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


@dataclass(frozen=True)
class KeptDemo:
    """A demo that has done the whole job and waits for Ctrl-C."""

    environ: dict[str, str]
    process: subprocess.Popen[str]
    output: Path

    def script(self, *command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return subprocess.run(
            [str(SCRIPTS / program), *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptDemo]:
    folder = tmp_path_factory.mktemp("demo")
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("RUNPOD_A", "GITHUB_"))
    }
    environ = {
        **kept,
        "TMPDIR": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONUNBUFFERED": "1",
    }
    output = folder / "output"
    with (
        output.open("w") as stdout,
        subprocess.Popen(
            ["runpod-hub", "demo"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process,
    ):
        try:
            wait_for(
                lambda: "Ctrl-C ends it all" in output.read_text(),
                timeout_seconds=90,
                what=f"the demo keeps serving: {output}",
            )
            yield KeptDemo(environ, process, output)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0
    wait_for(
        lambda: not processes_mentioning(str(folder)),
        what=f"no process left, but: {processes_mentioning(str(folder))}",
    )
    assert not list(folder.rglob("demo.env"))
    assert not list(folder.glob("runpod-*"))


def test_the_lifecycle_script_tells_a_pods_status(demo: KeptDemo) -> None:
    result = demo.script("pod-lifecycle.sh", "status", "test-pod")

    assert result.returncode == 0, result.stderr
    assert re.search(r"status +RUNNING", result.stdout)
    assert "simulated cloud" in result.stderr


def test_the_ssh_script_runs_a_command_on_a_pod(demo: KeptDemo) -> None:
    result = demo.script("ssh-runner.sh", "exec", "test-pod", "echo 'test'")

    assert result.returncode == 0, result.stderr
    assert result.stdout == "test\n"


def test_the_ssh_script_ends_with_the_commands_status(demo: KeptDemo) -> None:
    result = demo.script("ssh-runner.sh", "exec", "test-pod", "exit 7")

    assert result.returncode == 7


def test_a_pod_is_stopped_and_started_by_the_lifecycle_script(demo: KeptDemo) -> None:
    stopped = demo.script("pod-lifecycle.sh", "stop", "test-pod")
    refused = demo.script("pod-lifecycle.sh", "start", "test-pod")
    started = demo.script("pod-lifecycle.sh", "start", "test-pod", "--yes")
    awaited = demo.script("pod-lifecycle.sh", "wait", "test-pod")
    said = demo.script("ssh-runner.sh", "exec", "test-pod", "echo again")

    assert stopped.returncode == 0, stopped.stderr
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert started.returncode == 0, started.stderr
    assert awaited.returncode == 0, awaited.stderr
    assert said.stdout == "again\n"


def test_the_printed_link_opens_the_dashboard(demo: KeptDemo) -> None:
    link = re.search(r"http://\S+/login\?ticket=\S+", demo.output.read_text())
    assert link is not None
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    page = opener.open(link[0], timeout=10).read().decode()

    assert "runpod-hub" in page
    assert "test-pod" in page


@pytest.mark.parametrize("script", ["pod-lifecycle.sh", "ssh-runner.sh"])
def test_a_script_without_arguments_shows_its_usage(
    script: str, demo: KeptDemo
) -> None:
    result = demo.script(script)

    assert result.returncode == 2
    assert f"{script} " in result.stderr
    assert "Traceback" not in result.stderr
