"""`runpod-ssh sync` as installed, against a simulated RunPod."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.sim import SimServer

RUN_SECONDS = 60
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Desk:
    """A user's desk: their environment, a folder, and a pod `train` that runs."""

    environ: Mapping[str, str]
    folder: Path
    pod_home: Path

    def run(
        self, *arguments: str, program: str = "runpod-ssh"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAMS / program), *arguments],
            env=dict(self.environ),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("office")
    environ = {
        **os.environ,
        **module_sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RUNPOD_LOG_LEVEL": "warning",
    }
    environ.pop("SSH_AUTH_SOCK", None)
    desk = Desk(environ, home, home)
    create = "pods create --name train --gpu L4 --image runpod/base --yes --wait"
    done = desk.run(*create.split(), program="runpod-client")
    assert done.returncode == 0, done.stderr
    shown = desk.run("pods", "show", "train", "--json", program="runpod-client")
    pod_id = json.loads(shown.stdout)["pod_id"]
    return Desk(environ, home, Path(module_sim.state_dir) / "pods" / pod_id / "home")


@pytest.fixture
def desk(office: Desk, tmp_path: Path) -> Desk:
    """The shared pod, used from a folder of one's own with something in it."""
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "a").write_bytes(b"x" * 1500)
    (tmp_path / "src" / "deep" / "new\nline").write_bytes(b"12")
    (tmp_path / "src" / "junk.pyc").write_bytes(b"junk")
    (tmp_path / "src" / ".gitignore").write_text("# no\n*.pyc\n")
    return Desk(office.environ, tmp_path, office.pod_home)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_sync_says_in_one_line_what_it_did(desk: Desk) -> None:
    first = desk.run("sync", "src", "train:one")
    (desk.folder / "src" / "a").write_bytes(b"y" * 2000)
    (desk.folder / "src" / "junk.pyc").unlink()
    second = desk.run("sync", "--delete", "src", "train:one")

    assert first.stdout.startswith("4 sent (1.5 kB), 0 unchanged in ")
    assert first.stdout.endswith(" s, verified\n")
    assert second.stdout.startswith("1 sent (2.0 kB), 1 deleted, 2 unchanged in ")
    assert (desk.pod_home / "one" / "a").read_bytes() == b"y" * 2000


def test_dry_run_lists_names_that_cannot_steer_a_terminal(desk: Desk) -> None:
    done = desk.run("sync", "-n", "--exclude-from", "src/.gitignore", "src", "train:no")

    assert done.stdout.splitlines()[-1] == (
        "would be: 3 sent (1.5 kB), 0 unchanged; nothing was changed"
    )
    assert "send         2 B  deep/new\\nline" in done.stdout.splitlines()
    assert "junk" not in done.stdout
    assert not (desk.pod_home / "no").exists()


def test_json_document_is_stable(desk: Desk) -> None:
    desk.run("sync", "src", "train:two")
    (desk.pod_home / "two" / "b").write_bytes(b"123")

    found = document(
        desk.run("sync", "--json", "--exclude", "*.pyc", "train:two", "back")
    )

    assert found.pop("elapsed_seconds") > 0
    assert len(found.pop("pod_id")) > 0
    assert found == {
        "direction": "download",
        "source": "train:two",
        "target": "back",
        "is_dry_run": False,
        "sent_count": 4,
        "sent_bytes": 1500 + 2 + 11 + 3,
        "changed_count": 0,
        "deleted_count": 0,
        "kept_count": 0,
        "unchanged_count": 0,
        "rsync_count": 0,
        "saved_bytes": 0,
        "is_verified": True,
        "skipped": [],
        "changes": found["changes"],
    }
    assert {
        "action": "send",
        "path": "b",
        "kind": "file",
        "size_bytes": 3,
    } in found["changes"]


def test_changed_part_of_a_large_file_is_told_apart(desk: Desk) -> None:
    (desk.folder / "models").mkdir()
    model = desk.folder / "models" / "m.bin"
    model.write_bytes(os.urandom(40_000_000))
    desk.run("sync", "models", "train:models")
    with model.open("ab") as file:
        file.write(b"some more")

    said = desk.run("sync", "models", "train:models")
    with model.open("ab") as file:
        file.write(b"and more")
    found = document(desk.run("sync", "--json", "models", "train:models"))
    with model.open("ab") as file:
        file.write(b"and more")
    plain = document(desk.run("sync", "--no-rsync", "--json", "models", "train:models"))

    assert said.stdout.startswith("1 sent (40.0 MB, 39.9 MB of it spared by rsync), 0 ")
    assert (found["rsync_count"], plain["rsync_count"]) == (1, 0)
    assert found["saved_bytes"] > 39_000_000 > plain["saved_bytes"] == 0
    assert (desk.pod_home / "models" / "m.bin").read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["src", "elsewhere"], 2, "exactly one of SOURCE and TARGET"),
        (["train:a", "train:b"], 2, "exactly one of SOURCE and TARGET"),
        (["--max-delete", "1", "src", "train:x"], 2, "without --delete"),
        (["nowhere", "train:x"], 1, "there is no folder nowhere"),
        (["src/a", "train:x"], 1, "runpod-ssh copy"),
        (["src", "train:no/such"], 1, "there is no folder no/"),
        (["train:no-such", "back"], 1, "there is no folder no-such"),
        (["src", "trian:x"], 4, "train"),
        (["--exclude", "/", "src", "train:x"], 2, "'/' is no pattern"),
    ],
)
def test_mistakes_are_one_sentence_and_change_nothing(
    desk: Desk, arguments: list[str], status: int, said: str
) -> None:
    done = desk.run("sync", *arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (desk.pod_home / "x").exists()
    assert not (desk.folder / "back").exists()
