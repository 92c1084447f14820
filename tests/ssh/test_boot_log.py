"""A pod's boot log vouches for its host key, against whoever sits in between."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from runpod_client import CapabilityMissingError, LogLine, Pod, PodStatus
from runpod_ssh import Bounds, HostKeyError, HostKeyPolicy, HostKeyStore
from runpod_ssh.boot_log import connect_vouched, read_fingerprints
from runpod_ssh.model import Credentials, PodTarget
from support.sshd import Sshd

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OTHER = "SHA256:" + "A" * 43
POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="runpod/base",
    price_usd_per_hour=Decimal(1),
    started_at=STARTED_AT,
)


def line(text: str, seconds: float = 5.0) -> LogLine:
    """Return a line written so long after the pod's start."""
    moment = STARTED_AT + timedelta(seconds=seconds)
    return LogLine(text=text, is_system=False, written_at=moment)


def printed(fingerprint: str, kind: str = "ED25519", seconds: float = 5.0) -> LogLine:
    return line(f"256 {fingerprint} root@e0b7ac8b7a9c ({kind})", seconds)


@dataclass
class Log:
    """RunPod's answer: some lines at once, then nothing more until it is let go."""

    lines: Sequence[LogLine] = ()
    is_endless: bool = False
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def read_logs(
        self,
        pod_id: str,
        *,
        is_system: bool,
        tail: int = 200,
        until: Callable[[LogLine], bool] | None = None,
    ) -> list[LogLine]:
        assert not is_system
        self.asked.append(pod_id)
        if self.error is not None:
            raise self.error
        for one in self.lines[-tail:]:
            if until is not None and until(one):
                return list(self.lines)
        if self.is_endless:
            self.released.wait(30)
        return list(self.lines)


@pytest.fixture
def target(sshd: Sshd) -> PodTarget:
    return PodTarget(
        pod=POD,
        address=sshd.address,
        identity=None,
        credentials=Credentials(identity_file=sshd.identity_file),
    )


async def visit(
    target: PodTarget,
    log: Log,
    store: HostKeyStore,
    policy: HostKeyPolicy = HostKeyPolicy.TRUST_ON_FIRST_USE,
    *,
    read_seconds: float = 3.0,
) -> None:
    async with connect_vouched(
        target,
        log=log,
        host_keys=store,
        policy=policy,
        bounds=Bounds(total_seconds=20),
        read_seconds=read_seconds,
    ) as connection:
        assert (await connection.run("true", timeout=30)).exit_status == 0


async def test_printed_key_is_pinned_as_verified(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(OTHER, "RSA"), printed(sshd.fingerprint)])

    await visit(target, log, store)

    pin = store.find("pod1")
    assert pin is not None
    assert (pin.trust, pin.fingerprint) == ("verified", sshd.fingerprint)
    assert pin.host_key is not None
    assert pin.others == ()


async def test_key_that_was_not_printed_is_refused_before_anything_is_sent(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(OTHER)])
    ran = False

    with pytest.raises(HostKeyError) as caught:
        async with connect_vouched(target, log=log, host_keys=store):
            ran = True

    assert not ran
    assert caught.value.expected_fingerprint == OTHER
    assert caught.value.offered_fingerprint == sshd.fingerprint
    assert f"keys trust pod1 {sshd.fingerprint}" in caught.value.hint
    with pytest.raises(HostKeyError):  # now without the log: it is known who it must be
        await visit(target, Log(), store)


async def test_person_can_overrule_the_log(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(OTHER)])
    with pytest.raises(HostKeyError):
        await visit(target, log, store)

    store.vouch("pod1", STARTED_AT.isoformat(), [sshd.fingerprint])
    await visit(target, log, store)

    pin = store.find("pod1")
    assert pin is not None
    assert pin.fingerprint == sshd.fingerprint


@pytest.mark.parametrize(
    "log",
    [
        Log(),
        Log([line("Pod Started"), line("Start script(s) finished")]),
        Log([printed(OTHER, seconds=-60)]),
        Log(error=CapabilityMissingError("GraphQL has no logs")),
    ],
    ids=["empty", "says nothing", "speaks of an earlier start", "no such log"],
)
async def test_without_a_word_of_the_log_the_first_use_is_trusted(
    sshd: Sshd, target: PodTarget, store: HostKeyStore, log: Log
) -> None:
    await visit(target, log, store)

    pin = store.find("pod1")
    assert pin is not None
    assert (pin.trust, pin.fingerprint) == ("first-use", sshd.fingerprint)


async def test_log_that_hangs_is_waited_for_within_its_own_bound(
    target: PodTarget, store: HostKeyStore
) -> None:
    log = Log(is_endless=True)
    began = time.monotonic()

    await visit(target, log, store, read_seconds=1.0)

    took = time.monotonic() - began
    log.released.set()
    assert 1.0 <= took < 6.0
    pin = store.find("pod1")
    assert pin is not None
    assert pin.trust == "first-use"


async def test_right_key_is_not_waited_for_longer_than_its_line(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(sshd.fingerprint)], is_endless=True)
    began = time.monotonic()

    await visit(target, log, store, read_seconds=60.0)

    took = time.monotonic() - began
    log.released.set()
    assert took < 20.0


async def test_pinned_start_is_not_asked_about_again(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(sshd.fingerprint)])
    for _ in range(3):
        await visit(target, log, store)
    assert log.asked == ["pod1"]

    newer = replace(target.pod, started_at=STARTED_AT + timedelta(hours=1))
    await visit(replace(target, pod=newer), log, store)

    assert log.asked == ["pod1", "pod1"]


async def test_strict_accepts_a_key_the_log_vouches_for(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    with pytest.raises(HostKeyError, match="no host key is pinned"):
        await visit(target, Log(), store, HostKeyPolicy.STRICT)

    log = Log([printed(sshd.fingerprint)])
    await visit(target, log, store, HostKeyPolicy.STRICT)

    pin = store.find("pod1")
    assert pin is not None
    assert pin.trust == "verified"


async def test_log_is_not_asked_where_host_keys_are_not_checked(
    target: PodTarget, store: HostKeyStore
) -> None:
    log = Log([printed(OTHER)])

    await visit(target, log, store, HostKeyPolicy.OFF)

    assert log.asked == []


async def test_connection_that_fails_leaves_the_log_behind(
    sshd: Sshd, target: PodTarget, store: HostKeyStore
) -> None:
    sshd.stop()
    log = Log(is_endless=True)
    began = time.monotonic()

    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        await visit(target, log, store, read_seconds=60.0)

    log.released.set()
    assert time.monotonic() - began < 20.0
    await asyncio.sleep(0)  # what the reader still says reaches nobody


def test_fingerprints_are_read_from_the_lines_of_runpods_images() -> None:
    key = {kind: "SHA256:" + kind[1] * 43 for kind in ("ED25519", "ECDSA", "RSA")}
    lines = [
        line("Setting up SSH..."),
        line("Generating public/private rsa key pair."),
        line("RSA key fingerprint:"),
        line(f"3072 {key['RSA']} root@e0b7ac8b7a9c (RSA)"),
        line(f"256 {key['ECDSA']} root@e0b7ac8b7a9c (ECDSA)\r"),
        line(f"\x1b[32m256 {key['ED25519']} root@e0b7ac8b7a9c (ED25519)\x1b[0m"),
        line(f"256 {key['ED25519']} root@e0b7ac8b7a9c (ED25519)"),
        line(f"256 {OTHER} github.com (ED25519)"),
        line(f"256 {OTHER} me@laptop (ED25519)"),
        line(f"256 {OTHER}x root@e0b7ac8b7a9c (ED25519)"),
        printed(OTHER, seconds=-0.001),
        LogLine(text=printed(OTHER).text, is_system=False),
    ]

    found = read_fingerprints(lines, since=STARTED_AT)

    assert found == (key["ED25519"], key["ECDSA"], key["RSA"])
