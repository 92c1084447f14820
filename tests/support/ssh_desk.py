"""A user's desk with the installed tools, a simulated RunPod and a pod on it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.sim import SimServer

RUN_SECONDS = 90
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class SSHDesk:
    """A user's environment, and the pod `train` that runs."""

    sim: SimServer
    environ: Mapping[str, str]
    home: Path
    pod_id: str = ""

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def secret_file(self) -> Path:
        return self.home / "config" / "runpod" / "identity-secret"

    @property
    def pod_folder(self) -> Path:
        """Where the simulator keeps the pod's files."""
        return Path(self.sim.state_dir) / "pods" / self.pod_id

    def run(
        self, program: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(PROGRAMS / program), *arguments],
            env={**self.environ, **(environ or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def ssh(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("runpod-ssh", *arguments)

    def json(self, *arguments: str, program: str = "runpod-ssh") -> Any:
        done = self.run(program, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def rent(sim: SimServer, home: Path, **variables: str) -> SSHDesk:
    """Rent the pod `train` and return a desk that knows it."""
    environ = {
        **os.environ,
        **sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RUNPOD_LOG_LEVEL": "warning",
        "RUNPOD_SSH_BACKGROUND": "false",
        **variables,
    }
    environ.pop("SSH_AUTH_SOCK", None)
    desk = SSHDesk(sim, environ, home)
    return replace(desk, pod_id=rent_pod(desk, "train"))


def rent_pod(desk: SSHDesk, name: str, *options: str) -> str:
    """Rent another pod and return its id."""
    create = f"pods create --name {name} --gpu L4 --image runpod/base --yes --wait"
    done = desk.run("runpod-client", *create.split(), *options)
    assert done.returncode == 0, done.stderr
    shown = desk.json("pods", "show", name, program="runpod-client")
    return str(shown["pod_id"])
