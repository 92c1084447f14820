"""A continuous-integration job's machine, with RunPod and GitHub served beside it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.sim import SimServer
from support.waiting import wait_for

REPOSITORY = "acme/widgets"
GPU = "NVIDIA GeForce RTX 4090"
IMAGE = "runpod/base:0.0.0"
COMMAND_SECONDS = 90
SECRETS = ("RUNPOD_API_KEY", "GITHUB_TOKEN")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One job's machine: folders of its own, nothing of another job's."""

    sim: SimServer
    env: Mapping[str, str]

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `runner-installer` to its end."""
        return subprocess.run(
            ["runner-installer", *arguments],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command that must succeed, and return its document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def up(self, *arguments: str) -> dict[str, Any]:
        """Rent as a workflow would."""
        return self.json("up", "--yes", "--gpu", GPU, "--image", IMAGE, *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and leave it running, its output in one pipe."""
        return subprocess.Popen(
            ["runner-installer", *arguments],
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def with_account(sim: SimServer, name: object) -> SimServer:
    """Return the simulator as another account of RunPod's meets it: its own quota."""
    return sim.with_key(f"rpa_{name}".ljust(44, "0"))


def make_machine(
    sim: SimServer, folder: Path, *, run_id: int = 4711, attempt: int = 1
) -> Machine:
    """Return a fresh machine whose job is a step of that workflow run."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = str(Path(sys.executable).parent)
    env = {
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "HOME": str(folder),
        **sim.env,
        "RUNPOD_STATE_DIR": str(folder / "state"),
        "RUNPOD_OWNER": REPOSITORY,
        "RUNPOD_SSH_BACKGROUND": "false",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": str(run_id),
        "GITHUB_RUN_ATTEMPT": str(attempt),
    }
    return Machine(sim=sim, env=env)


def live_pods(sim: SimServer) -> list[str]:
    """Return the names of the pods that were not terminated, without their marks."""
    pods = sim.world()["pods"]
    return sorted(
        pod["name"].partition(" ")[0] for pod in pods if pod["status"] != "TERMINATED"
    )


def runner_names(sim: SimServer) -> list[str]:
    """Return the names of the runners that GitHub lists."""
    return sorted(r["name"] for r in sim.admin("GET", "github/state")["runners"])


def queue(sim: SimServer, label: str, script: str) -> int:
    """Queue a job that only runners with a label get."""
    body = {
        "repository": REPOSITORY,
        "name": "train",
        "labels": [label],
        "script": script,
    }
    return int(sim.admin("POST", "github/jobs", body)["id"])


def wait_for_job(sim: SimServer, job_id: int, status: str) -> dict[str, Any]:
    """Return a job once it has that status."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = sim.admin("GET", f"github/jobs/{job_id}")
        return job if job["status"] == status else None

    return wait_for(look, timeout_seconds=30, what=f"job {job_id} is {status}")
