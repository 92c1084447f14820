import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runpod_client.errors import (
    ProtocolError,
    RateLimitedError,
    RejectedError,
    TransportError,
    UnavailableError,
    UnsettledCreateError,
)
from runpod_client.model import Pod
from support.creations import (
    DIALECTS,
    OWNER,
    REQUEST_SECONDS,
    Desk,
    open_desk,
)
from support.killed_create import Ended, Killer, Order, open_killer
from support.sim import SimServer, serving
from support.waiting import wait_for

SAMPLED_POINTS = 11
# Ctrl-C is an exception, which the child answers with the shell's status for it
ENDED_BY = {
    "SIGKILL": Ended(steps=0, signal_number=9, exit_status=0),
    "SIGINT": Ended(steps=0, signal_number=0, exit_status=130),
}
WAVE_CREATES = 8

# what a caller may answer by asking for the same pod again
PASSING = (
    UnsettledCreateError,
    TransportError,
    UnavailableError,
    ProtocolError,
    RateLimitedError,
)
# each strikes a create or a listing; together one call in five goes wrong
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "html_500"},
    {"kind": "drop_connection"},
    {"kind": "lost_answer"},
    {"kind": "malformed_body"},
    {"kind": "slow_answer", "seconds": 3 * REQUEST_SECONDS},
    {"kind": "rate_limited", "seconds": 0},
)
FAULT_SHARE = 0.2


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A simulator whose pods never come up: here they only have to exist."""
    with serving(tmp_path_factory.mktemp("sim"), "--pull-seconds", "9999") as server:
        yield server


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with open_killer() as made:
        yield made


def key_for(folder: Path) -> str:
    """Return the key of an account of its own: RunPod counts the calls of each."""
    return "rpa_once" + "".join(filter(str.isalnum, str(folder)))[-40:]


def order(
    sim: SimServer, state_dir: Path, dialect: str, *, step: int = 0, **given: str
) -> Order:
    return Order(
        base_url=sim.base_url,
        key=key_for(state_dir),
        dialect=dialect,
        state_dir=str(state_dir),
        name=f"pod-{state_dir.name}"[:31],
        step=step,
        **given,
    )


def open_order(wanted: Order) -> Desk:
    """Return the account that a create was ordered for."""
    return open_desk(
        wanted.base_url,
        Path(wanted.state_dir),
        key=wanted.key,
        dialect=wanted.dialect,
    )


def count_steps(sim: SimServer, killer: Killer, folder: Path, dialect: str) -> int:
    """Return how many steps a create has when nothing goes wrong."""
    ended = killer.run(order(sim, folder / "whole", dialect))
    assert ended.exit_status == 0
    assert ended.steps > 200
    desk = open_order(order(sim, folder / "whole", dialect))
    desk.terminate_all()
    desk.close()
    return ended.steps


def prove_point(
    sim: SimServer, killer: Killer, state_dir: Path, dialect: str, **given: Any
) -> Ended:
    """End a create at one of its steps, repeat it, and see that one pod came of it."""
    wanted = order(sim, state_dir, dialect, **given)
    ended = killer.run(wanted)
    desk = open_order(wanted)
    refusal = ""
    try:
        desk.create(wanted.name)
    except RejectedError as error:
        # it ended after its pod was written down: there is nothing to take over
        refusal = error.message
    assert not refusal or "already a pod named" in refusal, wanted
    assert_exactly(desk, {wanted.name})
    desk.terminate_all()
    desk.close()
    return ended


def assert_exactly(desk: Desk, names: set[str]) -> None:
    """See that these pods exist and bill, each once, and that nothing else is left."""
    pods = desk.cloud.list_pods()
    assert sorted(pod.name for pod in pods) == sorted(names)
    assert {pod.owner for pod in pods} == {OWNER}
    assert desk.journal.list_open() == []
    assert desk.list_identities() == {pod.intent_id for pod in pods}
    for pod in pods:
        intent = desk.journal.find_by_pod(pod.pod_id)
        assert intent is not None
        assert (intent.intent_id, intent.pod_name) == (pod.intent_id, pod.name)


@pytest.mark.parametrize(
    ("dialect", "signal_name"),
    [("graphql", "SIGKILL"), ("rest_v2", "SIGKILL"), ("graphql", "SIGINT")],
)
def test_create_ended_at_points_all_over_it_ends_with_exactly_one_pod(
    sim: SimServer, killer: Killer, tmp_path: Path, dialect: str, signal_name: str
) -> None:
    steps = count_steps(sim, killer, tmp_path, dialect)
    points = [
        1 + number * (steps - 1) // (SAMPLED_POINTS - 1)
        for number in range(SAMPLED_POINTS)
    ]

    hit = {
        point
        for point in points
        if ENDED_BY[signal_name]
        == prove_point(
            sim,
            killer,
            tmp_path / f"{point}",
            dialect,
            step=point,
            signal_name=signal_name,
        )
    }

    # Python swallows a Ctrl-C inside a destructor: a point there is none
    assert len(hit) >= SAMPLED_POINTS - 1


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_create_ended_at_any_point_ends_with_exactly_one_pod(
    sim: SimServer, killer: Killer, tmp_path: Path, dialect: str, signal_name: str
) -> None:
    steps = count_steps(sim, killer, tmp_path, dialect)

    for point in range(1, steps + 1):
        prove_point(
            sim,
            killer,
            tmp_path / f"{point}",
            dialect,
            step=point,
            signal_name=signal_name,
        )


def create_until_told(desk: Desk, name: str) -> Pod:
    """Ask for the same pod again and again, as a caller may after a failure."""

    def ask() -> Pod | None:
        try:
            return desk.create(name)
        except PASSING:
            return None

    return wait_for(ask, what=f"{name} to be made", timeout_seconds=60)


def run_wave(sim: SimServer, state_dir: Path, dialect: str, key: str) -> int:
    """Rent some pods at once, for an account of their own, and end them.

    Returns:
        How often something went wrong.
    """
    desk = open_desk(
        sim.base_url,
        state_dir,
        key=key,
        dialect=dialect,
        timeout_seconds=REQUEST_SECONDS,
    )
    names = [f"pod-{number}" for number in range(WAVE_CREATES)]
    with ThreadPoolExecutor(max_workers=WAVE_CREATES) as pool:
        made = list(pool.map(lambda name: create_until_told(desk, name), names))
    desk.close()

    calm = open_desk(sim.base_url, state_dir, key=key, dialect="graphql")
    struck: int = sum(fault["struck"] for fault in sim.admin("GET", "faults")["faults"])
    sim.admin("DELETE", "faults")
    assert_exactly(calm, set(names))
    listed = {pod.pod_id for pod in calm.cloud.list_pods()}
    assert {pod.pod_id for pod in made} == listed
    assert [pod.name for pod in made] == names
    calm.terminate_all()
    calm.close()
    return struck


def set_faults(sim: SimServer, seed: int) -> None:
    """Let one create or listing in five go wrong in one of the ways there are."""
    each = 1 - (1 - FAULT_SHARE) ** (1 / len(FAULTS))
    for number, (operation, fault) in enumerate(
        itertools.product(("deploy", "list"), FAULTS)
    ):
        sim.add_fault(
            **fault,
            operation=operation,
            probability=each,
            seed=100 * seed + number,
        )


def prove_creates(sim: SimServer, folder: Path, dialect: str, *, creates: int) -> None:
    """Rent so many pods in waves, each for an account of its own."""
    before = len(sim.world()["pods"])
    waves = -(-creates // WAVE_CREATES)
    struck = 0
    for wave in range(waves):
        set_faults(sim, wave)
        key = f"rpa_{dialect.replace('_', '')}{creates}wave{wave}"
        struck += run_wave(sim, folder / f"{wave}", dialect, key)

    # ended pods stay in the simulator's world: each create made one, in all
    assert len(sim.world()["pods"]) - before == waves * WAVE_CREATES
    # a create takes two calls or more, of which one in five went wrong
    assert struck > 0.3 * waves * WAVE_CREATES


@pytest.mark.parametrize("dialect", DIALECTS)
def test_creates_under_faults_make_exactly_the_wanted_pods(
    sim: SimServer, tmp_path: Path, dialect: str
) -> None:
    prove_creates(sim, tmp_path, dialect, creates=24)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_five_hundred_creates_under_faults_make_exactly_as_many_pods(
    sim: SimServer, tmp_path: Path, dialect: str
) -> None:
    prove_creates(sim, tmp_path, dialect, creates=500)
