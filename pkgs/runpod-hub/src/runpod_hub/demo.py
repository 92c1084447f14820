"""The whole job, end to end, against a simulated RunPod: what `runpod-hub demo` does.

It runs the installed programs the way a user would and prints each command, so that
the demo is also the manual. Everything it makes lives in one temporary folder and in
child processes that end with it, on Ctrl-C and on SIGKILL too.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from runpod_client.config import default_state_dir
from runpod_hub.child_processes import Child, start_child, stop_child
from runpod_hub.errors import DemoError

PROGRAMS = (
    "runpod-sim",
    "runpod-client",
    "runpod-ssh",
    "runner-installer",
    "runpod-hub",
)
REPOSITORY = "octo/gpu-tests"
JOB_POD = "demo-runner"
KEPT_POD = "test-pod"
JOB_LABEL = "demo-gpu"
JOB_SCRIPT = """\
echo "hello from $RUNNER_NAME"
echo "running as $(id -un) on $(uname -srm)"
echo "the sum of 1 to 1000 is $(seq 1000 | awk '{ sum += $1 } END { print sum }')"
"""
_START_SECONDS = 20.0
_STEP_SECONDS = 60.0
_HTTP_SECONDS = 10.0


class Demo:
    """One run of the demo: its folder, its environment, its child processes."""

    def __init__(self, folder: Path, *, once: bool, port: int) -> None:
        self._folder = folder
        self._once = once
        self._port = port
        self._environ = _without_credentials(os.environ)
        self._children: list[Child] = []
        self._sim_url = ""
        self._has_pod_users = True
        self._hub_url = ""
        self._login_url = ""
        self._done = 0

    def run(self) -> None:
        """Go through all phases; raises DemoError at the first one that fails."""
        click.echo("The whole job against a simulated RunPod. No account, no cost.\n")
        self._phase("start a simulated RunPod and GitHub", self._start_simulator)
        self._phase("start the hub", self._start_hub)
        self._phase("rent a pod", lambda: self._create(JOB_POD))
        self._phase("run a command over SSH, host key pinned", self._exec)
        self._phase("see it in the hub", self._look_at_hub)
        self._phase("make the pod a GitHub runner", self._install_runner)
        self._phase("run a job on it", self._run_job)
        self._phase("remove the runner", self._remove_runner)
        self._phase("stop the pod", self._stop)
        self._phase("what it cost", self._cost)
        self._phase("terminate the pod", lambda: self._terminate(JOB_POD))
        if self._once:
            self._phase("check that nothing is left", self._check_nothing_left)
        else:
            self._phase("rent a pod for you to try", lambda: self._create(KEPT_POD))

    def serve(self) -> None:
        """Keep the hub, the simulator and one pod until the user has seen enough."""
        env_file = self._write_env_file()
        try:
            self._print_invitation(env_file)
            while True:
                for child in self._children:
                    if child.process.poll() is not None:
                        raise DemoError(
                            f"{child.name} ended by itself",
                            hint=child.log_tail(),
                        )
                time.sleep(0.5)
        finally:
            env_file.unlink(missing_ok=True)

    def close(self) -> None:
        """End every child process, the simulated pods with them; bounded."""
        while self._children:
            stop_child(self._children.pop())

    # ------------------------------------------------------------------ phases

    def _start_simulator(self) -> None:
        command = ["runpod-sim", "serve", "--json", "--state-dir", self._at("sim")]
        announced = json.loads(self._start(command))
        self._environ.update(announced)
        self._environ["RUNPOD_STATE_DIR"] = self._at("state")
        self._environ["XDG_CACHE_HOME"] = self._at("cache")
        self._environ["XDG_CONFIG_HOME"] = self._at("config")
        # its background process would outlive the demo by ten minutes
        self._environ["RUNPOD_SSH_BACKGROUND"] = "false"
        self._sim_url = announced["RUNPOD_API_BASE_URL"]
        world = self._get("/_sim/world")
        self._has_pod_users = bool(world["has_pod_users"])
        self._say(f"{self._sim_url}, pods served by {world['ssh_server']}")

    def _start_hub(self) -> None:
        # a look every 2 s, so that a person who watches the page sees the pods come
        command = ["runpod-hub", "serve", "--json", "--interval", "2"]
        command += ["--port", str(self._port)]
        announced = json.loads(self._start(command))
        self._hub_url, self._login_url = announced["url"], announced["login_url"]
        self._say(self._hub_url)

    def _create(self, name: str) -> None:
        created = self._json(
            "runpod-client", "pods", "create", "--name", name,
            "--gpu", "NVIDIA RTX A4000", "--gpu", "NVIDIA GeForce RTX 4090",
            "--image", "runpod/base:0.0.0", "--wait", "--timeout", "45", "--yes", "--json",
        )  # fmt: skip
        self._say(
            f"{created['pod_id']}: {created['gpu_count']} x {created['gpu_type']},"
            f" ${created['price_usd_per_hour']}/hour, {created['status']}"
        )

    def _exec(self) -> None:
        script = 'echo "$(hostname): $(nproc) CPUs, $(uname -m)"'
        self._say(self._run("runpod-ssh", "exec", JOB_POD, script).strip())

    def _look_at_hub(self) -> None:
        token = self._run("runpod-hub", "token").strip()
        url = f"{self._hub_url}/api/runpod/status"
        self._say(f"$ curl --header 'Authorization: Bearer ...' {url}")
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            summary = _http(url, token=token)["summary"]
            if summary["running_pods"]:
                self._say(
                    f"{summary['running_pods']} of {summary['total_pods']} pods"
                    f" running, ${summary['cost_per_hour']}/hour,"
                    f" ${summary['cost_per_day']}/day"
                )
                return
            time.sleep(0.2)
        raise DemoError("the hub does not see the pod", hint=self._log_tails())

    def _install_runner(self) -> None:
        user: list[str] = []
        if not self._has_pod_users:
            # without namespaces a user made in a pod would be this machine's own
            self._say("pods have no users of their own on this machine")
            user = ["--as-root"]
        installed = self._json(
            "runner-installer", "install", JOB_POD, *user,
            "--repo", REPOSITORY, "--labels", JOB_LABEL, "--json",
        )  # fmt: skip
        self._say(f"{installed['name']} is {installed['status']}")

    def _run_job(self) -> None:
        job = self._post(
            "/_sim/github/jobs",
            {
                "repository": REPOSITORY,
                "name": "gpu-test",
                "labels": [JOB_LABEL],
                "script": JOB_SCRIPT,
            },
        )
        finished = self._wait_for_job(job["id"])
        for line in finished["log"].splitlines():
            self._say(f"| {line}")
        self._say(f"conclusion: {finished['conclusion']}")
        if finished["conclusion"] != "success":
            raise DemoError("the job failed", hint=finished["log"])

    def _remove_runner(self) -> None:
        removed = self._json("runner-installer", "remove", JOB_POD, "--json")
        for line in removed["actions"]:
            self._say(line)

    def _stop(self) -> None:
        stopped = self._json("runpod-client", "pods", "stop", JOB_POD, "--json")
        self._say(stopped["status"])

    def _cost(self) -> None:
        for row in self._get("/_sim/billing")["pods"]:
            total, compute, storage = (
                Decimal(str(row[name]))
                for name in ("total_usd", "compute_usd", "storage_usd")
            )
            self._say(
                f"{row['pod_id']}: ${total:.6f} of simulated money"
                f" (compute ${compute:.6f}, disks ${storage:.6f})"
            )

    def _terminate(self, name: str) -> None:
        done = self._json("runpod-client", "pods", "terminate", name, "--yes", "--json")
        self._say(f"{done['name']} is {'gone' if done['terminated'] else 'not there'}")

    def _check_nothing_left(self) -> None:
        pods = self._json("runpod-client", "pods", "list", "--json")
        world = self._get("/_sim/world")
        runners = self._get("/_sim/github/state")["runners"]
        identities = list(Path(self._at("state")).glob("identities/*"))
        children = [child.process.pid for child in self._children]
        self.close()
        facts = {
            "pods": len(pods["pods"]),
            "runners at GitHub": len(runners),
            "processes on pods": world["process_count"],
            "SSH keys": len(identities),
            "child processes": sum(Path(f"/proc/{pid}").exists() for pid in children),
        }
        self._say("left: " + ", ".join(f"{n} {what}" for what, n in facts.items()))
        if any(facts.values()):
            raise DemoError("the demo left something behind")

    # --------------------------------------------------------------- machinery

    def _phase(self, title: str, work: Callable[[], None]) -> None:
        self._done += 1
        click.echo(f"{self._done:2}. {title}")
        started = time.monotonic()
        work()
        click.echo(f"    done in {time.monotonic() - started:.1f} s")

    def _say(self, text: str) -> None:
        click.echo(f"    {text}")

    def _at(self, name: str) -> str:
        return str(self._folder / name)

    def _start(self, command: list[str]) -> str:
        """Start a program that stays, and return the line it announces itself with."""
        self._say(f"$ {shlex.join(command)}")
        child = start_child(command, self._environ, self._folder / f"{command[0]}.log")
        self._children.append(child)
        return child.read_announcement(timeout=_START_SECONDS)

    def _run(self, *command: str) -> str:
        """Run a program as the user would and return what it printed."""
        self._say(f"$ {shlex.join(command)}")
        try:
            result = subprocess.run(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_STEP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(
                f"{command[0]} was not done within {_STEP_SECONDS:.0f} s",
                hint=self._log_tails(),
            ) from error
        if result.returncode != 0:
            raise DemoError(
                f"{command[0]} ended with status {result.returncode}",
                hint=result.stderr.strip(),
            )
        return result.stdout

    def _json(self, *command: str) -> Any:
        return json.loads(self._run(*command))

    def _log_tails(self) -> str:
        return "\n".join(child.log_tail(5) for child in self._children)

    def _get(self, path: str) -> Any:
        return _http(f"{self._sim_url}{path}")

    def _post(self, path: str, document: Mapping[str, Any]) -> Any:
        return _http(f"{self._sim_url}{path}", json.dumps(document).encode())

    def _wait_for_job(self, job_id: int) -> Any:
        deadline = time.monotonic() + _STEP_SECONDS
        while time.monotonic() < deadline:
            job = self._get(f"/_sim/github/jobs/{job_id}")
            if job["status"] == "completed":
                return job
            time.sleep(0.2)
        raise DemoError(f"the job was not done within {_STEP_SECONDS:.0f} s")

    def _write_env_file(self) -> Path:
        """Let the scripts find this demo's cloud; the file goes when the demo ends."""
        path = default_state_dir() / "demo.env"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = sorted(
            name
            for name, value in self._environ.items()
            if os.environ.get(name) != value
        )
        lines = [f"export {n}={shlex.quote(self._environ[n])}" for n in names]
        # a file wins over a variable: a real key must not meet the simulated cloud
        lines.append("unset RUNPOD_API_KEY_FILE GITHUB_TOKEN_FILE")
        scratch = path.with_suffix(".tmp")
        scratch.write_text("\n".join([*lines, f"# pid {os.getpid()}", ""]))
        scratch.chmod(0o600)
        scratch.replace(path)
        return path

    def _print_invitation(self, env_file: Path) -> None:
        click.echo(f"""
The hub keeps serving. Open the dashboard:

    {self._login_url}

Try, in another terminal:

    ./scripts/pod-lifecycle.sh status {KEPT_POD}
    ./scripts/ssh-runner.sh exec {KEPT_POD} "echo 'test'"

or, for the programs themselves:  . {shlex.quote(str(env_file))}

Ctrl-C ends it all; nothing stays behind.""")


def run_demo(*, once: bool, port: int) -> int:
    """Run the demo and return the exit status."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise DemoError(
            f"the demo needs these programs on PATH: {', '.join(missing)}",
            hint="Start it by ./scripts/demo or by: nix run .#demo",
        )
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    with _temporary_folder() as folder:
        demo = Demo(folder, once=once, port=port)
        try:
            demo.run()
            click.echo(f"\nAll phases done in {time.monotonic() - started:.1f} s.")
            if not once:
                demo.serve()
        except KeyboardInterrupt:
            click.echo("\nInterrupted: ending everything.", err=True)
            return 130 if once else 0
        finally:
            # a second Ctrl-C must not stop the cleaning up; each step is bounded
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            demo.close()
    return 0


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="runpod-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without anything that names a real account."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("RUNPOD_SIM_")
        or not name.startswith(("RUNPOD_", "GITHUB_", "CREDENTIALS_DIRECTORY"))
    }


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _http(url: str, body: bytes | None = None, *, token: str = "") -> Any:
    """Ask the simulator or the hub themselves; never anything but loopback."""
    request = urllib.request.Request(  # noqa: S310  # the simulator's own address
        url,
        data=body,
        headers={
            "Content-Type": "application/json",
            "User-Agent": "runpod-hub-demo",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_SECONDS) as answer:  # noqa: S310
            return json.loads(answer.read())
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise DemoError(f"{url} did not answer: {error}") from error
