"""Places for connecting: never too many, in order, and none lost."""

import asyncio
import contextlib
import random

from runpod_ssh.admission import Admission, Limits


class Crowd:
    """Counts who is inside, over all and per sshd, and the most there ever were."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.inside: dict[int, int] = {}
        self.most_at_one = 0
        self.most = 0
        self.arrivals: list[tuple[int, int]] = []

    async def connect(self, port: int, number: int = 0, *, steps: int = 3) -> None:
        async with self._admission.handshake("127.0.0.1", port):
            self.arrivals.append((port, number))
            self.inside[port] = self.inside.get(port, 0) + 1
            self.most_at_one = max(self.most_at_one, self.inside[port])
            self.most = max(self.most, sum(self.inside.values()))
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                self.inside[port] -= 1


async def test_no_sshd_and_no_processor_gets_more_than_its_limit() -> None:
    crowd = Crowd(Admission(Limits(unauthenticated_per_sshd=3, handshakes=5)))

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(crowd.connect(number % 5 // 3, number))

    assert (crowd.most_at_one, crowd.most) == (3, 5)
    assert len(crowd.arrivals) == 200


async def test_who_came_first_connects_first() -> None:
    crowd = Crowd(Admission(Limits(unauthenticated_per_sshd=2, handshakes=2)))

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(crowd.connect(1, number))

    assert crowd.arrivals == [(1, number) for number in range(50)]


async def test_line_before_one_sshd_keeps_nobody_from_another() -> None:
    admission = Admission(Limits(unauthenticated_per_sshd=1, handshakes=2))
    crowd = Crowd(admission)
    release = asyncio.Event()

    async def hold() -> None:
        async with admission.handshake("127.0.0.1", 1):
            await release.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(hold())
        await asyncio.sleep(0)
        await crowd.connect(2)
        release.set()

    assert crowd.arrivals == [(2, 0)]


async def test_cancelled_and_failed_connects_give_their_places_back() -> None:
    limits = Limits(unauthenticated_per_sshd=2, handshakes=3)
    admission = Admission(limits)
    crowd = Crowd(admission)
    chance = random.Random(7)  # noqa: S311  # repeatable

    async def fail(port: int) -> None:
        with contextlib.suppress(ConnectionError):
            async with admission.handshake("127.0.0.1", port):
                await asyncio.sleep(0)
                raise ConnectionError

    tasks = [asyncio.create_task(crowd.connect(n % 3, n, steps=5)) for n in range(300)]
    tasks += [asyncio.create_task(fail(n % 3)) for n in range(100)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0)
    left_behind = admission.waiting_or_connecting
    crowd.most_at_one = crowd.most = 0
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(crowd.connect(number % 2, number))

    assert left_behind == 0
    assert (crowd.most_at_one, crowd.most) == (2, 3)


def test_defaults_stay_below_what_a_stock_sshd_allows() -> None:
    limits = Limits()

    assert limits.unauthenticated_per_sshd < 10
    # on a long link three are opened ahead, and one is kept for interrupting a command
    assert limits.sessions_per_connection + 3 + 1 <= 10
