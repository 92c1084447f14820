import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runpod_client.errors import UnavailableError
from runpod_client.hooks import Hook, HookEvent, Hooks, HookSettings
from runpod_client.model import Pod, PodStatus
from runpod_client.observations import Observation, ObservationStore
from runpod_client.reaper import Outcome, Reaper
from runpod_client.reaping import Cause, Reap, ReapAction, ReapPolicy
from support.creations import DIALECTS, OWNER, Desk, open_desk
from support.leftovers import processes_mentioning
from support.sim import SimServer
from support.waiting import wait_for

HOUR = timedelta(hours=1)
IDLE = ReapPolicy(idle_window=timedelta(minutes=30))


class Later:
    """The time by the simulator's clock, which a test winds forward."""

    def __init__(self, sim: SimServer) -> None:
        self._sim = sim

    def __call__(self) -> datetime:
        text = self._sim.admin("GET", "clock")["now"]
        return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture
def sim(module_sim: SimServer, tmp_path: Path) -> SimServer:
    """The file's simulator, with an account of the test's own."""
    return module_sim.with_key(f"rpa_{tmp_path.name.replace('_', '')}")


@pytest.fixture(params=DIALECTS)
def desk(
    sim: SimServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    made = open_desk(
        sim.base_url,
        tmp_path / "state",
        key=sim.env["RUNPOD_API_KEY"],
        dialect=request.param,
        now=Later(sim),
    )
    yield made
    made.terminate_all()
    made.close()


def reaper(desk: Desk, policy: ReapPolicy | None = None, **given: Any) -> Reaper:
    return Reaper(
        desk.client(),
        ObservationStore(desk.state_dir),
        owner=OWNER,
        policy=policy or ReapPolicy(),
        now=desk.now,
        **given,
    )


def wait_until_running(desk: Desk, pod: Pod) -> None:
    def is_up() -> bool:
        seen = desk.cloud.find_pod(pod.pod_id)
        return seen is not None and seen.status is PodStatus.RUNNING

    wait_for(is_up, what="the pod to run", timeout_seconds=30)


def statuses(desk: Desk) -> dict[str, PodStatus]:
    return {pod.name: pod.status for pod in desk.cloud.list_pods()}


def test_overdue_pods_of_ours_are_ended_and_all_others_left(
    desk: Desk, sim: SimServer
) -> None:
    desk.create("kept-on-disk", lease=HOUR, volume_gb=20)
    desk.create("with-nothing", lease=HOUR)
    desk.create("inside", lease=9 * HOUR)
    desk.create("endless", lease=None)
    sim.graphql(
        "mutation($input: PodFindAndDeployOnDemandInput)"
        " { podFindAndDeployOnDemand(input: $input) { id } }",
        input={
            "name": "foreign [3f9a2c1d 2020-01-01T00:00Z]",
            "imageName": "img",
            "gpuTypeId": "NVIDIA L4",
        },
    )
    sim.advance(2 * 3600)

    results = reaper(desk).run()

    found = {(r.reap.pod.name, r.reap.action, r.outcome) for r in results}
    assert found == {
        ("kept-on-disk", ReapAction.STOP, Outcome.DONE),
        ("with-nothing", ReapAction.TERMINATE, Outcome.DONE),
    }
    left = statuses(desk)
    assert left.pop("kept-on-disk") is PodStatus.STOPPED
    assert sorted(left) == ["endless", "foreign", "inside"]
    assert all(status.is_billed for status in left.values())
    assert desk.list_identities() == {
        pod.intent_id for pod in desk.cloud.list_pods() if pod.owner == OWNER
    }
    assert reaper(desk).run() == []


def pods_of(sim: SimServer) -> list[tuple[object, ...]]:
    """Return of each pod what somebody must have asked for; ports come by themselves."""
    asked = ("id", "name", "desired_status", "start_number", "terminated", "locked")
    return [tuple(pod[key] for key in asked) for pod in sim.world()["pods"]]


def test_dry_run_changes_nothing(desk: Desk, sim: SimServer) -> None:
    desk.create("trainer", lease=HOUR)
    sim.advance(2 * 3600)
    before = pods_of(sim)
    files = sorted(path.name for path in desk.state_dir.iterdir())

    (result,) = reaper(desk, IDLE).run(dry_run=True)

    assert (result.outcome, result.reap.cause) == (Outcome.WOULD, Cause.LEASE_OVER)
    assert result.reap.saves_usd_per_hour > 0
    assert pods_of(sim) == before
    assert sorted(path.name for path in desk.state_dir.iterdir()) == files


def test_one_failing_action_holds_up_no_other(desk: Desk, sim: SimServer) -> None:
    desk.create("to-stop", lease=HOUR, volume_gb=20)
    desk.create("to-terminate", lease=HOUR)
    sim.advance(2 * 3600)
    sim.add_fault("html_500", operation="stop", times=99)

    results = reaper(desk).run()
    sim.admin("DELETE", "faults")

    assert {r.reap.pod.name: r.outcome for r in results} == {
        "to-stop": Outcome.FAILED,
        "to-terminate": Outcome.DONE,
    }
    assert all(r.detail for r in results if r.outcome is Outcome.FAILED)
    assert statuses(desk)["to-stop"].is_billed
    assert [r.outcome for r in reaper(desk).run()] == [Outcome.DONE]


def test_locked_pod_is_reported_and_left(desk: Desk, sim: SimServer) -> None:
    pod = desk.create("trainer", lease=HOUR)
    sim.rest("PATCH", f"pods/{pod.pod_id}", {"locked": True})
    sim.advance(2 * 3600)

    (result,) = reaper(desk).run()

    assert result.outcome is Outcome.REPORTED
    assert statuses(desk)["trainer"].is_billed


def test_lease_prolonged_after_the_listing_spares_the_pod(
    desk: Desk, sim: SimServer
) -> None:
    pod = desk.create("trainer", lease=HOUR)
    sim.advance(2 * 3600)
    asked: list[datetime] = []

    def now() -> datetime:
        # the reaper asks for the time when it has its listing
        if not asked:
            desk.client().leases.extend(pod, 5 * HOUR)
        asked.append(desk.now())
        return asked[-1]

    (result,) = Reaper(
        desk.client(),
        ObservationStore(desk.state_dir),
        owner=OWNER,
        policy=ReapPolicy(),
        now=now,
    ).run()

    assert result.outcome is Outcome.SPARED
    assert statuses(desk)["trainer"].is_billed


def test_pod_idle_in_every_run_of_the_window_is_ended(
    desk: Desk, sim: SimServer
) -> None:
    pod = desk.create("trainer", lease=None)
    wait_until_running(desk, pod)
    store = ObservationStore(desk.state_dir)

    runs = []
    for _ in range(8):
        sim.advance(600)
        runs.append(reaper(desk, IDLE).run())
        looks = store.list_since(desk.now() - 2 * HOUR)
        # the simulator's GPUs do nothing or do not tell: what counts is the record
        told = [replace(look, gpu_percent=0) for look in looks]
        store.add(told)

    reaped = [result.reap.cause for results in runs for result in results]
    first = next(number for number, results in enumerate(runs) if results)
    assert reaped == [Cause.IDLE]
    assert first >= 3
    assert statuses(desk) == {}


def test_leases_are_enforced_where_looks_cannot_be_kept(
    desk: Desk, sim: SimServer
) -> None:
    desk.create("trainer", lease=HOUR)
    (desk.state_dir / "observations.sqlite3").write_bytes(b"no database" * 99)
    sim.advance(2 * 3600)

    (result,) = reaper(desk, IDLE).run()

    assert (result.reap.cause, result.outcome) == (Cause.LEASE_OVER, Outcome.DONE)


def test_looks_older_than_two_windows_are_forgotten(desk: Desk) -> None:
    store = ObservationStore(desk.state_dir)
    old = desk.now() - 2 * HOUR
    store.add([Observation(pod_id="p", observed_at=old, gpu_percent=0)])

    reaper(desk, IDLE).run()

    assert store.list_since(old - HOUR) == []


def test_listing_that_fails_does_nothing_and_says_so(
    desk: Desk, sim: SimServer
) -> None:
    desk.create("trainer", lease=HOUR)
    sim.advance(2 * 3600)
    sim.add_fault("html_500", operation="list", times=4)

    with pytest.raises(UnavailableError):
        reaper(desk).run()

    assert statuses(desk)["trainer"].is_billed


def test_expiry_is_announced_around_the_ending(desk: Desk, sim: SimServer) -> None:
    desk.create("trainer", lease=HOUR)
    sim.advance(2 * 3600)
    told: list[str] = []

    @contextmanager
    def announce(reap: Reap) -> Iterator[None]:
        told.append(f"{reap.pod.name} {len(statuses(desk))}")
        yield
        told.append(f"{reap.pod.name} {len(statuses(desk))}")

    reaper(desk, on_expired=announce).run()

    assert told == ["trainer 1", "trainer 0"]


def test_hanging_hook_delays_no_stop(
    desk: Desk, sim: SimServer, tmp_path: Path
) -> None:
    script = tmp_path / "hanging-hook"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    hook = Hook(command=(str(script),), timeout_seconds=60)
    events = (HookEvent.PRE_STOP, HookEvent.POST_STOP)
    hooks = Hooks(
        HookSettings(by_event=dict.fromkeys(events, (hook,))),
        environ={"PATH": os.environ["PATH"]},
        linger_seconds=0.1,
    )
    pod = desk.create("trainer", lease=HOUR, volume_gb=20)

    started = time.monotonic()
    with hooks:
        desk.client(hooks=hooks).stop_pod(pod.pod_id)
        elapsed = time.monotonic() - started

    assert elapsed < 5
    assert sim.find_pod(pod.pod_id)["desired_status"] == "EXITED"
    wait_for(lambda: not processes_mentioning(str(script)), what="no hook to be left")
