"""When RunPod is asked what a selector means, and when memory will do."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from runpod_client import NotFoundError, Pod, PodStatus, SSHAddress
from runpod_ssh.background_targets import (
    NAME_FRESH_SECONDS,
    NAME_USABLE_SECONDS,
    RememberedTargets,
)
from runpod_ssh.model import PodTarget
from support.clock import FakeTime


def target_of(pod_id: str) -> PodTarget:
    pod = Pod(
        pod_id=pod_id,
        name="train",
        status=PodStatus.RUNNING,
        gpu_type="L4",
        gpu_count=1,
        image="image",
        price_usd_per_hour=Decimal("0.4"),
    )
    address = SSHAddress(host="203.0.113.7", port=22)
    return PodTarget(pod=pod, address=address, identity=None)


@dataclass
class Fleet:
    """RunPod as far as it is asked here: what selectors mean, and who is linked to."""

    meaning: dict[str, str] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def find(self, selector: str) -> PodTarget:
        self.asked.append(selector)
        assert self.gate.wait(10)
        if selector not in self.meaning:
            raise NotFoundError(f"there is no pod {selector}")
        return target_of(self.meaning[selector])


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(meaning={"train": "pod1", "pod1": "pod1"}, linked={"pod1"})
    fleet.gate.set()
    return fleet


@pytest.fixture
async def targets(fleet: Fleet, time: FakeTime) -> AsyncIterator[RememberedTargets]:
    made = RememberedTargets(
        fleet.find, is_linked=fleet.linked.__contains__, clock=time.clock
    )
    yield made
    fleet.gate.set()
    await made.close()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


async def test_many_who_ask_at_once_ask_runpod_once(
    fleet: Fleet, targets: RememberedTargets
) -> None:
    fleet.gate.clear()
    many = [asyncio.create_task(targets.get("train")) for _ in range(20)]
    await asyncio.sleep(0)

    fleet.gate.set()
    found = await asyncio.gather(*many)

    assert fleet.asked == ["train"]
    assert {one.target.pod.pod_id for one in found} == {"pod1"}


async def test_who_gives_up_takes_the_answer_from_nobody(
    fleet: Fleet, targets: RememberedTargets
) -> None:
    fleet.gate.clear()
    impatient = asyncio.create_task(targets.get("train"))
    patient = asyncio.create_task(targets.get("train"))
    await asyncio.sleep(0)

    impatient.cancel()
    fleet.gate.set()

    assert (await patient).target.pod.pod_id == "pod1"
    assert impatient.cancelled() or await asyncio.wait({impatient})


async def test_id_holds_as_long_as_its_link_lives(
    fleet: Fleet, targets: RememberedTargets, time: FakeTime
) -> None:
    await targets.get("pod1")

    time.sleep(100_000)
    remembered = await targets.get("pod1")
    fleet.linked.clear()
    asked = await targets.get("pod1")

    assert (remembered.is_remembered, asked.is_remembered) == (True, False)
    assert fleet.asked == ["pod1", "pod1"]


async def test_name_is_looked_up_beside_and_later_before_the_command(
    fleet: Fleet, targets: RememberedTargets, time: FakeTime
) -> None:
    await targets.get("train")
    time.sleep(NAME_FRESH_SECONDS - 1)
    await targets.get("train")
    assert fleet.asked == ["train"]

    fleet.meaning["train"] = "pod2"
    time.sleep(2)
    beside = await targets.get("train")
    await targets.ask("train")  # joins the look-up that goes on
    after = await targets.get("train")

    assert len(fleet.asked) == 2
    assert beside.target.pod.pod_id == "pod1"
    assert after.target.pod.pod_id == "pod2"


async def test_name_older_than_a_minute_is_never_served_from_memory(
    fleet: Fleet, targets: RememberedTargets, time: FakeTime
) -> None:
    await targets.get("train")
    fleet.meaning["train"] = "pod2"

    time.sleep(NAME_USABLE_SECONDS)
    found = await targets.get("train")

    assert found.target.pod.pod_id == "pod2"


async def test_failed_look_up_forgets_what_was_known(
    fleet: Fleet, targets: RememberedTargets, time: FakeTime
) -> None:
    await targets.get("train")
    del fleet.meaning["train"]
    time.sleep(NAME_FRESH_SECONDS)
    await targets.get("train")

    with pytest.raises(NotFoundError):
        await targets.ask("train")
    with pytest.raises(NotFoundError):
        await targets.get("train")


async def test_forgotten_selector_is_asked_for_again(
    fleet: Fleet, targets: RememberedTargets
) -> None:
    await targets.get("pod1")

    targets.forget("pod1")
    found = await targets.get("pod1")

    assert (found.is_remembered, fleet.asked) == (False, ["pod1", "pod1"])
