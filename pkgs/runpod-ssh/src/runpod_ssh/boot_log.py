"""The boot log's word on a pod's host key: fingerprints that the pod itself printed.

RunPod's images print the fingerprints of their host keys when they start, and REST v2
gives that log over TLS: whoever sits between us and the pod's port cannot change it.

    printed, and offered          the pin is `verified`
    printed, and another offered  refused: someone is in between
    not printed, or no log        trust on first use

The log is read while the connection is made, in a thread, and its word is awaited
before anything is done with the connection: no command is sent to a stranger. A pod
with a pin for its present start is not asked about again.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Protocol

from runpod_client import Error, LogLine
from runpod_client.logs import get_logger
from runpod_ssh.connection import Connection
from runpod_ssh.errors import HostKeyError
from runpod_ssh.host_keys import HostKeyStore, start_of
from runpod_ssh.model import Bounds, HostKey, HostKeyPolicy, PodTarget
from runpod_ssh.pods import connect_pod

READ_SECONDS = 3.0
# a log that has begun to come and pauses for so long has been sent as far as it goes
QUIET_SECONDS = 1.0
TAIL_LINES = 1000

# `ssh-keygen -lf` prints this; root@ tells a host's key from those of other machines
_FINGERPRINT = re.compile(
    r"\b\d{3,5} (SHA256:[A-Za-z0-9+/]{43}) root@\S+ \((ED25519|ECDSA|RSA)\)"
)
_ORDER = ("ED25519", "ECDSA", "RSA")

_log = get_logger(__name__)


class LogReader(Protocol):
    """What gives the newest lines of a pod's log; `RunPodClient.cloud` does."""

    def read_logs(
        self,
        pod_id: str,
        *,
        is_system: bool,
        tail: int = 200,
        until: Callable[[LogLine], bool] | None = None,
    ) -> list[LogLine]:
        """Return the last lines, up to the one of which `until` says: enough."""


def read_fingerprints(
    lines: Iterable[LogLine], *, since: datetime | None
) -> tuple[str, ...]:
    """Return the fingerprints printed in this start, Ed25519 and the newest first.

    Lines without a time, or from before the start, may be an earlier start's.
    """
    found: dict[str, list[str]] = {kind: [] for kind in _ORDER}
    for line in lines:
        if since is None or line.written_at is None or line.written_at < since:
            continue
        match = _FINGERPRINT.search(line.text)
        if match is not None:
            found[match[2]].insert(0, match[1])
    ordered = [fingerprint for kind in _ORDER for fingerprint in found[kind]]
    return tuple(dict.fromkeys(ordered))


@contextlib.asynccontextmanager
async def connect_vouched(
    target: PodTarget,
    *,
    log: LogReader,
    host_keys: HostKeyStore,
    policy: HostKeyPolicy = HostKeyPolicy.TRUST_ON_FIRST_USE,
    bounds: Bounds | None = None,
    read_seconds: float = READ_SECONDS,
) -> AsyncIterator[Connection]:
    """Connect as `connect_pod` does, asking the boot log about a key not known yet.

    Args:
        read_seconds: How long the log is waited for, from the beginning.

    Raises:
        HostKeyError: Also where the log printed other keys than the one offered.
    """
    start = start_of(target.pod, target.address)
    reading = None
    if (
        policy is not HostKeyPolicy.OFF
        and not target.is_proxied
        and host_keys.find_for_start(target.pod.pod_id, start) is None
    ):
        reading = _Reading(log, target, seconds=read_seconds)
    if reading is not None and policy is HostKeyPolicy.STRICT:
        printed = await reading.wait_for(None)
        if printed:
            host_keys.vouch(target.pod.pod_id, start, printed)
        reading = None
    async with connect_pod(
        target, host_keys=host_keys, policy=policy, bounds=bounds
    ) as connection:
        if reading is not None:
            await _judge(reading, connection.host_key, target, host_keys)
        yield connection


async def _judge(
    reading: "_Reading", offered: HostKey, target: PodTarget, host_keys: HostKeyStore
) -> None:
    """Compare the key that was just trusted on first use with what the log says."""
    printed = await reading.wait_for(offered.fingerprint)
    if not printed:
        return
    pod_id = target.pod.pod_id
    # also where it is another: later connections are then refused without the log
    host_keys.vouch(pod_id, start_of(target.pod, target.address), printed)
    if offered.fingerprint in printed:
        _log.info("host_key_vouched", pod_id=pod_id, fingerprint=offered.fingerprint)
        return
    raise HostKeyError(
        f"the boot log of pod {pod_id} tells of the host key {printed[0]}, "
        f"but {offered.fingerprint} is offered",
        expected_fingerprint=printed[0],
        offered_fingerprint=offered.fingerprint,
        address=target.address,
        hint="Someone may be in between. If the pod has made itself new host keys: "
        f"runpod-ssh keys trust {pod_id} {offered.fingerprint}",
    )


class _Reading:
    """A pod's log being read in a thread; it ends by itself, nobody waits for it."""

    def __init__(self, log: LogReader, target: PodTarget, *, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._since = target.pod.started_at
        self._pod_id = target.pod.pod_id
        self._log = log
        self._deadline = self._loop.time() + seconds
        self._has_begun = False
        self._fingerprint_lines: list[LogLine] = []
        self._moved = asyncio.Event()
        self._is_over = False
        # a daemon: a slow API must not keep a command from ending
        threading.Thread(target=self._read, name="boot-log", daemon=True).start()

    async def wait_for(self, fingerprint: str | None) -> tuple[str, ...]:
        """Return what was printed, as soon as it holds that one or no more comes."""
        while True:
            printed = read_fingerprints(self._fingerprint_lines, since=self._since)
            left = self._deadline - self._loop.time()
            if fingerprint in printed or self._is_over or left <= 0:
                self._is_over = True
                return printed
            patience = min(left, QUIET_SECONDS) if self._has_begun else left
            self._moved.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._moved.wait()
            except TimeoutError:
                self._is_over = True

    def _read(self) -> None:
        try:
            self._log.read_logs(
                self._pod_id, is_system=False, tail=TAIL_LINES, until=self._take
            )
        except Error as error:
            # GraphQL has no logs, and a log that cannot be had proves nothing
            _log.debug(
                "boot_log_read_failed", pod_id=self._pod_id, error_detail=str(error)
            )
        finally:
            self._is_over = True
            self._wake()

    def _take(self, line: LogLine) -> bool:
        self._has_begun = True
        if _FINGERPRINT.search(line.text):
            self._fingerprint_lines.append(line)
        self._wake()
        return self._is_over

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._moved.set)
