"""The board tells what is wanted, whatever order and repetition hints come in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_installer.demand import Board
from runner_installer.model import WorkflowJob, parse_scope
from runner_installer.polling import QueuePoll
from runner_installer.pools import Pool
from runpod_client import TransportError
from support.clock import FakeTime

GPU = Pool(name="gpu", scope=parse_scope("acme/widgets"), labels=("gpu", "linux"))
BIG = Pool(
    name="big",
    scope=parse_scope("acme"),
    labels=("gpu", "big"),
    repositories=("acme/x",),
)
STATES = ["queued", "in_progress", "completed"]


def job(number: int = 1, status: str = "queued", **given: object) -> WorkflowJob:
    plain = WorkflowJob(
        job_id=number,
        run_id=100 + number,
        run_attempt=1,
        name="train",
        workflow_name="CI",
        repository="acme/widgets",
        status=status,
        conclusion="",
        labels=("gpu",),
        runner_name="",
        runner_id=None,
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        started_at=None,
        completed_at=None,
    )
    return replace(plain, **given)  # type: ignore[arg-type]  # fields by name


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def board(time: FakeTime) -> Board:
    return Board([GPU, BIG], now=time.now)


def waiting(board: Board, pool: Pool = GPU) -> list[int]:
    return [heard.job.job_id for heard in board.list_waiting(pool)]


@given(order=st.permutations(STATES), repeats=st.lists(st.sampled_from(STATES)))
def test_latest_state_of_a_job_counts_in_whatever_order_it_is_told(
    order: list[str], repeats: list[str]
) -> None:
    board = Board([GPU], now=FakeTime().now)

    for status in (*order, *repeats):
        board.hear(job(1, status))

    assert waiting(board) == []
    assert [j.status for j in board.take_completed()] == ["completed"]


def test_job_goes_to_the_first_pool_that_may_take_it(board: Board) -> None:
    board.hear(job(1))
    board.hear(job(2, labels=("GPU", "Big")))
    board.hear(job(3, labels=("windows",)))
    board.hear(job(4, repository="other/place"))

    assert (waiting(board), waiting(board, BIG)) == ([1], [2])


def test_listing_takes_away_what_waits_no_longer_but_not_what_was_heard_since(
    board: Board, time: FakeTime
) -> None:
    board.hear(job(1))
    board.hear(job(2))
    asked_at = time.now() + timedelta(seconds=1)
    time.sleep(2)
    board.hear(job(3))

    board.replace_queued("acme/widgets", [job(2), job(4)], asked_at=asked_at)

    assert waiting(board) == [2, 3, 4]


def test_listing_of_one_repository_says_nothing_about_another(board: Board) -> None:
    board.hear(job(2, repository="acme/x", labels=("big",)))

    board.replace_queued("acme/widgets", [], asked_at=datetime(2027, 1, 1, tzinfo=UTC))

    assert waiting(board, BIG) == [2]


def test_job_counts_once_it_has_been_queued_for_long_enough(time: FakeTime) -> None:
    patient = replace(GPU, settle=timedelta(seconds=30))
    board = Board([patient], now=time.now)
    board.hear(job(1))

    early, ripe_at = waiting(board, patient), board.next_ripe_at()
    time.sleep(30)

    assert early == []
    assert ripe_at == time.now()
    assert waiting(board, patient) == [1]


def test_job_queued_for_a_day_is_given_up(board: Board, time: FakeTime) -> None:
    board.hear(job(1))
    time.sleep(24 * 3600)

    assert waiting(board) == []


def test_scale_set_s_word_is_kept_and_wakes_whoever_waits(board: Board) -> None:
    before = board.assigned("gpu")
    board.assign("gpu", 3)

    assert (before, board.assigned("gpu")) == (None, 3)
    assert board.changed.is_set()


def test_queues_of_named_and_heard_of_repositories_are_looked_at(board: Board) -> None:
    board.hear(job(2, repository="acme/y", labels=("big",)))

    assert board.list_repositories() == ["acme/widgets", "acme/x", "acme/y"]


class Lists:
    """A GitHub that knows some jobs, and refuses one repository."""

    def __init__(self, *jobs: WorkflowJob) -> None:
        self.jobs = list(jobs)

    async def list_queued_jobs(self, repository: str) -> list[WorkflowJob]:
        if repository == "acme/x":
            raise TransportError("no answer", service="GitHub", operation="list_runs")
        return [j for j in self.jobs if j.status == "queued"]

    async def list_jobs(self, repository: str, run_id: int) -> list[WorkflowJob]:
        assert repository == "acme/widgets"
        return [j for j in self.jobs if j.run_id == run_id]


async def test_poll_finds_jobs_nobody_told_of_and_one_refusal_stops_no_other(
    board: Board, time: FakeTime
) -> None:
    lists = Lists(job(1))

    await QueuePoll(lists, now=time.now).poll_once(board)

    assert waiting(board) == [1]


async def test_poll_follows_a_run_until_it_is_over(
    board: Board, time: FakeTime
) -> None:
    lists = Lists(job(1))
    poll = QueuePoll(lists, now=time.now)
    await poll.poll_once(board)
    time.sleep(60)
    lists.jobs = [job(1, "completed", conclusion="success")]

    await poll.poll_once(board)
    done = board.take_completed()

    assert [j.job_id for j in done] == [1]
    assert board.list_open_runs() == []
