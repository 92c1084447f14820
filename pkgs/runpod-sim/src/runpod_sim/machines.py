"""The shell around the world's effects: real directories, processes and ports.

A running pod is a directory and an SSH server on an ephemeral loopback port. This
module performs what the world decided; it decides nothing about pods or money.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from runpod_sim.asyncssh_server import (
    AsyncSSHServer,
    PodSessions,
    generate_host_key,
)
from runpod_sim.model import BootMachine, Effect, Mishap, Pod, StopMachine
from runpod_sim.openssh import OpenSSH, OpenSSHUnusableError, find_openssh
from runpod_sim.openssh_server import OpenSSHServer, ServerStartError
from runpod_sim.pod_directory import SSH_PORT, PodDirectory, pod_environment
from runpod_sim.pod_users import can_separate
from runpod_sim.runtime import parse_ports
from runpod_sim.supervision import Streams, Supervised

log = structlog.get_logger(__name__)

START_ATTEMPTS = 5


class World(Protocol):
    """What a machine reports to the world."""

    def attach(
        self, pod_id: str, start_number: int, public_ports: Iterable[tuple[int, int]]
    ) -> bool:
        """Record the ports of a machine that is up; False when it is not wanted."""
        ...

    def get_pod(self, pod_id: str) -> Pod:
        """Return a pod by id."""
        ...


class Server(Protocol):
    """What runs in a pod: its SSH server, or its first process alone."""

    @property
    def process_ids(self) -> list[int]:
        """Return the processes the simulator itself started for the pod."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """End everything."""
        ...


class Idle:
    """A container without an SSH server: its first process and nothing else."""

    def __init__(self, supervised: Supervised) -> None:
        self._supervised = supervised

    @property
    def process_ids(self) -> list[int]:
        """Return the container's first process."""
        return [] if self._supervised.is_over else [self._supervised.process.pid]

    async def stop(self, grace_seconds: float) -> None:
        """End it."""
        await self._supervised.stop(grace_seconds)


def choose_openssh(mode: str, search_path: str) -> OpenSSH | None:
    """Return the sshd to use; None for the server inside the simulator.

    Args:
        mode: auto, openssh or asyncssh.

    Raises:
        OpenSSHUnusableError: `mode` is openssh and there is none.
    """
    if mode == "asyncssh":
        return None
    try:
        return find_openssh(search_path)
    except OpenSSHUnusableError as error:
        if mode == "openssh":
            raise
        log.warning("sshd_missing", error_detail=str(error), fallback="asyncssh")
        return None


class Machines:
    """The machines of all pods; effects on one pod happen in order."""

    def __init__(
        self,
        world: World,
        state_dir: Path,
        openssh: OpenSSH | None,
        *,
        append_log: Callable[[str, str, str], None],
    ) -> None:
        self._world = world
        self.state_dir = state_dir
        self._openssh = openssh
        self._append_log = append_log
        self._servers: dict[str, Server] = {}
        self._proxied: dict[str, PodSessions] = {}
        self._ports: dict[str, set[int]] = {}
        self._tails: dict[str, asyncio.Task[None]] = {}

    @property
    def has_pod_users(self) -> bool:
        """Tell whether a program in a pod need not be this machine's root."""
        if os.geteuid() != 0:
            return True
        return self.ssh_server == "OpenSSH" and can_separate()

    @property
    def ssh_server(self) -> str:
        """Name the server that the pods' SSH port is served by."""
        return "asyncssh" if self._openssh is None else "OpenSSH"

    def directory(self, pod_id: str) -> PodDirectory:
        """Return where a pod's files lie."""
        shared = self._world.get_pod(pod_id).spec.network_volume_id
        return PodDirectory(
            self.state_dir / "pods" / pod_id, self._volume(shared) if shared else None
        )

    def _volume(self, volume_id: str) -> Path:
        return self.state_dir / "volumes" / volume_id

    def delete_volume(self, volume_id: str) -> None:
        """Remove a network volume's data."""
        shutil.rmtree(self._volume(volume_id), ignore_errors=True)

    def perform(self, effects: Iterable[Effect]) -> None:
        """Queue effects; those on one pod run one after the other."""
        for effect in effects:
            pod_id = effect.pod.id
            before = self._tails.get(pod_id)
            task = asyncio.get_running_loop().create_task(self._after(before, effect))
            self._tails[pod_id] = task

    async def _after(self, before: asyncio.Task[None] | None, effect: Effect) -> None:
        if before is not None:
            await asyncio.wait([before])
        pod = effect.pod
        try:
            if isinstance(effect, BootMachine):
                await self._boot(pod)
            else:
                await self._stop(effect)
        except (ServerStartError, OSError) as error:
            log.error(  # noqa: TRY400 - the sentence says it; no traceback
                "machine_failed", pod_id=pod.id, error_detail=str(error)
            )
            self._append_log(pod.id, "system", f"error: {error}")

    def process_ids(self) -> dict[str, list[int]]:
        """Return the simulator's own processes for each pod that has a machine."""
        return {
            pod_id: [
                *server.process_ids,
                *(self._proxied[pod_id].process_ids if pod_id in self._proxied else ()),
            ]
            for pod_id, server in self._servers.items()
        }

    def sessions_in(self, pod: Pod) -> PodSessions | None:
        """Return the proxy's way into a pod; None where no container runs."""
        if pod.id not in self._servers:
            return None
        if pod.id not in self._proxied:
            env = {"PATH": os.environ.get("PATH", os.defpath)}
            self._proxied[pod.id] = PodSessions(self.directory(pod.id), env)
        return self._proxied[pod.id]

    @property
    def is_busy(self) -> bool:
        """Say whether an effect is still being performed."""
        return any(not task.done() for task in self._tails.values())

    async def close(self) -> None:
        """End every machine at once, whatever is under way."""
        tasks = [task for task in self._tails.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ending = [*self._servers.values(), *self._proxied.values()]
        await asyncio.gather(*(server.stop(0) for server in ending))
        self._servers.clear()
        self._proxied.clear()

    async def _boot(self, pod: Pod) -> None:
        if not self._is_wanted(pod):
            return
        directory = self.directory(pod.id)
        directory.make()
        for attempt in range(1, START_ATTEMPTS + 1):
            ports = self._pick_ports(pod)
            try:
                server = await self._start_server(pod, directory, ports)
            except ServerStartError as error:
                if attempt == START_ATTEMPTS:
                    raise
                log.warning("machine_start_retried", error_detail=str(error))
                continue
            break
        self._servers[pod.id] = server
        self._ports.setdefault(pod.id, set()).update(ports.values())
        if not self._world.attach(pod.id, pod.start_number, tuple(ports.items())):
            await self._end(pod.id, 0)
            return
        log.info("machine_booted", pod_id=pod.id, port=ports.get(SSH_PORT))

    def _is_wanted(self, pod: Pod) -> bool:
        now = self._world.get_pod(pod.id)
        return now.is_running and now.start_number == pod.start_number

    async def _start_server(
        self, pod: Pod, directory: PodDirectory, ports: Mapping[int, int]
    ) -> Server:
        path = os.environ.get("PATH", os.defpath)
        bash = shutil.which("bash", path=path) or "/bin/sh"
        env = {"PATH": path} | pod_environment(pod, directory, ports)
        host_key = generate_host_key(f"root@{pod.id}")
        directory.write_access(pod, env, host_key.private_text, bash)
        has_keys = bool(directory.authorized_keys.read_text())
        # rule SIM-HALF-7, rule SIM-HALF-8
        is_broken = pod.boot.mishap in {Mishap.CRASH_LOOP, Mishap.SSHD_NEVER}
        # rule SIM-SSH-3
        if SSH_PORT not in ports or not has_keys or is_broken:
            supervised = await Supervised.start(
                ["sleep", "infinity"],
                env=env,
                cwd=directory.home,
                territory=directory.root,
                streams=Streams(),
            )
            return Idle(supervised)
        server: Server
        if self._openssh is None:
            server = await AsyncSSHServer.start(
                directory, {"PATH": path}, ports[SSH_PORT]
            )
        else:
            server = await OpenSSHServer.start(
                self._openssh, directory, ports[SSH_PORT]
            )
        self._log_fingerprint(pod, host_key.fingerprint)
        return server

    def _log_fingerprint(self, pod: Pod, fingerprint: str) -> None:
        # rule SIM-SSH-4
        line = f"256 {fingerprint} root@{pod.id} (ED25519)"
        for text in (
            "Setting up SSH...",
            "ED25519 key fingerprint:",
            line,
            "SSH host keys:",
            "Key: /etc/ssh/ssh_host_ed25519_key.pub",
            line,
            "Start script(s) finished, Pod is ready to use.",
        ):
            self._append_log(pod.id, "container", text)

    def _pick_ports(self, pod: Pod) -> dict[int, int]:
        """Return a fresh public port for each TCP port the pod asked for."""
        # rule SIM-PORT-1
        taken = {port for ports in self._ports.values() for port in ports}
        sockets: list[socket.socket] = []
        ports: dict[int, int] = {}
        try:
            for private in parse_ports(pod, "tcp"):
                while True:
                    sockets.append(socket.socket())
                    sockets[-1].bind(("127.0.0.1", 0))
                    port = sockets[-1].getsockname()[1]
                    if port not in taken:
                        break
                ports[private] = port
        finally:
            for opened in sockets:
                opened.close()
        return ports

    async def _stop(self, effect: StopMachine) -> None:
        pod_id = effect.pod.id
        await self._end(pod_id, effect.grace_seconds)
        directory = self.directory(pod_id)
        if effect.delete_volume:
            directory.delete()
            self._ports.pop(pod_id, None)
        else:
            directory.wipe()
        log.info("machine_stopped", pod_id=pod_id)

    async def _end(self, pod_id: str, grace_seconds: float) -> None:
        sessions = self._proxied.pop(pod_id, None)
        if sessions is not None:
            await sessions.stop(grace_seconds)
        server = self._servers.get(pod_id)
        if server is not None:
            await server.stop(grace_seconds)
            del self._servers[pod_id]
