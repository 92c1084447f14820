"""A pod to install on (a real sshd with a home and users of its own) and a GitHub.

Where the tests run as root the pod's sessions enter a mount namespace in which the
runners' users are made, as a simulated pod's do; elsewhere runners run as the login's
user.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner_installer import GitHub, RunnerSpec, TarballCache, parse_scope
from runner_installer.remote import SSHRemote
from runpod_client import Secret
from runpod_sim.pod_users import MARK, PodUsers, can_separate
from runpod_ssh import Credentials, HostKeyStore, HostKeyVerifier, connect
from support.forge import FAST, TOKEN, ServedForge, served_forge
from support.sshd import Sshd, SshdFactory
from support.waiting import wait_for

# users can be made only by root, and only where it may mount
collect_ignore = [] if can_separate() else ["test_users.py"]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """The machine runners are installed on, seen from inside."""

    home: Path
    sshd: Sshd
    users: PodUsers

    @property
    def root(self) -> Path:
        return self.home / "actions-runner"

    def app(self, name: str) -> Path:
        """Return the folder a runner's package was unpacked into."""
        if can_separate():
            (home,) = self.users.homes.iterdir()
            return home / "actions-runner" / name
        return self.root / name / "runner"

    def files(self) -> list[Path]:
        """Return every file of the pod, the users' own too."""
        places = (self.home, self.users.homes)
        return [p for place in places for p in place.rglob("*") if p.is_file()]

    def pids(self) -> list[int]:
        """Return every process that works below this pod's folders."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                where = str(folder.joinpath("cwd").readlink())
                if where.startswith(str(self.root)) or self._is_of_a_user(folder):
                    found.append(int(folder.name))
        return found

    def _is_of_a_user(self, folder: Path) -> bool:
        uids = {home.stat().st_uid for home in self.users.homes.iterdir()}
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        return folder.stat().st_uid in uids - {0, os.getuid()} and stat[0] != "Z"


@pytest.fixture
def forge() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


@pytest.fixture
def pod(tmp_path: Path, sshd_factory: SshdFactory, forge: ServedForge) -> Iterator[Pod]:
    del forge  # only so that runners end before the GitHub they are polling
    # a later SetEnv counts only in a Match block
    home = tmp_path / "sshd0" / "home"
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), **FAST}
    words = " ".join(f"{key}={value}" for key, value in variables.items())
    users = PodUsers(tmp_path / "users")
    users.make()
    config = f"Match all\nSetEnv {words}\n"
    with contextlib.ExitStack() as stack:
        if can_separate():
            keeper = stack.enter_context(namespace_of(users))
            config += f"ForceCommand {write_entry(tmp_path, keeper)}\n"
        sshd = sshd_factory(extra_config=config)
        pod = Pod(home=sshd.home, sshd=sshd, users=users)
        yield pod
        for pid in pod.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def namespace_of(users: PodUsers) -> Iterator[int]:
    """Keep a mount namespace with these users; gives a process that lives in it."""
    keeper = subprocess.Popen(users.wrap(["sleep", "600"]))
    try:
        mark = Path("/proc", str(keeper.pid), "root", "etc", MARK)
        wait_for(mark.exists, what="the namespace is ready")
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait(timeout=10)


def write_entry(folder: Path, keeper: int) -> Path:
    """Write the script by which a login enters a namespace."""
    entry = folder / "enter"
    shell = shutil.which("bash") or "/bin/sh"
    entry.write_text(
        f"#!{shell}\nexec nsenter --mount=/proc/{keeper}/ns/mnt -- "
        f'{shell} -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    entry.chmod(0o755)
    return entry


@pytest.fixture
async def remote(pod: Pod, tmp_path: Path) -> AsyncIterator[SSHRemote]:
    verifier = HostKeyVerifier(
        HostKeyStore(tmp_path / "host_keys"), pod_id="pod1", start="first"
    )
    async with connect(
        pod.sshd.address,
        host_keys=verifier,
        credentials=Credentials(identity_file=pod.sshd.identity_file),
    ) as connection:
        yield SSHRemote(connection)


@pytest.fixture
def github(forge: ServedForge) -> Iterator[GitHub]:
    with open_forge(forge) as opened:
        yield opened


@pytest.fixture
def tarballs(github: GitHub, tmp_path: Path) -> TarballCache:
    return TarballCache(tmp_path / "cache", github.download)


@pytest.fixture
def spec() -> RunnerSpec:
    return RunnerSpec(
        name="runpod-pod1-a1b2c3", scope=parse_scope("acme/widgets"), labels=("gpu",)
    )


def open_forge(forge: ServedForge, *, token: str = TOKEN) -> GitHub:
    """Return our client for a served forge, in a hurry."""
    return GitHub(
        api_url=f"{forge.base_url}/api/v3",
        token=Secret(token),
        timeout_seconds=10,
        rate_limit_wait_seconds=2,
        retry_wait_seconds=0.01,
    )
