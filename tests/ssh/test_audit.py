"""The record of what was done: a line for each, whoever else writes, never in the way."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runpod_client import Pod, PodStatus, SSHAddress
from runpod_ssh.audit import AuditLog, AuditSettings
from runpod_ssh.model import PodTarget
from support.background import Desk, background_of, desk_of
from support.pod_world import POD_ID, PodWorld, pod_world

AT = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
TARGET = PodTarget(
    pod=Pod(
        pod_id="pod1",
        name="train",
        status=PodStatus.RUNNING,
        gpu_type="L4",
        gpu_count=1,
        image="image",
        price_usd_per_hour=Decimal("0.4"),
    ),
    address=SSHAddress(host="203.0.113.7", port=40022),
    identity=None,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def audit_to(path: Path, **settings: Any) -> AuditLog:
    seconds: Iterator[float] = iter(range(1000))
    return AuditLog(
        AuditSettings(file=str(path), **settings),
        now=lambda: AT,
        clock=lambda: next(seconds),
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_line_tells_who_did_what_where_when_and_how_it_ended(path: Path) -> None:
    with audit_to(path).recording("exec", TARGET, "secret words") as outcome:
        outcome.status = 3

    (line,) = lines_of(path)
    assert line.pop("by")
    assert line == {
        "at": "2026-11-22T14:00:00+00:00",
        "action": "exec",
        "pod_id": "pod1",
        "pod_name": "train",
        "login": "root@203.0.113.7:40022",
        "status": 3,
        "error": None,
        "elapsed_seconds": 1,
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_commands_are_recorded_where_that_was_asked_for(path: Path) -> None:
    with audit_to(path, commands=True).recording("exec", TARGET, "nvidia-smi"):
        pass

    assert lines_of(path)[0]["command"] == "nvidia-smi"


def test_failure_is_recorded_and_passed_on(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), audit_to(path).recording("shell", TARGET):
        raise KeyboardInterrupt

    (line,) = lines_of(path)
    assert (line["status"], line["error"]) == (None, "KeyboardInterrupt")


def test_what_was_not_done_leaves_no_line(path: Path) -> None:
    with (
        pytest.raises(LookupError),
        audit_to(path).recording("exec", TARGET, unless=(LookupError,)),
    ):
        raise KeyError

    assert not path.exists()


def test_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")

    for place in (tmp_path / "missing" / "file", tmp_path, link):
        with audit_to(place).recording("exec", TARGET) as outcome:
            outcome.status = 0

    assert not (tmp_path / "elsewhere").exists()


def test_full_file_is_put_aside_and_no_line_is_lost(path: Path) -> None:
    count, lanes = 80, 4
    padding = "x" * 20_000

    def record() -> None:
        audit = AuditLog(AuditSettings(file=str(path), max_mb=5, commands=True))
        for _ in range(count):
            with audit.recording("exec", TARGET, padding):
                pass

    threads = [threading.Thread(target=record) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    record()  # alone: nobody else is about to put it aside

    aside = path.with_name("audit.jsonl.1")
    assert 5_000_000 <= aside.stat().st_size < 6_000_000
    assert path.stat().st_size < 5_000_000
    assert len(lines_of(aside) + lines_of(path)) == count * (lanes + 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodWorld]:
    with pod_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def desk(world: PodWorld, tmp_path: Path) -> Iterator[Desk]:
    made = desk_of(world, tmp_path)
    audited = {**made.environ, "RUNPOD_SSH_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    with background_of(replace(made, environ=audited)) as desk:
        yield desk


def test_every_way_to_run_a_command_leaves_its_line(desk: Desk, path: Path) -> None:
    alone = desk.run("exec", "train", "exit 4", RUNPOD_SSH_BACKGROUND="false")
    many = desk.run("exec", "--all", "true", RUNPOD_SSH_BACKGROUND="false")
    desk.start_background()
    served = [desk.run("exec", "train", f"exit {n}") for n in (5, 6)]

    assert [alone.returncode, many.returncode] == [4, 0]
    assert [done.returncode for done in served] == [5, 6]
    assert desk.status()["served"] == 2
    lines = lines_of(path)
    assert [line["status"] for line in lines] == [4, None, 5, 6]
    assert {(line["action"], line["pod_id"]) for line in lines} == {("exec", POD_ID)}
    assert not any("command" in line for line in lines)


def test_copy_and_sync_leave_their_lines(
    desk: Desk, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")

    for command in ("copy", "sync"):
        done = desk.run(command, str(tmp_path / "folder"), "train:audited")
        assert done.returncode == 0, done.stderr

    assert [line["action"] for line in lines_of(path)] == ["copy", "sync"]


def test_shell_leaves_a_line(desk: Desk, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runpod_ssh.entry", "shell", "train"],
        env=dict(desk.environ),
        cwd=desk.folder,
        input=b"exit 3\n",
        capture_output=True,
        timeout=60,
        check=False,
    )

    (line,) = lines_of(path)
    assert (line["action"], line["status"]) == ("shell", done.returncode)
    assert os.access(path, os.R_OK)
