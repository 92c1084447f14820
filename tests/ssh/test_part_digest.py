"""Large files summed up on the pod beside their way there: every kind of pod."""

import hashlib
import os
from pathlib import Path

import pytest

from runpod_client import SSHAddress
from runpod_ssh import Credentials, HostKeyVerifier, connect, download, upload
from runpod_ssh.errors import TransferError
from runpod_ssh.part_digest import PartDigest
from runpod_ssh.parts import MIB, Range
from support.busybox import busybox_path
from support.slow_link import slow_link
from support.sshd import SshdFactory


def write_noise(path: Path, size: int) -> bytes:
    content = os.urandom(size)
    path.write_bytes(content)
    return content


def list_stages(folder: Path) -> list[Path]:
    return list(folder.glob(".runpod-ssh-*"))


@pytest.mark.parametrize("kind", ["python", "pipe"])
async def test_parts_that_arrive_in_any_order_are_summed_up_in_theirs(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path, kind: str
) -> None:
    path = os.environ["PATH"] if kind == "python" else busybox_path(tmp_path / "bin")
    pod = sshd_factory(path=path)
    one = write_noise(tmp_path / "one", 3 * MIB + 5)
    other = write_noise(tmp_path / "an other\nname", MIB)
    login = Credentials(identity_file=pod.identity_file)

    async with (
        connect(pod.address, host_keys=host_keys, credentials=login) as link,
        PartDigest(link, str(tmp_path)) as digest,
    ):
        segments = [
            digest.plan(b"one", Range(start=0, end=2 * MIB)),
            digest.plan(b"one", Range(start=2 * MIB, end=len(one))),
            digest.plan(b"an other\nname", Range(start=0, end=MIB)),
        ]
        digest.start()
        for segment in reversed(segments):
            digest.note_there(segment)
        found = await digest.finish()

    assert found == hashlib.sha256(one + other).hexdigest()


@pytest.mark.parametrize("sessions", [2, 3])
async def test_large_file_is_verified_where_sshd_allows_few_sessions(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path, sessions: int
) -> None:
    pod = sshd_factory(extra_config=f"MaxSessions {sessions}")
    source, target = tmp_path / "source", tmp_path / "target"
    content = write_noise(source, 70 * MIB + 3)
    login = Credentials(identity_file=pod.identity_file)

    async with connect(pod.address, host_keys=host_keys, credentials=login) as link:
        result = await upload(link, source, str(target))

    assert result.is_verified
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content


async def test_what_the_pod_has_lost_of_a_large_file_is_noticed(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    # a dd that writes something else, as a bad disk does
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "dd").write_text(
        '#!/bin/sh\ncase $* in *if=/dev/null*) exec /bin/dd "$@" ;; esac\n'
        "tr '\\000-\\177' '\\200-\\377' | /bin/dd \"$@\"\n"
    )
    (broken / "dd").chmod(0o755)
    pod = sshd_factory(path=f"{broken}:{os.environ['PATH']}")
    source, target = tmp_path / "source", tmp_path / "target"
    write_noise(source, 9 * MIB)
    login = Credentials(identity_file=pod.identity_file)

    async with connect(pod.address, host_keys=host_keys, credentials=login) as link:
        with pytest.raises(TransferError, match="differs from its source"):
            await upload(link, source, str(target))

    assert not target.exists()
    assert list_stages(tmp_path) == []


async def test_tree_of_large_and_small_files_is_verified_whole(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    pod = sshd_factory()
    login = Credentials(identity_file=pod.identity_file)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    small = write_noise(source / "a", 10)
    large = write_noise(source / "b", 9 * MIB + 1)
    more = write_noise(source / "c", 20)

    async with connect(pod.address, host_keys=host_keys, credentials=login) as link:
        result = await upload(link, source, str(target))

    assert result.is_verified
    assert result.sha256 == hashlib.sha256(large + small + more).hexdigest()
    assert (target / "b").read_bytes() == large


async def test_large_file_comes_whole_over_a_long_link(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    pod = sshd_factory()
    login = Credentials(identity_file=pod.identity_file)
    source, target = tmp_path / "source", tmp_path / "target"
    content = write_noise(source, 60 * MIB + 7)

    async with slow_link(pod.port, rtt_seconds=0.02) as port:
        far = SSHAddress(host="127.0.0.1", port=port)
        async with connect(far, host_keys=host_keys, credentials=login) as link:
            result = await upload(link, source, str(target))

    assert result.is_verified
    assert target.read_bytes() == content


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("python", ["exit 3", 'exec /usr/bin/env python3 "$@"'])
async def test_tree_is_verified_whether_or_not_the_pods_python_can(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    tmp_path: Path,
    way: str,
    python: str,
) -> None:
    path = busybox_path(tmp_path / "applets")
    stub = tmp_path / "applets" / "python3"
    stub.write_text(f"#!/bin/sh\nPATH={os.environ['PATH']}\n{python}\n")
    stub.chmod(0o755)
    pod = sshd_factory(path=path)
    login = Credentials(identity_file=pod.identity_file)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    contents = [
        write_noise(source / name, size)
        for name, size in (("a b", 5), ("new\nline", MIB + 1), ("z", 0))
    ]

    async with connect(pod.address, host_keys=host_keys, credentials=login) as link:
        if way == "up":
            result = await upload(link, source, str(target))
        else:
            result = await download(link, str(source), target)

    assert result.is_verified
    copied = [path.read_bytes() for path in sorted(target.iterdir())]
    assert copied == contents
