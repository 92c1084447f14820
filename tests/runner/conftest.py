"""A pod to install on (a real sshd with a home of its own) and a served GitHub."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner_installer import GitHub, RunnerSpec, TarballCache, parse_scope
from runner_installer.remote import SSHRemote
from runpod_client import Secret
from runpod_ssh import Credentials, HostKeyStore, HostKeyVerifier, connect
from support.forge import FAST, TOKEN, ServedForge, served_forge
from support.sshd import Sshd, SshdFactory


@dataclass(frozen=True, kw_only=True)
class Pod:
    """The machine runners are installed on, seen from inside."""

    home: Path
    sshd: Sshd

    @property
    def root(self) -> Path:
        return self.home / "actions-runner"

    def pids(self) -> list[int]:
        """Return every process that works below this pod's home."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(folder.joinpath("cwd").readlink()).startswith(str(self.root)):
                    found.append(int(folder.name))
        return found


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
    sshd = sshd_factory(extra_config=f"Match all\nSetEnv {words}\n")
    pod = Pod(home=sshd.home, sshd=sshd)
    yield pod
    for pid in pod.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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
