"""Where the ssh bench takes place; all of it on this machine.

A simulated pod with a real sshd, OpenSSH's programs pointed at that very sshd, a master
connection, a slow link, a farm of servers: each ends with the block that made it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import BIN, ROOT, simulated
from benchmarks.measures import COMMAND_SECONDS, BenchError, read, run

SUPPORT = ROOT / "tests" / "support"
INSTALL = {
    "ssh": "apt-get install openssh-client",
    "scp": "apt-get install openssh-client",
    "ssh-keygen": "apt-get install openssh-client",
    "sshd": "apt-get install openssh-server",
    "rsync": "apt-get install rsync",
}
# room for a gibibyte on both sides twice, and for the trees
SPACE_BYTES = 6 * 1024**3


@dataclass(kw_only=True)
class OpenSSH:
    """OpenSSH's programs with their defaults, pointed at one server."""

    port: int
    identity_file: Path
    known_hosts: Path
    options: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Name the options that every program takes."""
        self.options = [
            "-F", "none", "-i", str(self.identity_file),
            "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "BatchMode=yes",
        ]  # fmt: skip

    def ssh(self, *arguments: str, port: int | None = None) -> list[str]:
        """Return an ssh command; arguments come before the host."""
        place = ["-p", str(port or self.port), "root@127.0.0.1"]
        return ["ssh", *self.options, *arguments, *place]

    def exec(self, command: str, *arguments: str, port: int | None = None) -> list[str]:
        """Return an ssh command that runs something."""
        return [*self.ssh(*arguments, port=port), command]

    def scp(self, source: str, target: str, *, port: int | None = None) -> list[str]:
        """Return an scp command; the pod's side begins with `:`."""
        places = [
            f"root@127.0.0.1{place}" if place.startswith(":") else place
            for place in (source, target)
        ]
        return ["scp", "-q", *self.options, "-P", str(port or self.port), *places]

    def rsync(self, source: str, target: str) -> list[str]:
        """Return an `rsync -a` command; the pod's side begins with `:`."""
        shell = " ".join(["ssh", *self.options, "-p", str(self.port)])
        places = [
            f"root@127.0.0.1{place}" if place.startswith(":") else place
            for place in (source, target)
        ]
        return ["rsync", "-a", "-e", shell, *places]


class Worker:
    """A process of ours that lives on; see `worker.py`."""

    def __init__(self, given: Mapping[str, Any], log: Path) -> None:
        self._log = log
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [str(BIN / "python"), str(Path(__file__).parent / "worker.py"),
                 json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )  # fmt: skip

    def ask(self, do: str, **given: Any) -> float:
        """Have a task done; return its answer, mostly seconds."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise BenchError("our own process has no pipes")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"our own process ended: {self._log.read_text()[-500:]}")
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise BenchError(f"our own process said: {line[:200]}") from error
        if "error" in answer:
            raise BenchError(f"{do}: {answer['error']}")
        return float(answer["answer"])

    def close(self) -> None:
        """End it and the connections it holds."""
        end(self._process)


@dataclass(frozen=True, kw_only=True)
class World:
    """What the measures use.

    Attributes:
        environ: For `runpod-ssh`; the pod is named `bench`.
        folder: Where both sides keep their files: the pod is on this machine.
    """

    environ: Mapping[str, str]
    openssh: OpenSSH
    folder: Path

    def ours(self, *arguments: str) -> list[str]:
        """Return a command line of `runpod-ssh`."""
        return [str(BIN / "runpod-ssh"), *arguments]

    @contextlib.contextmanager
    def worker(self) -> Iterator[Worker]:
        """Start a process of ours; it ends with the block."""
        given = {
            "port": self.openssh.port,
            "identity_file": str(self.openssh.identity_file),
            "state_dir": str(self.folder / "host_keys"),
        }
        worker = Worker(given, self.folder / "worker.log")
        try:
            yield worker
        finally:
            worker.close()

    @contextlib.contextmanager
    def master(self, port: int | None = None) -> Iterator[str]:
        """Hold a master connection of OpenSSH; yield the option that uses it."""
        socket = self.folder / f"master-{port or 0}"
        process = subprocess.Popen(
            self.openssh.ssh("-M", "-N", "-S", str(socket), port=port),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_path(socket, process)
            yield f"-S{socket}"
        finally:
            end(process)

    @contextlib.contextmanager
    def slow_link(self, rtt_ms: float) -> Iterator[int]:
        """Yield a port behind which the pod is that far away."""
        process = subprocess.Popen(
            [str(BIN / "python"), str(SUPPORT / "slow_link.py"),
             str(self.openssh.port), str(rtt_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            port = int(process.stdout.readline()) if process.stdout else 0
            host = f"[127.0.0.1]:{port}"
            key = self.openssh.known_hosts.read_text().splitlines()[0].split(" ", 1)[1]
            with self.openssh.known_hosts.open("a") as known:
                known.write(f"{host} {key}\n")
            yield port
        finally:
            end(process)

    @contextlib.contextmanager
    def farm(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield where that many servers are, and how to log in."""
        folder = self.folder / "farm"
        process = subprocess.Popen(
            [
                str(BIN / "python"),
                str(SUPPORT / "sshd_farm.py"),
                str(folder),
                str(count),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise BenchError(f"{count} sshd could not be started")
            told: dict[str, Any] = json.loads(line)
            known = folder / "known_hosts"
            known.write_text(
                "".join(
                    f"[127.0.0.1]:{port} {' '.join(key.split()[:2])}\n"
                    for port, key in zip(told["ports"], told["host_keys"], strict=True)
                )
            )
            yield {**told, "known_hosts": str(known)}
        finally:
            end(process)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ssh_world(folder: Path) -> Iterator[World]:
    """Rent a simulated pod and let OpenSSH's programs into it."""
    with _space(folder) as space, simulated(folder) as simulator:
        environ = simulator.environ
        create = "pods create --name bench --gpu L4 --image runpod/base --yes --wait"
        run([str(BIN / "runpod-client"), *create.split()], environ)
        identity = folder / "identity"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(identity)])
        pod = _show_pod(environ)
        port = int(pod["ssh"]["port"])
        state_dir = simulator.read("health")["state_dir"]
        root = Path(state_dir, "pods", pod["pod_id"])
        _serve_plainly(root, identity, port)
        known_hosts = folder / "known_hosts"
        host_key = root / "etc" / "ssh_host_ed25519_key"
        public = read(["ssh-keygen", "-y", "-f", str(host_key)])
        known_hosts.write_text(f"[127.0.0.1]:{port} {public}")
        openssh = OpenSSH(port=port, identity_file=identity, known_hosts=known_hosts)
        try:
            yield World(environ=environ, openssh=openssh, folder=space)
        finally:
            with contextlib.suppress(BenchError):
                run([str(BIN / "runpod-ssh"), "master", "stop"], environ)


def require_programs() -> None:
    """End with the way to install what is missing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    missing = [name for name in INSTALL if shutil.which(name, path=path) is None]
    if missing:
        ways = " && ".join(dict.fromkeys(INSTALL[name] for name in missing))
        raise BenchError(f"{', '.join(missing)} is missing; install it: {ways}")


def read_memory_bytes(pid: int) -> int:
    """Return a process' memory, shared pages counted in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchError("the kernel does not tell a process' share of memory (PSS)")


def wait_for_path(path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process has made a file."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while not path.exists():
        if process.poll() is not None:
            raise BenchError(f"ssh ended before it made {path.name}")
        if time.monotonic() > deadline:
            raise BenchError(f"ssh did not make {path.name} in time")
        time.sleep(0.01)


def end(process: "subprocess.Popen[Any]") -> None:
    """End a process: by the end of its input, by a signal, at last by force."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    else:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
    if process.stdout is not None:
        process.stdout.close()


def _serve_plainly(pod: Path, identity: Path, port: int) -> None:
    """Let the pod's sshd take our key, and run commands as any sshd does.

    The simulator's own sessions start two more shells, to set up a pod's environment;
    that would stand in both sides of every ratio.
    """
    config = pod / "etc" / "sshd_config"
    lines = config.read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines if " " in line)
    with Path(settings["AuthorizedKeysFile"]).open("a") as keys:
        keys.write(identity.with_suffix(".pub").read_text())
    kept = [line for line in lines if not line.startswith("ForceCommand")]
    config.write_text("\n".join([*kept, f"SetEnv HOME={pod / 'home'}", ""]))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_text()
                if str(config) in words and "sshd: " in words:
                    os.kill(int(entry.name), signal.SIGHUP)
    deadline = time.monotonic() + COMMAND_SECONDS
    while not _greets(port):
        if time.monotonic() > deadline:
            raise BenchError("sshd did not come back with its new configuration")
        time.sleep(0.05)


def _greets(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 1) as asked,
    ):
        return asked.recv(4) == b"SSH-"
    return False


def _show_pod(environ: Mapping[str, str]) -> dict[str, Any]:
    show = [str(BIN / "runpod-client"), "pods", "show", "bench", "--json"]
    pod: dict[str, Any] = json.loads(read(show, environ))
    return pod


@contextlib.contextmanager
def _space(folder: Path) -> Iterator[Path]:
    """Yield a folder for the data: in memory where there is room, for disks vary."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of our own in it
    if not memory.is_dir() or shutil.disk_usage(memory).free < SPACE_BYTES:
        space = folder / "data"
        space.mkdir()
        yield space
        return
    space = memory / f"runpod-bench-{os.getpid()}"
    space.mkdir(mode=0o700)
    try:
        yield space
    finally:
        shutil.rmtree(space, ignore_errors=True)
