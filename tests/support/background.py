"""A user's desk with a background process of its own, which ends with the test."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.leftovers import processes_mentioning
from support.pod_world import POD_ID, PodWorld
from support.sim import SimServer
from support.waiting import wait_for

RUN_SECONDS = 60
END_SECONDS = 20


@dataclass(frozen=True)
class Desk:
    """A user's environment, the pod `train`, and the folder where sockets are."""

    environ: Mapping[str, str]
    folder: Path
    pod_id: str = ""

    @property
    def runtime(self) -> Path:
        """Return the folder of the background processes."""
        return Path(self.environ["XDG_RUNTIME_DIR"]) / "runpod-ssh"

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runpod_ssh.entry", *arguments]

    def run(
        self, *arguments: str, stdin: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `runpod-ssh` to its end."""
        return subprocess.run(
            self.argv(*arguments),
            env={**self.environ, **variables},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def open(self, *arguments: str, **given: Any) -> "subprocess.Popen[bytes]":
        """Start `runpod-ssh`; its stdin is empty unless given."""
        given.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self.argv(*arguments), env=dict(self.environ), cwd=self.folder, **given
        )

    def statuses(self) -> list[dict[str, Any]]:
        """Return what `master status` tells."""
        done = self.run("master", "status", "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def status(self) -> dict[str, Any]:
        """Return what the one background process tells of itself."""
        [found] = self.statuses()
        return found

    def start_background(self) -> dict[str, Any]:
        """Start the background process and return its status once it is linked."""
        done = self.run("master", "start", "train")
        assert done.returncode == 0, done.stderr
        return wait_for(
            lambda: next((s for s in self.statuses() if s["links"]), None),
            timeout_seconds=END_SECONDS,
            what="the background process is connected",
        )


@contextlib.contextmanager
def background_of(desk: Desk) -> Iterator[Desk]:
    """Yield a desk; then end its background processes and see that they are gone."""
    try:
        yield desk
    finally:
        runtime = str(desk.environ["XDG_RUNTIME_DIR"])
        for line in processes_mentioning(runtime):
            pid = int(line.partition(":")[0])
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGTERM)
        wait_for(
            lambda: not processes_mentioning(runtime),
            timeout_seconds=END_SECONDS,
            what="the background processes have ended",
        )


def desk_of(world: PodWorld, folder: Path) -> Desk:
    """Return a desk at a pod, with background processes of its own."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environ = {**world.environ, "XDG_RUNTIME_DIR": str(runtime)}
    return Desk(environ, folder, POD_ID)


def rent(sim: SimServer, home: Path) -> Desk:
    """Rent the pod `train` and return a desk that knows it."""
    environ = {
        **os.environ,
        **sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "RUNPOD_LOG_LEVEL": "warning",
        "RUNPOD_SSH_BACKGROUND": "true",
    }
    environ.pop("SSH_AUTH_SOCK", None)
    (home / "run").mkdir(mode=0o700)
    program = str(Path(sys.executable).with_name("runpod-client"))
    create = "pods create --name train --gpu L4 --image runpod/base --yes --wait"
    for words in (create.split(), ["pods", "show", "train", "--json"]):
        done = subprocess.run(
            [program, *words],
            env=environ,
            cwd=home,
            capture_output=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return Desk(environ, home, json.loads(done.stdout)["pod_id"])
