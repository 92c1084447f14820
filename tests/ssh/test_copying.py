"""`runpod-ssh copy` as installed: several sources, pod to pod, a bar, being killed."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from runpod_ssh.cli import cli
from support.sim import SimServer
from support.ssh_desk import SSHDesk, rent
from support.waiting import wait_for

PROGRAM = str(Path(sys.executable).parent / "runpod-ssh")


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> SSHDesk:
    """The pods `train` and `other`, which the tests of this file share."""
    desk = rent(module_sim, tmp_path_factory.mktemp("office"))
    create = "pods create --name other --gpu L4 --image runpod/base --yes --wait"
    done = desk.run("runpod-client", *create.split())
    assert done.returncode == 0, done.stderr
    return desk


@pytest.fixture
def desk(office: SSHDesk, tmp_path: Path) -> SSHDesk:
    """The shared pods, used from a folder of one's own."""
    return replace(office, home=tmp_path)


def test_several_sources_go_into_a_folder_and_are_told_together(desk: SSHDesk) -> None:
    for name in ("a", "b"):
        (desk.home / name).write_text(name)
    assert desk.ssh("exec", "train", "mkdir -p both").returncode == 0

    document = desk.json("copy", "a", "b", "train:both")

    there = desk.pod_folder / "home" / "both"
    assert sorted(path.read_text() for path in there.iterdir()) == ["a", "b"]
    assert (document["file_count"], document["size_bytes"]) == (2, 2)
    assert document["is_verified"] is True
    assert [each["target"] for each in document["copies"]] == ["both/a", "both/b"]


def test_several_sources_without_a_folder_are_refused(desk: SSHDesk) -> None:
    for name in ("a", "b"):
        (desk.home / name).write_text(name)

    there = desk.ssh("copy", "a", "b", "train:none")
    here = desk.ssh("copy", "train:a", "train:b", "none")

    assert (there.returncode, here.returncode) == (1, 2)
    assert "there is no folder none" in there.stderr
    assert "several sources need a folder" in here.stderr


def test_copy_goes_from_pod_to_pod(desk: SSHDesk) -> None:
    other = desk.json("pods", "show", "other", program="runpod-client")["pod_id"]
    assert desk.ssh("exec", "train", "mkdir -p m; echo hi >m/x").returncode == 0

    document = desk.json("copy", "train:m", "other:n")

    place = Path(desk.sim.state_dir) / "pods" / other / "home" / "n" / "x"
    assert place.read_text() == "hi\n"
    document.pop("elapsed_seconds")
    document.pop("sha256")
    assert document == {
        "pod_id": other,
        "source_pod_id": desk.pod_id,
        "direction": "between",
        "source": "m",
        "target": "n",
        "file_count": 1,
        "size_bytes": 3,
        "is_verified": True,
    }


def test_copy_without_a_pod_is_a_mistake() -> None:
    done = CliRunner().invoke(cli, ["copy", "a", "./p:b"])

    assert done.exit_code == 2
    assert "must be POD:PATH" in done.stderr


def test_without_a_terminal_nothing_is_drawn(desk: SSHDesk) -> None:
    (desk.home / "big").write_bytes(b"\1" * 20_000_000)

    done = desk.ssh("copy", "big", "train:drawn")

    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert re.fullmatch(
        r"1 file, 20\.0 MB to train:drawn in \d+\.\d s, verified\n", done.stdout
    )


@pytest.mark.parametrize("way", ["up", "down"])
def test_terminal_shows_a_bar_with_rate_and_remaining_time(
    desk: SSHDesk, way: str
) -> None:
    source = desk.home if way == "up" else desk.pod_folder / "home"
    (source / "bar").write_bytes(os.urandom(200_000_000))
    sides = ["bar", "train:bar2"] if way == "up" else ["train:bar", "bar2"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "copy", *sides],
        env={**desk.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        cwd=desk.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)

    seen = read_all(ours)

    assert process.wait(30) == 0, seen
    assert "200.0 MB" in seen
    assert re.search(r"\d MB/s", seen)
    assert re.search(r"\d:\d\d", seen)


def read_all(terminal: int) -> str:
    """Return what is written to a terminal until its other end closes."""
    seen = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ready, _writable, _failed = select.select([terminal], [], [], 1)
        if ready:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    os.close(terminal)
    return seen.decode(errors="replace")


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.heavy), signal.SIGKILL]
)
@pytest.mark.parametrize("way", ["up", "down"])
def test_killed_copy_leaves_no_process_on_the_pod_and_goes_on(
    desk: SSHDesk, way: str, number: signal.Signals
) -> None:
    pod_home = desk.pod_folder / "home"
    source, target = (desk.home, pod_home) if way == "up" else (pod_home, desk.home)
    name = f"kill-{way}-{number.name}"
    (source / name).write_bytes(os.urandom(200_000_000))
    sides = (name, f"train:{name}") if way == "up" else (f"train:{name}", name)
    process = subprocess.Popen(
        [PROGRAM, "copy", *sides],
        env=dict(desk.environ),
        cwd=desk.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(
        lambda: sum(p.stat().st_blocks for p in stages_in(target)) * 512 > 20_000_000,
        timeout_seconds=30,
        what="some of it has come",
    )

    process.send_signal(number)
    process.wait(timeout=20)

    wait_for(lambda: not list_copiers(pod_home), what="no process is left on the pod")
    assert not (target / name).exists()
    document = desk.json("copy", *sides)
    assert (target / name).read_bytes() == (source / name).read_bytes()
    assert document["is_verified"] is True
    assert stages_in(target) == []
    for path in (source / name, target / name):
        path.unlink()


def stages_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".runpod-ssh-*/**/*") if path.is_file()]


def list_copiers(home: Path) -> list[str]:
    """Return the processes of a pod's sessions that belong to a copy."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"RUNPOD_SSH_CALL=" in environ and os.fsencode(f"HOME={home}") in environ:
            found.append(json.dumps(command.decode(errors="replace")[:200]))
    return found
