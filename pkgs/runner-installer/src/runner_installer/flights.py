"""Actions that take a while and are still under way, so that no tick repeats them.

An action counts until a listing that began after its end shows what it did. Lives on
one event loop; must not know what an action does.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from runner_installer.observing import UnderWay
from runner_installer.scaling import (
    Action,
    DeleteRunner,
    InstallRunner,
    RenewLease,
    RentPod,
    RerunJob,
    ResumePod,
    RetirePod,
)
from runpod_client.logs import get_logger

log = get_logger(__name__)
# RunPod's listing may lag behind a create by a little
UNSEEN_SECONDS = 60.0


@dataclass
class Flight:
    """One action under way.

    Attributes:
        pod_id: What it made or acts on; empty while not known.
        ended: By the monotonic clock; None while it runs.
    """

    pool: str
    action: Action
    began_at: datetime
    pod_id: str = ""
    ended: float | None = None
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)


class Flights:
    """All actions under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._flights: list[Flight] = []
        self.landed = asyncio.Event()

    def start(
        self,
        pool: str,
        action: Action,
        now: datetime,
        work: Callable[[Flight], Awaitable[None]],
    ) -> None:
        """Begin an action, unless the very same is under way."""
        if self._is_repeated(action):
            return
        flight = Flight(
            pool=pool,
            action=action,
            began_at=now,
            pod_id=getattr(action, "pod_id", ""),
        )
        self._flights.append(flight)
        flight.task = asyncio.create_task(self._fly(flight, work))

    async def _fly(
        self, flight: Flight, work: Callable[[Flight], Awaitable[None]]
    ) -> None:
        try:
            await work(flight)
        except Exception:  # the boundary: the other actions go on
            log.exception("serve_action_broke", pool=flight.pool, pod_id=flight.pod_id)
        finally:
            flight.ended = self._clock()
            self.landed.set()

    def drop_seen(
        self, pods_since: float, runners_since: float, pod_ids: set[str]
    ) -> None:
        """Forget what listings begun at these moments show."""

        def is_kept(flight: Flight) -> bool:
            shown_by = {
                InstallRunner: runners_since,
                DeleteRunner: runners_since,
                RetirePod: min(pods_since, runners_since),
            }.get(type(flight.action), pods_since)
            if flight.ended is None or flight.ended > shown_by:
                return True
            is_unseen = (
                isinstance(flight.action, RentPod)
                and flight.pod_id
                and flight.pod_id not in pod_ids
            )
            return bool(is_unseen) and self._clock() - flight.ended < UNSEEN_SECONDS

        self._flights = [flight for flight in self._flights if is_kept(flight)]

    def under_way(self, pod_ids: set[str]) -> UnderWay:
        """Return what no listing shows yet.

        Args:
            pod_ids: The pods listed; a create whose pod is among them is done.
        """
        creating: defaultdict[str, list[datetime]] = defaultdict(list)
        installing: Counter[str] = Counter()
        leaving: set[str] = set()
        starting: set[str] = set()
        for flight in self._flights:
            match flight.action:
                case RentPod() if flight.pod_id not in pod_ids:
                    creating[flight.pool].append(flight.began_at)
                case InstallRunner():
                    installing[flight.pod_id] += 1
                case RetirePod():
                    leaving.add(flight.pod_id)
                case ResumePod():
                    starting.add(flight.pod_id)
                case _:
                    pass
        return UnderWay(
            creating=creating,
            installing=installing,
            leaving=frozenset(leaving),
            starting=frozenset(starting),
        )

    def has_ended_since(self, moment: float) -> bool:
        """Tell whether something ended that a listing of that moment cannot show."""
        return any(
            flight.ended is not None and flight.ended > moment
            for flight in self._flights
        )

    @property
    def count(self) -> int:
        """Return how many run."""
        return sum(flight.ended is None for flight in self._flights)

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109  # not an error
        """Let what runs come to its end, for so many seconds; then cancel it."""
        tasks = [f.task for f in self._flights if f.task and not f.task.done()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _is_repeated(self, action: Action) -> bool:
        """Tell whether an action on the same thing is under way."""
        match action:
            case RentPod() | InstallRunner():
                return False  # they are counted
            case RetirePod() | ResumePod() | RenewLease():
                kind, key = type(action), action.pod_id
                return any(
                    isinstance(f.action, kind) and f.pod_id == key
                    for f in self._flights
                )
            case DeleteRunner() | RerunJob():
                return any(f.action == action for f in self._flights)
