"""A scale set's queue as a source of demand: read for ever, whatever happens to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import pytest

from runner_installer import GitHub, parse_scope
from runner_installer.actions_service import ActionsService
from runner_installer.demand import Board
from runner_installer.pools import Pool
from runner_installer.scale_set_source import ScaleSetSource
from runner_installer.scale_sets import ScaleSets
from support.forge import ServedForge

NAME = "gpu-pods"
WAIT_SECONDS = 20.0
POOL = Pool(
    name="gpu", scope=parse_scope("acme/widgets"), labels=(NAME,), scale_set=NAME
)


@pytest.fixture
def sets(github: GitHub) -> Iterator[ScaleSets]:
    with ActionsService(github, POOL.scope) as service:
        yield ScaleSets(service)


@pytest.fixture
def board() -> Board:
    made = Board([POOL], now=lambda: datetime.now(UTC))
    made.set_capacity(POOL.name, 10)
    return made


@contextlib.asynccontextmanager
async def reading(sets: ScaleSets, board: Board) -> AsyncIterator[None]:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0.05)

    source = ScaleSetSource(POOL, sets, owner="test", sleep=at_once)
    task = asyncio.create_task(source.run(board))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not look():  # noqa: ASYNC110  # it is another thread's doing
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {WAIT_SECONDS:g} s: {what}")


async def test_board_learns_how_many_jobs_are_assigned(
    forge: ServedForge, sets: ScaleSets, board: Board
) -> None:
    async with reading(sets, board):
        await until(lambda: board.assigned(POOL.name) == 0, "the session is open")
        for _ in range(3):
            await asyncio.to_thread(forge.queue, "true", labels=(NAME,))

        await until(lambda: board.assigned(POOL.name) == 3, "three jobs are assigned")


async def test_jobs_that_came_while_nobody_read_are_counted(
    forge: ServedForge, sets: ScaleSets, board: Board
) -> None:
    async with reading(sets, board):
        await until(lambda: board.assigned(POOL.name) == 0, "the session is open")
    await asyncio.to_thread(forge.queue, "true", labels=(NAME,))

    async with reading(sets, board):
        await until(lambda: board.assigned(POOL.name) == 1, "the job is assigned")


@pytest.mark.parametrize(
    "operation",
    ["scale_set_get_message", "scale_set_open_session", "scale_set_acquire_jobs"],
)
async def test_trouble_is_survived(
    forge: ServedForge, sets: ScaleSets, board: Board, operation: str
) -> None:
    fault = {"operation": operation, "kind": "error_500", "times": 2}
    forge.order("/faults", fault)

    async with reading(sets, board):
        await asyncio.to_thread(forge.queue, "true", labels=(NAME,))
        await until(lambda: board.assigned(POOL.name) == 1, "the job is assigned")


async def test_session_that_lapsed_is_opened_anew(
    forge: ServedForge, sets: ScaleSets, board: Board
) -> None:
    async with reading(sets, board):
        await until(lambda: board.assigned(POOL.name) == 0, "the session is open")
        forge.clock.advance(3600)  # the queue's token has run out, the admin's too
        await asyncio.to_thread(forge.queue, "true", labels=(NAME,))

        await until(lambda: board.assigned(POOL.name) == 1, "the job is assigned")


async def test_no_job_is_taken_that_could_not_be_served(
    forge: ServedForge, sets: ScaleSets, board: Board
) -> None:
    board.set_capacity(POOL.name, 1)
    for _ in range(3):
        await asyncio.to_thread(forge.queue, "true", labels=(NAME,))

    async with reading(sets, board):
        await until(lambda: board.assigned(POOL.name) == 1, "one job is assigned")
        board.set_capacity(POOL.name, 2)
        await until(lambda: board.assigned(POOL.name) == 2, "two jobs are assigned")
