"""A pod gets another login key while it runs; at every moment one key lets us in."""

import asyncio
import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import Identity, IdentityStore, Pod, PodStatus
from runpod_ssh import HostKeyStore, SSHAuthenticationError, connect_pod
from runpod_ssh.connection import Connection
from runpod_ssh.model import Credentials, PodTarget
from runpod_ssh.rotation import fingerprint_of, rotate, with_identity
from support.sshd import Sshd, SshdFactory

OWN_LINES = (
    "# mine, with a star * and a \\ backslash\n"
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAPtW6U2mqCnqBOU5Fp5pNt5zZOhpTgB8IoGlrk6y+yp me"
)
STARTED_AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Desk:
    """A pod that reads ~/.ssh/authorized_keys, and the key pair made for it."""

    sshd: Sshd
    store: IdentityStore
    host_keys: HostKeyStore
    pod: Pod

    @property
    def authorized_keys(self) -> Path:
        return self.sshd.home / ".ssh" / "authorized_keys"

    def identity(self) -> Identity:
        """Return the identity as a command would find it now."""
        found = self.store.find("abc", start=STARTED_AT.isoformat())
        assert found is not None
        return found

    def target(self) -> PodTarget:
        bare = PodTarget(
            pod=self.pod,
            address=self.sshd.address,
            identity=None,
            credentials=Credentials(),
        )
        return with_identity(bare, self.identity())

    def connect(self, target: PodTarget) -> AbstractAsyncContextManager[Connection]:
        return connect_pod(target, host_keys=self.host_keys)

    async def rotate(self) -> tuple[str, ...]:
        done = await rotate(
            self.target(), name="abc", identities=self.store, connect=self.connect
        )
        assert done.fingerprint == fingerprint_of(self.identity().public_key)
        return done.retired

    async def is_let_in(self, target: PodTarget) -> bool:
        try:
            async with self.connect(target):
                return True
        except SSHAuthenticationError:
            return False


def lay_out(sshd: Sshd, folder: Path) -> Desk:
    """Make an identity and let it in, beside a key of the user's own."""
    store = IdentityStore(folder / "state" / "identities")
    identity = store.create("abc")
    pod = Pod(
        pod_id="pod1",
        name="train",
        status=PodStatus.RUNNING,
        gpu_type="NVIDIA L4",
        gpu_count=1,
        image="runpod/base",
        price_usd_per_hour=Decimal(1),
        started_at=STARTED_AT,
    )
    desk = Desk(sshd, store, HostKeyStore(folder / "state" / "host_keys"), pod)
    desk.authorized_keys.parent.mkdir(mode=0o700)
    # no newline at the end, as many a hand leaves it
    desk.authorized_keys.write_text(f"{identity.public_key}\n{OWN_LINES}")
    (sshd.folder / "authorized_keys").unlink()
    (sshd.folder / "authorized_keys").symlink_to(desk.authorized_keys)
    return desk


@pytest.fixture
def desk(sshd: Sshd, tmp_path: Path) -> Desk:
    return lay_out(sshd, tmp_path)


def keep_key(desk: Desk, folder: Path) -> PodTarget:
    """Return a way to log in with the present key whatever becomes of its file."""
    present = desk.identity()
    passphrase = present.read_passphrase()
    copy = folder / "kept_key"
    shutil.copy(present.private_key_file, copy)
    kept = replace(present, private_key_file=copy, read_passphrase=lambda: passphrase)
    return with_identity(desk.target(), kept)


async def test_rotated_pod_lets_the_new_key_in_and_refuses_the_old_at_once(
    desk: Desk, tmp_path: Path
) -> None:
    old = keep_key(desk, tmp_path)
    assert await desk.is_let_in(old)

    retired = await desk.rotate()

    assert not await desk.is_let_in(old)
    assert await desk.is_let_in(desk.target())
    assert old.identity is not None
    assert retired[-1] == fingerprint_of(old.identity.public_key)
    lines = desk.authorized_keys.read_text()
    assert lines == f"{OWN_LINES}\n{desk.identity().public_key}\n"
    assert desk.authorized_keys.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in desk.authorized_keys.parent.iterdir()] == [
        "authorized_keys"
    ]


async def test_rotation_can_be_repeated_and_each_key_dies_with_its_successor(
    desk: Desk, tmp_path: Path
) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        old = keep_key(desk, folder)
        await desk.rotate()
        assert not await desk.is_let_in(old)

    assert await desk.is_let_in(desk.target())
    assert desk.authorized_keys.read_text().count("runpod-abc") == 1


async def test_pod_that_reads_its_keys_elsewhere_keeps_the_old_key(
    desk: Desk,
) -> None:
    elsewhere = desk.sshd.folder / "authorized_keys"
    elsewhere.unlink()
    shutil.copy(desk.authorized_keys, elsewhere)
    before = desk.identity()

    with pytest.raises(SSHAuthenticationError, match="does not accept") as caught:
        await desk.rotate()

    assert "AuthorizedKeysFile" in caught.value.hint
    assert desk.identity() == before
    assert await desk.is_let_in(desk.target())
    assert desk.authorized_keys.read_text().count("runpod-abc") == 1
    assert not (before.private_key_file.parent / "id_ed25519.next").exists()


async def test_new_start_of_the_pod_is_met_with_its_first_key(desk: Desk) -> None:
    boot_lines = desk.authorized_keys.read_text()
    first = desk.identity()
    target = desk.target()
    await desk.rotate()
    # a start makes the file anew from the pod's environment
    desk.authorized_keys.write_text(boot_lines)

    found = desk.store.find("abc", start="a later start")

    assert found == first
    assert await desk.is_let_in(with_identity(target, found))


@pytest.mark.parametrize("shell", ["busybox", "dash"])
async def test_pod_needs_no_more_than_a_plain_shell(
    sshd_factory: SshdFactory, tmp_path: Path, shell: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    busybox = shutil.which("busybox")
    if shell == "busybox" and busybox:
        for name in ("sh", "mkdir", "mv", "cat", "rm", "dd", "env"):
            (programs / name).symlink_to(busybox)
    desk = lay_out(sshd_factory(path=f"{programs}:{os.environ['PATH']}"), tmp_path)
    desk.authorized_keys.rename(desk.authorized_keys.with_name("kept"))
    desk.authorized_keys.symlink_to("kept")  # a link is followed, not replaced

    await desk.rotate()

    assert desk.authorized_keys.is_symlink()
    assert await desk.is_let_in(desk.target())
    kept = desk.authorized_keys.read_text()
    assert kept == f"{OWN_LINES}\n{desk.identity().public_key}\n"


def rotate_and_kill(desk: Desk, folder: Path, wait_seconds: float | None) -> float:
    """Rotate in a process that is killed so long after it began; return its time.

    Args:
        wait_seconds: None lets it come to its end.
    """
    given = pickle.dumps((desk.pod, desk.sshd.address, folder / "state")).hex()
    with subprocess.Popen(
        [sys.executable, "-c", ROTATION, given], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60 if wait_seconds is None else wait_seconds)
        process.kill()
        return time.monotonic() - began


ROTATION = """
import asyncio, pickle, sys
from runpod_client import IdentityStore, SSHAddress
from runpod_ssh import HostKeyStore, connect_pod, rotation
from runpod_ssh.model import PodTarget
pod, address, state = pickle.loads(bytes.fromhex(sys.argv[1]))
store = IdentityStore(state / "identities")
host_keys = HostKeyStore(state / "host_keys")
bare = PodTarget(pod=pod, address=address, identity=None)
found = store.find("abc", start=pod.started_at.isoformat())
target = rotation.with_identity(bare, found)
print("begins", flush=True)
asyncio.run(rotation.rotate(target, name="abc", identities=store,
    connect=lambda t: connect_pod(t, host_keys=host_keys)))
"""


@pytest.mark.parametrize(
    "kills", [5, pytest.param(120, marks=[pytest.mark.heavy, pytest.mark.timeout(900)])]
)
async def test_rotation_killed_at_any_moment_leaves_a_way_in(
    desk: Desk, tmp_path: Path, kills: int
) -> None:
    whole_seconds = 0.0
    for number in range(kills + 1):
        wait_seconds = whole_seconds * number / kills if number else None
        took = await asyncio.to_thread(rotate_and_kill, desk, tmp_path, wait_seconds)
        whole_seconds = whole_seconds or took

        assert await desk.is_let_in(desk.target())

    retired = await desk.rotate()
    assert retired
    assert desk.authorized_keys.read_text().count("runpod-abc") == 1
    assert await desk.is_let_in(desk.target())
