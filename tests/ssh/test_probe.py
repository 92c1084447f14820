"""Probing over SSH: one round trip, one connection for many looks, and what fails."""

import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import Pod, PodStatus
from runpod_ssh import (
    Bounds,
    Connection,
    Credentials,
    HostKeyVerifier,
    ProbeError,
    SSHUnreachableError,
    connect,
)
from runpod_ssh.probe import PodLink, Reading, take_probe, watch_pod
from support.busybox import busybox_path
from support.sshd import Sshd, SshdFactory

NOW = datetime(2026, 11, 22, tzinfo=UTC)
POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="",
    gpu_count=0,
    image="runpod/base",
    price_usd_per_hour=Decimal(0),
)
OpenLink = Callable[[], AbstractAsyncContextManager[PodLink]]


@contextlib.asynccontextmanager
async def linked(sshd: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
        bounds=Bounds(total_seconds=5),
    ) as connection:
        yield connection


def opener(sshd: Sshd, host_keys: HostKeyVerifier, pod: Pod) -> OpenLink:
    @contextlib.asynccontextmanager
    async def open_link() -> AsyncIterator[PodLink]:
        async with linked(sshd, host_keys) as connection:
            yield PodLink(pod=pod, connection=connection)

    return open_link


def logins(sshd: Sshd) -> int:
    return sshd.log_text.count("Accepted publickey")


async def test_pod_tells_its_figures(sshd: Sshd, host_keys: HostKeyVerifier) -> None:
    async with linked(sshd, host_keys) as connection:
        probe = await take_probe(connection, now=lambda: NOW)

    assert probe.taken_at == NOW
    assert probe.hostname == os.uname().nodename
    assert probe.cpu.processor_count == len(os.sched_getaffinity(0))
    assert probe.memory.used_bytes
    assert probe.disks[0].path == "/"
    assert probe.elapsed_seconds > 0


async def test_pod_of_busybox_tells_its_figures(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    sshd = sshd_factory(path=busybox_path(tmp_path / "bin"))

    async with linked(sshd, host_keys) as connection:
        probe = await take_probe(connection)

    assert probe.memory.used_bytes
    assert probe.disks[0].path == "/"


async def test_pod_with_gpus_tells_of_each(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\ncase $1 in --query-gpu=*) for i in 0 1 2 3 4 5 6 7; do echo "
        '"$i, GPU-$i, 0:$i:0.0, H100, 550, 9$i, 1, 2, 81559, 30, 70, 700, [N/A]"\n'
        "done;; esac\n"
    )
    program.chmod(0o755)
    sshd = sshd_factory(path=f"{program.parent}:{os.environ['PATH']}")

    async with linked(sshd, host_keys) as connection:
        probe = await take_probe(connection)

    assert probe.gpus is not None
    assert [gpu.utilization_percent for gpu in probe.gpus] == [*range(90, 98)]
    assert probe.gpu_processes == ()


async def test_login_shell_that_talks_is_no_hindrance(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    # bash reads this file for commands that come over SSH
    (sshd.home / ".bashrc").write_text("echo 'Welcome to #probe'\n")

    async with linked(sshd, host_keys) as connection:
        probe = await take_probe(connection)

    assert probe.hostname == os.uname().nodename


async def test_pod_that_does_not_answer_is_given_up_in_time(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier
) -> None:
    sshd = sshd_factory(extra_config="ForceCommand sleep 60")
    started = time.monotonic()

    async with linked(sshd, host_keys) as connection:
        with pytest.raises(ProbeError, match="did not tell its figures within 1 s"):
            await take_probe(connection, timeout=1)

    assert time.monotonic() - started < 10


async def test_pod_that_answers_something_else_says_what(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier
) -> None:
    sshd = sshd_factory(extra_config="ForceCommand echo no way in >&2; exit 1")

    async with linked(sshd, host_keys) as connection:
        with pytest.raises(ProbeError, match="figures; it said: no way in") as caught:
            await take_probe(connection)

    assert caught.value.address == sshd.address


async def watch(
    open_link: OpenLink, pauses: list[float], *, gpu_seconds: int = 5
) -> list[Reading]:
    looks = watch_pod("train", open_link, pauses=pauses, gpu_seconds=gpu_seconds)
    async with contextlib.aclosing(looks) as readings:
        return [reading async for reading in readings]


async def test_looks_share_one_connection_and_give_rates(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    readings = await watch(opener(sshd, host_keys, POD), [0.05, 0.05])

    assert logins(sshd) == 1
    assert [reading.error for reading in readings] == [None] * 3
    assert readings[0].rates is None
    assert readings[2].rates is not None
    assert readings[2].rates.cpu_cores is not None


async def test_look_after_a_lost_connection_makes_a_new_one(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    errors = []
    looks = watch_pod("train", opener(sshd, host_keys, POD), pauses=[0.01, 0.01])

    async with contextlib.aclosing(looks) as readings:
        async for reading in readings:
            errors.append(reading.error)
            if len(errors) == 1:
                sshd.stop()
            if len(errors) == 2:
                sshd.start()

    assert errors[0] is None
    assert isinstance(errors[1], SSHUnreachableError)
    assert errors[2] is None


async def test_pod_that_sees_fewer_gpus_than_are_rented_is_told(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    pod = dataclasses.replace(POD, gpu_count=2)

    (reading,) = await watch(opener(sshd, host_keys, pod), [])

    assert reading.probe is not None
    assert reading.probe.problems[-1].reason == "RunPod rents 2, the pod sees none"


async def test_part_that_hung_is_left_alone_at_the_next_look(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >>{asked}\nexec sleep 30\n")
    program.chmod(0o755)
    sshd = sshd_factory(path=f"{program.parent}:{os.environ['PATH']}")

    first, second = await watch(opener(sshd, host_keys, POD), [0.01], gpu_seconds=1)

    assert first.probe is not None
    assert [(p.part, p.is_timeout) for p in first.probe.problems] == [("gpus", True)]
    assert second.probe is not None
    assert second.probe.gpus is None
    assert second.probe.problems[0].reason == "nvidia-smi was not asked"
    assert len(asked.read_text().split()) == 2  # GPUs and processes, at the first look
