import contextlib
import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError, DeadlineError, Pod, PodStatus
from runpod_client.probes import Probe, RunningProbe, SSHProbe
from runpod_client.readiness import (
    Goal,
    GoalKind,
    Plan,
    Progress,
    Step,
    Watch,
    choose_step,
    make_probe,
    parse_goal,
)
from runpod_client.wait import wait_until
from support.clock import FakeTime
from support.listeners import Listener, listening, make_pod, say

BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("running", Goal(kind=GoalKind.RUNNING)),
        ("ssh", Goal(kind=GoalKind.SSH)),
        ("tcp:9000", Goal(kind=GoalKind.TCP, port=9000)),
        ("http:8188", Goal(kind=GoalKind.HTTP, port=8188)),
        ("http:8188/a?b=c:d", Goal(kind=GoalKind.HTTP, port=8188, path="/a?b=c:d")),
        ("log:ready: [0-9]+", Goal(kind=GoalKind.LOG, pattern="ready: [0-9]+")),
    ],
)
def test_goal_is_read_as_written(text: str, goal: Goal) -> None:
    probe = make_probe(parse_goal(text), lambda _pod: [])

    assert parse_goal(text) == goal
    assert probe.uses_api is (goal.kind is GoalKind.LOG)


@pytest.mark.parametrize(
    "text",
    ["", "SSH", "ssh:22", "tcp", "tcp:", "tcp:0", "tcp:65536", "tcp:80/x", "http:80x",
     "http:80/a b", "http:80/\r\nX: y", "log:", "log:(", "running:1"],
)  # fmt: skip
def test_goal_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_goal(text)


@given(
    moments=st.lists(st.floats(0.01, 3), min_size=1, max_size=200),
    answers=st.lists(st.booleans(), min_size=1),
    uses_api=st.booleans(),
)
def test_runpod_is_asked_once_in_five_seconds_but_for_the_first_few_times(
    moments: list[float], answers: list[bool], *, uses_api: bool
) -> None:
    plan = Plan()
    progress = Progress(uses_api=uses_api)
    asked: list[float] = []
    has_pod = itertools.cycle(answers)

    now = 0.0
    for pause in moments:
        step = choose_step(plan, progress, now)
        if step is Step.LOOK:
            asked.append(now)
            progress = replace(
                progress, looked_at=now, calls=len(asked), can_probe=next(has_pod)
            )
        elif step is Step.PROBE:
            assert progress.can_probe
            if uses_api:
                asked.append(now)
            progress = replace(progress, probed_at=now, calls=len(asked))
        now += pause

    assert asked[0] == 0.0
    gaps = [b - a for a, b in itertools.pairwise(asked)]
    assert all(gap >= plan.eager_seconds for gap in gaps[: plan.eager_looks])
    assert all(gap >= plan.api_seconds for gap in gaps[plan.eager_looks :])


def test_known_address_is_probed_ten_times_a_second_between_two_looks() -> None:
    steps = []
    progress = Progress(calls=10)

    for tick in range(102):
        now = tick / 20
        step = choose_step(Plan(), progress, now)
        steps.append(step)
        if step is Step.LOOK:
            progress = replace(progress, looked_at=now, can_probe=True)
        elif step is Step.PROBE:
            progress = replace(progress, probed_at=now)

    assert [n for n, step in enumerate(steps) if step is Step.LOOK] == [0, 100]
    assert steps[1:100:2] == [Step.PROBE] * 50
    assert steps[2:100:2] == [Step.PAUSE] * 49


def test_log_is_read_by_turns_with_looking_at_the_pod() -> None:
    steps = []
    progress = Progress(uses_api=True, calls=10)

    for now in range(0, 30, 5):
        step = choose_step(Plan(), progress, float(now))
        steps.append(step)
        if step is Step.LOOK:
            progress = replace(progress, looked_at=float(now), can_probe=True)
        else:
            progress = replace(progress, probed_at=float(now))

    assert steps == [Step.LOOK, Step.PROBE] * 3


def wait_with(
    fake_time: FakeTime, look: Callable[[], Pod | None], probe: Probe, timeout: float
) -> Pod:
    watch = Watch(look, probe, clock=fake_time.clock)
    return wait_until(
        watch,
        what="the pod to be ready",
        timeout=timeout,
        interval=Plan().probe_seconds,
        clock=fake_time.clock,
        sleep=fake_time.sleep,
    )


def test_wait_of_ten_minutes_costs_one_call_in_five_seconds() -> None:
    fake_time = FakeTime()
    looks: list[float] = []

    def look() -> Pod:
        looks.append(fake_time.clock())
        return make_pod()

    with pytest.raises(DeadlineError) as raised:
        wait_with(fake_time, look, SSHProbe(), timeout=600)

    assert raised.value.last_status == "port 22 has no public address yet"
    assert len(looks) <= 600 / 5 + 1 + 2 * Plan().eager_looks


def test_failing_looks_are_paced_as_well() -> None:
    fake_time = FakeTime()
    looks: list[float] = []

    def look() -> Pod:
        looks.append(fake_time.clock())
        raise TimeoutError

    watch = Watch(look, SSHProbe(), clock=fake_time.clock)
    for _ in range(100):
        with contextlib.suppress(TimeoutError):
            watch()
        fake_time.sleep(0.2)

    assert len(looks) == 8


def test_pod_that_is_not_up_yet_is_told_and_not_probed() -> None:
    fake_time = FakeTime()
    pods = [None, make_pod(status=PodStatus.STARTING), make_pod()]

    watch = Watch(lambda: pods.pop(0), RunningProbe(), clock=fake_time.clock)
    seen = []
    while pods:
        seen.append(watch())
        fake_time.sleep(5)

    assert seen == [
        (None, "not listed"),
        (None, "starting"),
        (make_pod(), "running"),
    ]


def test_host_that_fails_to_report_for_a_moment_does_not_end_the_probing() -> None:
    fake_time = FakeTime()
    talks = [say(), say(BANNER)]
    with listening(lambda met: talks.pop(0)(met)) as server:  # noqa: PLW0108  # one each
        gap = make_pod(status=PodStatus.STARTING)
        pods = [make_pod(server.port), gap]
        watch = Watch(lambda: pods.pop(0), SSHProbe(), clock=fake_time.clock)

        early, status = watch()
        fake_time.sleep(5)
        ready, _ = watch()

    assert (early, status) == (None, "closed without an answer")
    assert ready == make_pod(server.port)
    assert pods == []


def test_pod_that_was_started_anew_is_not_probed_at_its_old_address() -> None:
    fake_time = FakeTime()
    with listening(say()) as server:
        anew = replace(
            make_pod(status=PodStatus.STARTING),
            started_at=datetime(2026, 11, 2, tzinfo=UTC),
        )
        pods = [make_pod(server.port), anew]
        watch = Watch(lambda: pods.pop(0), SSHProbe(), clock=fake_time.clock)

        watch()
        fake_time.sleep(5)
        watch()
        fake_time.sleep(0.2)
        ready, status = watch()

    assert (ready, status) == (None, "starting")
    assert server.accepted == 1


def test_pod_is_ready_within_300_ms_of_its_sshd_answering() -> None:
    draw = random.Random(7)  # noqa: S311  # the same delays in each run
    delays = [0.3 + draw.random() for _ in range(20)]

    def wait_for_one(delay: float) -> tuple[float, int]:
        looks = []
        server = Listener(say(BANNER))
        pod = make_pod(server.port)

        def look() -> Pod:
            looks.append(pod)
            return pod

        opener = threading.Timer(delay, server.open)
        opener.start()
        try:
            wait_until(
                Watch(look, SSHProbe()),
                what="sshd",
                timeout=20,
                interval=Plan().probe_seconds,
            )
            return time.monotonic() - server.opened_at, len(looks)
        finally:
            opener.join(timeout=5)
            server.close()

    with ThreadPoolExecutor(len(delays)) as pool:
        results = list(pool.map(wait_for_one, delays))

    late = [seconds for seconds, _ in results]
    p95 = statistics.quantiles(late, n=20)[-1]
    print(f"ready after {statistics.median(late):.3f} s, p95 {p95:.3f} s")  # noqa: T201  # figures
    assert p95 <= 0.3, f"p95 {p95:.3f} s, worst {max(late):.3f} s"
    # none of these waits lasts long enough for more than the eager ones
    assert max(looks for _, looks in results) <= 2 * (1 + Plan().eager_looks)
