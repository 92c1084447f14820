"""Many real OpenSSH servers at once, one per pretended pod, cheaply made.

All take the same login key; each has a host key, a port and a log of its own, and the
stock limits MaxStartups 10:30:100 and MaxSessions 10. As a program,
`sshd_farm.py FOLDER COUNT` serves until its standard input ends, and prints a line of
JSON: where the servers are and how to log in.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import asyncssh

from runpod_client import Pod, PodStatus
from runpod_ssh import Credentials, PodTarget
from support.sshd import Sshd, parents_by_pid, shimmed_environ

STOCK_MAX_STARTUPS = "10:30:100"
# what sshd's log says when it turns somebody away, or is about to
DROPS = ("MaxStartups throttling", "drop connection")


@dataclass(frozen=True)
class SshdFarm:
    """The servers, and each as the pod that it stands for."""

    servers: list[Sshd]
    identity_file: Path

    def target(self, number: int, *, started_at: datetime | None = None) -> PodTarget:
        """Return how to reach a server; its pod is named after its number."""
        server = self.servers[number]
        pod = Pod(
            pod_id=f"pod{number}",
            name=f"trainer-{number}",
            status=PodStatus.RUNNING,
            gpu_type="NVIDIA L4",
            gpu_count=1,
            image="runpod/base",
            price_usd_per_hour=Decimal(0),
            started_at=started_at,
        )
        return PodTarget(
            pod=pod,
            address=server.address,
            identity=None,
            credentials=Credentials(identity_file=self.identity_file),
        )

    @property
    def targets(self) -> list[PodTarget]:
        return [self.target(number) for number in range(len(self.servers))]

    def count_logins(self) -> int:
        """Return how many connections logged in so far, over all servers."""
        return sum(
            server.log_text.count("Accepted publickey") for server in self.servers
        )

    def count_refused_sessions(self) -> int:
        """Return how often MaxSessions was met, over all servers."""
        return sum(server.log_text.count("no more sessions") for server in self.servers)

    def list_drops(self) -> list[str]:
        """Return every line in which a server turned a connection away."""
        return [
            line
            for server in self.servers
            for line in server.log_text.splitlines()
            if any(text in line for text in DROPS)
        ]

    def cut(self, number: int) -> None:
        """End the sessions of a server, which goes on to take new ones.

        What they run is not ended. From OpenSSH 9.8 on a session has two processes.
        """
        for pid in self.servers[number].family()[1:]:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)

    def resume(self) -> None:
        """Undo `Sshd.pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all servers and every session they have."""
        living = [server.process for server in self.servers if server.process]
        self._signal(signal.SIGKILL)
        for process in living:
            process.wait(timeout=10)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all servers and their sessions, parents first."""
        below: dict[int, list[int]] = {}
        for pid, parent in parents_by_pid().items():
            below.setdefault(parent, []).append(pid)
        family = [server.process.pid for server in self.servers if server.process]
        for pid in family:
            family.extend(below.get(pid, ()))
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def sshd_farm(
    folder: Path, count: int, *, extra_config: str = ""
) -> Iterator[SshdFarm]:
    """Start that many servers; they live until the block ends."""
    farm = SshdFarm([], folder / "identity")
    _write_key(farm.identity_file)
    for number in range(count):
        farm.servers.append(_prepare(farm, folder / str(number), extra_config))
    try:
        with ThreadPoolExecutor(8) as starters:
            for _started in starters.map(Sshd.start, farm.servers):
                pass
        yield farm
    finally:
        farm.stop()


def _prepare(farm: SshdFarm, folder: Path, extra_config: str) -> Sshd:
    home = folder / "home"
    home.mkdir(parents=True)
    _write_key(folder / "host_key")
    shutil.copy(farm.identity_file.with_suffix(".pub"), folder / "authorized_keys")
    return Sshd(
        folder=folder,
        home=home,
        identity_file=farm.identity_file,
        environ=shimmed_environ(folder, home),
        max_startups=STOCK_MAX_STARTUPS,
        extra_config=extra_config,
    )


def _write_key(path: Path) -> None:
    """Make an ed25519 key pair; in this process, for ssh-keygen starts slowly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    path.with_suffix(".pub").write_bytes(key.export_public_key())


def _main(folder: Path, count: int) -> None:
    with sshd_farm(folder, count) as farm:
        told = {
            "identity_file": str(farm.identity_file),
            "ports": [server.port for server in farm.servers],
            "host_keys": [
                (server.folder / "host_key.pub").read_text().strip()
                for server in farm.servers
            ],
        }
        print(json.dumps(told), flush=True)  # noqa: T201  # what the program is for
        sys.stdin.read()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
