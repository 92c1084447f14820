"""Demand as a scale set's message queue tells it; see `demand.DemandSource`.

Survives lost connections, sessions that lapse and other readers: what counts is the
number of assigned jobs, which every message and every new session carries.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runner_installer.demand import Board
from runner_installer.pools import Pool
from runner_installer.scale_sets import (
    MessageQueue,
    ScaleSet,
    ScaleSets,
    list_offers,
)
from runpod_client import AuthenticationError, Error, NotFoundError
from runpod_client.logs import get_logger

log = get_logger(__name__)
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# another reader holds the session; it lapses some time after that one has died
_HELD_SECONDS = 30.0
_CLOSE_SECONDS = 10.0

Sleep = Callable[[float], Awaitable[None]]
Result = TypeVar("Result")


class ScaleSetSource:
    """Reads one pool's queue for as long as it runs."""

    def __init__(
        self,
        pool: Pool,
        sets: ScaleSets,
        *,
        owner: str,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._sets = sets
        self._owner = owner
        self._sleep = sleep
        self._jitter = jitter
        self.scale_set: ScaleSet | None = None

    @property
    def name(self) -> str:
        """Return what it is called in logs."""
        return f"scale set {self._pool.scale_set}"

    async def run(self, board: Board) -> None:
        """Write to the board until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                queue = await self._open()
                if queue is None:
                    log.warning("scale_set_session_held", pool=self._pool.name)
                    await self._sleep(_HELD_SECONDS * (0.5 + self._jitter()))
                    continue
                pause = _FIRST_PAUSE_SECONDS
                await self._read(queue, board)
            except Error as error:
                log.warning(
                    "scale_set_read_failed",
                    pool=self._pool.name,
                    error=type(error).__name__,
                    error_detail=str(error),
                    wait_seconds=pause,
                )
                await self._sleep(pause * (0.5 + self._jitter()))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _open(self) -> MessageQueue | None:
        pool = self._pool
        self.scale_set = await asyncio.to_thread(
            self._sets.ensure, pool.scale_set, group=pool.group
        )
        return await asyncio.to_thread(
            self._sets.open_queue, self.scale_set, self._owner
        )

    async def _read(self, queue: MessageQueue, board: Board) -> None:
        """Read until the session is gone."""
        board.assign(self._pool.name, queue.counts.assigned)
        last_id = 0
        try:
            while True:
                try:
                    last_id = await self._read_one(queue, board, last_id)
                except AuthenticationError:
                    await asyncio.to_thread(queue.renew)
                except NotFoundError:
                    log.info("scale_set_session_lapsed", pool=self._pool.name)
                    return
        except BaseException:
            await asyncio.shield(self._close(queue))
            raise

    async def _read_one(self, queue: MessageQueue, board: Board, last_id: int) -> int:
        """Wait for a message and deal with it; return what to ask after next."""
        capacity = board.capacity(self._pool.name)
        message = await _in_thread(lambda: queue.wait(last_id, capacity=capacity))
        if message is None:
            return last_id
        # acquired before it is acknowledged: killed in between it is shown once more
        await asyncio.to_thread(queue.acquire, list_offers(message))
        await asyncio.to_thread(queue.acknowledge, message.message_id)
        board.assign(self._pool.name, message.counts.assigned)
        return message.message_id

    async def _close(self, queue: MessageQueue) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.to_thread(queue.close)
        except (Error, TimeoutError) as error:
            log.info("scale_set_session_kept", error=type(error).__name__)


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Run what may take a minute in a thread that the program's end does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.done():
            return  # whoever waited was cancelled
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # a result, then

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # handed on, not swallowed
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="scale-set-poll", daemon=True).start()
    return await done
