import pytest

from runpod_client import AuthenticationError, Pace, Pod, RunPodClient
from runpod_client.changes import Change, ChangeKind
from runpod_client.watching import Watch
from support.clock import FakeTime
from support.http_server import Answer
from support.runpod_script import RunPodScript, pod_row

Round = tuple[list[str], list[tuple[str, ChangeKind]], str]


class Seen:
    """What was shown, and what happens to the account between the rounds."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def __call__(
        self, pods: list[Pod], changes: tuple[Change, ...], trouble: str
    ) -> None:
        self.rounds.append(
            (
                [pod.name for pod in pods],
                [(change.pod.name, change.kind) for change in changes],
                trouble,
            )
        )


def watch_of(
    client: RunPodClient, fake_time: FakeTime, *, owner: str | None = None
) -> Watch:
    pace = Pace(clock=fake_time.clock, sleep=fake_time.sleep, now=fake_time.now)
    return Watch(client, interval_seconds=5, owner=owner, pace=pace)


def test_each_round_costs_one_call_and_shows_what_changed(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    runpod.pods["id0"] = pod_row("id0", "a")
    seen = Seen()

    watch_of(client, fake_time).run(seen, duration_seconds=10)

    assert seen.rounds == [
        (["a"], [("a", ChangeKind.APPEARED)], ""),
        (["a"], [], ""),
        (["a"], [], ""),
    ]
    assert runpod.counts["listPods"] == 3
    assert fake_time.elapsed_seconds == 10


def test_pod_is_gone_at_its_second_absence(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    runpod.pods["id0"] = pod_row("id0", "a")
    seen = Seen()
    watch = watch_of(client, fake_time)

    watch.run(seen, duration_seconds=0)
    runpod.pods.clear()
    watch.run(seen, duration_seconds=5)

    assert [round_[1] for round_ in seen.rounds[1:]] == [[], [("a", ChangeKind.GONE)]]


def test_listing_that_fails_is_told_and_takes_no_pod_away(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    runpod.pods["id0"] = pod_row("id0", "a")
    seen = Seen()
    watch = watch_of(client, fake_time)

    watch.run(seen, duration_seconds=0)
    runpod.instead["listPods"] = [Answer(status=503)] * 8
    watch.run(seen, duration_seconds=5)

    for names, changes, trouble in seen.rounds[1:]:
        assert (names, changes) == (["a"], [])
        assert "listPods" in trouble


def test_key_that_is_refused_ends_the_watching(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    runpod.instead["listPods"] = [Answer(status=401)]

    with pytest.raises(AuthenticationError):
        watch_of(client, fake_time).run(Seen())


def test_pods_of_others_are_left_out_where_mine_are_wanted(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    mine = ["RUNPOD_CLIENT_OWNER=tester", "RUNPOD_CLIENT_INTENT=0011223344556677"]
    runpod.pods["id0"] = pod_row("id0", "theirs")
    runpod.pods["id1"] = pod_row("id1", "mine", env=mine)
    seen = Seen()

    watch_of(client, fake_time, owner="tester").run(seen, duration_seconds=0)

    assert seen.rounds[0][0] == ["mine"]
