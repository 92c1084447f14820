"""What `serve` keeps between ticks, and between runs, because nobody else can tell it.

Pods, runners and jobs are seen anew each time; here stands only since when they are
seen so, what failed how often, and what was spent. Losing the file costs patience, not
pods: the idle time and the back-off begin anew.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from runner_installer.errors import AlreadyServingError
from runpod_client.logs import get_logger

log = get_logger(__name__)
_DAYS_KEPT = 8
MOST_RUNNERS = 5000


class PoolMemory(msgspec.Struct):
    """Of one pool: what failed, and which way it went."""

    failures: int = 0
    retry_at: datetime | None = None
    trouble: str = ""
    is_up: bool | None = None
    turned_at: datetime | None = None
    fell_at: datetime | None = None
    decided_at: datetime | None = None
    last_decision: str = ""


class PodMemory(msgspec.Struct):
    """Of one pod in one start."""

    pool: str
    start: str
    since: datetime
    active_at: datetime
    failures: int = 0
    retry_at: datetime | None = None
    trouble: str = ""
    had_runner: bool = False
    is_drained: bool = False
    is_kept: bool = False
    is_spot: bool = False
    missing: int = 0


class RunnerMemory(msgspec.Struct):
    """Of one runner: where it is, what that costs, since when it is so."""

    pool: str
    pod_id: str
    since: datetime
    is_online: bool = False
    is_busy: bool = False
    is_spot: bool = False
    gpu_type: str = ""
    price_usd_per_hour: Decimal = Decimal(0)
    gone_at: datetime | None = None


class LostJobMemory(msgspec.Struct):
    """A job whose spot pod was taken away."""

    pool: str
    repository: str
    job_id: int
    run_id: int
    name: str
    at: datetime
    is_failed: bool = False


class Memory(msgspec.Struct):
    """All of it."""

    pools: dict[str, PoolMemory] = {}
    pods: dict[str, PodMemory] = {}
    runners: dict[str, RunnerMemory] = {}
    lost_jobs: dict[int, LostJobMemory] = {}
    # what was run again: never twice
    rerun: list[str] = []
    # day -> pool -> dollars
    spent: dict[str, dict[str, Decimal]] = {}
    counted_at: datetime | None = None

    def pool(self, name: str) -> PoolMemory:
        """Return what is known of a pool."""
        return self.pools.setdefault(name, PoolMemory())

    def spent_on(self, day: str, pool: str | None = None) -> Decimal:
        """Return what a pool, or all pools, cost on a day so far."""
        amounts = self.spent.get(day, {})
        if pool is not None:
            return amounts.get(pool, Decimal(0))
        return sum(amounts.values(), Decimal(0))

    def spend(self, day: str, pool: str, usd: Decimal) -> None:
        """Add to what a pool cost on a day."""
        amounts = self.spent.setdefault(day, {})
        amounts[pool] = amounts.get(pool, Decimal(0)) + usd
        for old in sorted(self.spent)[:-_DAYS_KEPT]:
            del self.spent[old]

    def forget_runners(self) -> None:
        """Drop the oldest runners that are gone, beyond a bound."""
        gone = [n for n, r in self.runners.items() if r.gone_at is not None]
        for name in gone[: max(len(self.runners) - MOST_RUNNERS, 0)]:
            del self.runners[name]


class MemoryFile:
    """The file the memory is kept in, written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = b""

    def read(self) -> Memory:
        """Return what was kept; an unreadable file counts as none."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return Memory()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("serve_memory_unreadable", error_detail=str(error))
            return Memory()

    def write(self, memory: Memory) -> None:
        """Keep it, if it has changed; a full disk costs patience alone."""
        content = msgspec.json.encode(memory)
        if content == self._last:
            return
        try:
            write_whole(self.path, content)
            self._last = content
        except OSError as error:
            log.error(  # noqa: TRY400  # serving goes on without
                "serve_memory_unwritable", error_detail=str(error)
            )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file for its owner only, whole or not at all.

    It is not forced to the disk: after a power cut the one before it does as well.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def sole_server(path: Path) -> Iterator[None]:
    """Hold the lock of a state folder; the system lets it go with the process.

    Raises:
        AlreadyServingError: Another process holds it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise AlreadyServingError(
                "runner-installer serve runs already on this state folder"
                + (f" (process {holder})" if holder else ""),
                hint=f"End that one first, or give this one its own RUNPOD_STATE_DIR "
                f"({path.parent}).",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
