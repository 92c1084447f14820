"""Scale sets against the simulated GitHub: jobs counted, offered, taken up, ended."""

from collections.abc import Iterator

import pytest

from runner_installer import GitHub, RegistrationError, parse_scope
from runner_installer.actions_service import ActionsService, find_end
from runner_installer.scale_sets import (
    MessageQueue,
    QueueMessage,
    ScaleSet,
    ScaleSets,
    list_offers,
)
from runpod_client import AuthenticationError, NotFoundError, UnavailableError
from support.forge import ServedForge
from support.waiting import wait_for

NAME = "gpu-pods"
MANY = 100


@pytest.fixture
def service(github: GitHub) -> Iterator[ActionsService]:
    with ActionsService(github, parse_scope("acme/widgets")) as opened:
        yield opened


@pytest.fixture
def sets(service: ActionsService) -> ScaleSets:
    return ScaleSets(service)


@pytest.fixture
def scale_set(sets: ScaleSets) -> ScaleSet:
    return sets.ensure(NAME)


@pytest.fixture
def queue(sets: ScaleSets, scale_set: ScaleSet) -> MessageQueue:
    opened = sets.open_queue(scale_set, "test")
    assert opened is not None
    return opened


def take(
    queue: MessageQueue, last_id: int = 0, *, capacity: int = MANY
) -> QueueMessage:
    """Return the next message, which must come."""
    return wait_for(
        lambda: queue.wait(last_id, capacity=capacity),
        timeout_seconds=20,
        what="a message",
    )


def kinds(message: QueueMessage) -> list[str]:
    return [note.kind for note in message.notes]


def test_scale_set_is_made_once_and_found_by_any_capitals(sets: ScaleSets) -> None:
    made = sets.ensure(NAME, labels=("cuda",))
    again = sets.ensure(NAME.upper())

    assert made == again
    assert (made.name, made.labels) == (NAME, (NAME, "cuda"))
    assert sets.delete(made) is True
    assert sets.delete(made) is False
    assert sets.find(NAME) is None


def test_group_that_does_not_exist_is_told(github: GitHub) -> None:
    with ActionsService(github, parse_scope("acme")) as service:
        sets = ScaleSets(service)

        with pytest.raises(NotFoundError, match="no runner group named Nobody"):
            sets.ensure(NAME, group="Nobody")


def test_job_is_offered_acquired_and_counted(
    forge: ServedForge, queue: MessageQueue
) -> None:
    job_id = forge.queue("true", labels=(NAME,))
    forge.queue("true", labels=("another",))

    offered = take(queue)
    queue.acquire(list_offers(offered))
    queue.acknowledge(offered.message_id)
    assigned = take(queue, offered.message_id)

    assert (kinds(offered), offered.counts.assigned) == (["JobAvailable"], 0)
    assert [note.request_id for note in offered.notes] == [job_id]
    assert offered.notes[0].repository == "acme/widgets"
    assert (kinds(assigned), assigned.counts.assigned) == (["JobAssigned"], 1)


def test_message_that_was_not_acknowledged_is_shown_again(
    forge: ServedForge, queue: MessageQueue
) -> None:
    forge.queue("true", labels=(NAME,))

    first = take(queue)
    second = take(queue)

    assert first == second


def test_nothing_is_offered_beyond_the_capacity(
    forge: ServedForge, queue: MessageQueue
) -> None:
    for _ in range(5):
        forge.queue("true", labels=(NAME,))

    offered = take(queue, capacity=2)

    assert len(offered.notes) == 2
    assert offered.counts.available == 5


def test_queue_without_jobs_answers_with_nothing(queue: MessageQueue) -> None:
    assert queue.wait(0, capacity=MANY) is None


def test_second_reader_is_turned_away_until_the_first_has_left(
    sets: ScaleSets, scale_set: ScaleSet, queue: MessageQueue
) -> None:
    refused = sets.open_queue(scale_set, "other")
    queue.close()
    admitted = sets.open_queue(scale_set, "other")

    assert refused is None
    assert admitted is not None


def test_reader_that_died_makes_place_after_a_while(
    forge: ServedForge, sets: ScaleSets, scale_set: ScaleSet, queue: MessageQueue
) -> None:
    forge.clock.advance(3 * 60)

    assert sets.open_queue(scale_set, "other") is not None
    with pytest.raises(NotFoundError):
        queue.wait(0, capacity=MANY)


def test_queue_s_token_that_has_run_out_is_renewed(
    forge: ServedForge, queue: MessageQueue
) -> None:
    forge.clock.advance(51 * 60)

    with pytest.raises(AuthenticationError):
        queue.wait(0, capacity=MANY)
    queue.renew()

    assert queue.wait(0, capacity=MANY) is None


def test_admin_s_token_that_has_run_out_is_replaced(
    forge: ServedForge, sets: ScaleSets, scale_set: ScaleSet
) -> None:
    forge.clock.advance(2 * 3600)

    assert sets.find(NAME) == scale_set


def test_runner_of_the_scale_set_is_known_to_github_under_its_name_once(
    sets: ScaleSets, scale_set: ScaleSet, github: GitHub
) -> None:
    made = sets.mint(scale_set, "runner-1", "_work")
    found = github.find_runner(parse_scope("acme/widgets"), "runner-1")

    assert found is not None
    assert (found.runner_id, found.labels) == (made.runner_id, (NAME,))
    assert len(made.jit_config) > 100
    with pytest.raises(RegistrationError, match="takes no runner named runner-1"):
        sets.mint(scale_set, "runner-1", "_work")


def test_trouble_of_the_service_is_typed(forge: ServedForge, sets: ScaleSets) -> None:
    sets.ensure(NAME)
    forge.order("/faults", {"operation": "scale_set_list_sets", "kind": "error_500"})

    with pytest.raises(UnavailableError) as caught:
        sets.find(NAME)

    assert caught.value.service == "GitHub Actions"


def test_end_of_a_token_that_says_nothing_is_long_past() -> None:
    assert find_end("opaque") == 0.0
    assert find_end("a.e30.b") == 0.0
