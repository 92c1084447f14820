"""`runpod-ssh probe` as installed, against a simulated RunPod with a real sshd."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.sim import SimServer
from support.waiting import wait_for

RUN_SECONDS = 60
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Desk:
    """A user's environment, in which the pod `train` runs."""

    environ: Mapping[str, str]

    def run(
        self, *arguments: str, program: str = "runpod-ssh"
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(PROGRAMS / program), *arguments],
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def desk(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("desk")
    environ = {
        **os.environ,
        **module_sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RUNPOD_LOG_LEVEL": "warning",
        "RUNPOD_SSH_BACKGROUND": "false",
        "TERM": "xterm-256color",
    }
    environ.pop("SSH_AUTH_SOCK", None)
    found = Desk(environ)
    create = "pods create --name train --gpu L4 --image runpod/base --yes --wait"
    done = found.run(*create.split(), program="runpod-client")
    assert done.returncode == 0, done.stderr
    return found


def test_sheet_tells_what_the_pod_has_and_uses(desk: Desk) -> None:
    done = desk.run("probe", "train")

    labels = [line.split()[0] for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert labels[:5] == ["pod", "CPU", "memory", "disk", "disk"]
    assert f" of {len(os.sched_getaffinity(0))} cores" in done.stdout
    assert "RunPod rents 1, the pod sees none" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_is_one_document_a_line_with_raw_counters(desk: Desk) -> None:
    done = desk.run("probe", "train", "--json")

    (line,) = done.stdout.splitlines()
    document = json.loads(line)
    assert done.returncode == 0
    assert set(document) == {
        "pod_id", "name", "error", "taken_at", "elapsed_seconds", "hostname",
        "uptime_seconds", "machine_uptime_seconds", "load", "cpu", "memory",
        "process_count", "process_limit", "disks", "network", "gpus",
        "gpu_processes", "problems", "rates", "has_restarted",
    }  # fmt: skip
    assert set(document["cpu"]) == {
        "limit_cores", "processor_count", "cores", "used_seconds", "throttled_seconds",
    }  # fmt: skip
    assert set(document["memory"]) == {
        "limit_bytes", "used_bytes", "is_limited", "is_machine", "oom_kill_count",
    }  # fmt: skip
    assert set(document["disks"][0]) == {
        "path", "filesystem", "total_bytes", "used_bytes", "available_bytes",
    }  # fmt: skip
    assert (document["name"], document["error"], document["rates"]) == (
        "train",
        None,
        None,
    )


def test_watch_into_a_pipe_writes_a_line_per_look_with_rates(desk: Desk) -> None:
    done = desk.run("probe", "--watch", "--count", "3", "--interval", "0.2", "train")

    first, _, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert first["rates"] is None
    assert last["rates"]["seconds"] > 0
    assert last["rates"]["received_bytes_per_second"] is not None


def test_pod_that_cannot_be_probed_is_a_row_with_the_reason(desk: Desk) -> None:
    done = desk.run("probe", "train", "nobody")

    rows = done.stdout.splitlines()
    assert done.returncode == 1
    assert rows[0].split()[:4] == ["POD", "UP", "CPU", "MEMORY"]
    assert rows[1].startswith("train ")
    assert rows[-1].startswith("nobody ")
    assert "there is no pod 'nobody'" in rows[-1]


def test_pod_that_cannot_be_probed_is_a_line_with_the_error(desk: Desk) -> None:
    done = desk.run("probe", "train", "nobody", "--json")

    documents = {d["name"]: d for d in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert documents["train"]["error"] is None
    assert documents["nobody"]["error"]["error"] == "NotFoundError"


def test_only_pod_that_cannot_be_probed_is_the_commands_own_failure(
    desk: Desk,
) -> None:
    done = desk.run("probe", "nobody")

    assert done.returncode == 4
    assert done.stdout == ""
    assert "there is no pod 'nobody'" in done.stderr


def test_count_without_watch_is_a_usage_error(desk: Desk) -> None:
    done = desk.run("probe", "--count", "2", "train")

    assert done.returncode == 2
    assert "--count goes with --watch" in done.stderr


def test_reader_that_goes_away_ends_the_watching_quietly(desk: Desk) -> None:
    process = subprocess.Popen(
        [
            str(PROGRAMS / "runpod-ssh"),
            "probe",
            "--watch",
            "--interval",
            "0.2",
            "train",
        ],
        env=dict(desk.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"{")

    process.stdout.close()

    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_watch_on_a_terminal_is_live_until_ctrl_c(desk: Desk) -> None:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [
            str(PROGRAMS / "runpod-ssh"),
            "probe",
            "--watch",
            "--interval",
            "0.3",
            "train",
        ],
        env={**desk.environ, "COLUMNS": "100", "LINES": "30"},
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    seen = b""

    def shown() -> bytes:
        nonlocal seen
        # it is an error to read on when the other end has closed
        with contextlib.suppress(OSError):
            while select.select([main], [], [], 0)[0]:
                seen += os.read(main, 65_536)
        return seen

    # a rate shows from the second look on
    wait_for(lambda: b"MB/s" in shown(), timeout_seconds=20, what="a second look")

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=20) == 0
    text = shown().decode()
    assert "Ctrl-C ends the watching" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    os.close(main)
