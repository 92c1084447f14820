"""A served GitHub side of the simulator, in this process, and runners unpacked from it."""

import io
import os
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.applications import Starlette

from runpod_sim.clock import Clock
from runpod_sim.forge import Forge
from runpod_sim.github import github_routes
from support.waiting import wait_for

TOKEN = "ghp_simulatedtoken"
REPOSITORY = "acme/widgets"
RUNNERS = f"/repos/{REPOSITORY}/actions/runners"
FAST = {
    "RUNNER_SIM_LOG_SECONDS": "0.05",
    "RUNNER_SIM_RETRY_SECONDS": "0.05",
    "RUNNER_SIM_RESTART_SECONDS": "0.1",
    "RUNNER_SIM_SESSION_RETRY_SECONDS": "0.1",
    "RUNNER_SIM_CANCEL_SECONDS": "0.5",
}


@dataclass(frozen=True)
class ServedForge:
    """The forge, its clock and where it is served."""

    forge: Forge
    clock: Clock

    @property
    def base_url(self) -> str:
        return self.forge.base_url

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = f"Bearer {TOKEN}",
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a REST call below `/api/v3`."""
        return requests.request(
            method,
            f"{self.base_url}/api/v3{path}",
            json=body,
            headers={"Authorization": token, **(headers or {})},
            timeout=10,
        )

    def session_get(self, url: str) -> requests.Response:
        """Get a URL that an answer named."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.get(url, headers=headers, timeout=10)

    def order(self, path: str, body: Any) -> Any:
        """Pull a lever below `/_sim/github`."""
        url = f"{self.base_url}/_sim/github{path}"
        answer = requests.post(url, json=body, timeout=10)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def job(self, job_id: int) -> dict[str, Any]:
        """Return a job as the levers show it."""
        url = f"{self.base_url}/_sim/github/jobs/{job_id}"
        shown: dict[str, Any] = requests.get(url, timeout=10).json()
        return shown

    def queue(self, script: str, *, labels: tuple[str, ...] = ("gpu",)) -> int:
        """Queue a job in the repository and return its id."""
        body = {
            "repository": REPOSITORY,
            "name": "train",
            "labels": list(labels),
            "script": script,
        }
        return int(self.order("/jobs", body)["id"])

    def finished(self, job_id: int) -> dict[str, Any]:
        """Wait for a job's end."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] == "completed" else None

        return wait_for(look, timeout_seconds=20, what=f"job {job_id} completed")

    def jit(self, name: str, *labels: str) -> dict[str, Any]:
        """Register a one-job runner."""
        body = {"name": name, "runner_group_id": 1, "labels": list(labels or ("gpu",))}
        answer = self.call("POST", f"{RUNNERS}/generate-jitconfig", body)
        assert answer.status_code == 201, answer.text
        config: dict[str, Any] = answer.json()
        return config

    def runner(self, name: str) -> dict[str, Any] | None:
        """Return the runner of that name, if the list has it."""
        listed = self.call("GET", f"{RUNNERS}?name={name}").json()["runners"]
        return listed[0] if listed else None

    def wait_for_status(self, name: str, *, status: str, busy: bool = False) -> None:
        """Wait until the API shows the runner so."""

        def look() -> bool:
            runner = self.runner(name)
            return runner is not None and (runner["status"], runner["busy"]) == (
                status,
                busy,
            )

        wait_for(look, what=f"runner {name} {status}, busy {busy}")


@contextmanager
def served_forge() -> Iterator[ServedForge]:
    """Serve a fresh forge on a free port of loopback."""
    clock = Clock()
    forge = Forge(clock, seed=7, base_url="")
    config = uvicorn.Config(
        Starlette(routes=github_routes(forge)),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, what="the forge is served")
        port = server.servers[0].sockets[0].getsockname()[1]
        forge.base_url = f"http://127.0.0.1:{port}"
        yield ServedForge(forge, clock)
    finally:
        server.should_exit = True
        thread.join(10)


class RunnerProcess:
    """A `run.sh` and what it has printed, in a session of its own."""

    def __init__(self, root: Path, *arguments: str, **environment: str) -> None:
        self.root = root
        self._output = (root / "console.log").open("wb")
        self.process = subprocess.Popen(
            [root / "run.sh", *arguments],
            cwd=root,
            env=kit_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def console(self) -> str:
        """Everything printed so far."""
        return (self.root / "console.log").read_text()

    def wait_for_line(self, part: str) -> None:
        """Wait until a part of a line was printed."""
        wait_for(lambda: part in self.console, timeout_seconds=20, what=part)

    def wait(self) -> int:
        """Wait for the end of run.sh and return its exit status."""
        return self.process.wait(timeout=20)

    def listener_pids(self) -> list[int]:
        """Return the listeners that run from this root."""
        return [
            pid
            for pid, command in session_commands(self.process.pid)
            if "Runner.Listener" in command
        ]

    def close(self) -> None:
        """Kill the whole session, again and again until nothing starts any more."""
        wait_for(self._kill_once, what=f"session {self.process.pid} is gone")
        self.process.wait(timeout=10)
        self._output.close()

    def _kill_once(self) -> bool:
        found = session_commands(self.process.pid)
        for pid, _ in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not found


def kit_environment(**extra: str) -> dict[str, str]:
    """Return what a pod's shell would have, with short pauses."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return {**kept, "RUNNER_ALLOW_RUNASROOT": "1", **FAST, **extra}


def session_commands(session: int) -> list[tuple[int, str]]:
    """Return the processes of a session with their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if int(fields[3]) == session and fields[0] != "Z":
            found.append((int(folder.name), command.replace(b"\0", b" ").decode()))
    return found


def unpack(served: ServedForge, folder: Path) -> Path:
    """Download the runner package as the API says and unpack it."""
    downloads = served.call("GET", f"{RUNNERS}/downloads").json()
    content = requests.get(downloads[0]["download_url"], timeout=10).content
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
    return folder
