import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.creations import OWNER, Desk, open_desk
from support.sim import SimServer, serving

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    with serving(tmp_path_factory.mktemp("sim"), "--pull-seconds", "9999") as server:
        yield server


@pytest.fixture
def desk(sim: SimServer, tmp_path: Path) -> Iterator[Desk]:
    """An account of the test's own, in which pods were rented three hours ago."""
    made = open_desk(
        sim.base_url,
        tmp_path / "state",
        key=f"rpa_{tmp_path.name.replace('_', '')}",
        dialect="graphql",
        now=lambda: datetime.now(UTC) - 3 * HOUR,
    )
    yield made
    made.terminate_all()
    made.close()


def run(
    desk: Desk, sim: SimServer, *arguments: str, owner: str = OWNER
) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("runpod-client")
    return subprocess.run(
        [str(program), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(desk.state_dir),
            "RUNPOD_API_BASE_URL": sim.base_url,
            "RUNPOD_API_KEY": f"rpa_{desk.state_dir.parent.name.replace('_', '')}",
            "RUNPOD_STATE_DIR": str(desk.state_dir),
            "RUNPOD_OWNER": owner,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_json(
    desk: Desk, sim: SimServer, *arguments: str, owner: str = OWNER
) -> dict[str, Any]:
    done = run(desk, sim, *arguments, "--json", owner=owner)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_leases_of_all_pods_of_the_owner_are_shown(desk: Desk, sim: SimServer) -> None:
    desk.create("over", lease=HOUR)
    desk.create("inside", lease=9 * HOUR)
    desk.create("endless", lease=None)

    shown = run(desk, sim, "lease", "show")
    document = run_json(desk, sim, "lease", "show")

    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "over for 2h" in lines["over"] or "over for 1h59m" in lines["over"]
    assert "no end" in lines["endless"]
    rows = {row["name"]: row for row in document["leases"]}
    assert [rows[n]["is_over"] for n in ("over", "inside", "endless")] == [
        True, False, False,
    ]  # fmt: skip
    assert set(rows["inside"]) == {
        "pod_id", "name", "status", "owner", "lease_ends_at", "remaining_seconds",
        "is_over", "price_usd_per_hour",
    }  # fmt: skip
    assert 5.9 * 3600 < rows["inside"]["remaining_seconds"] < 6.1 * 3600


def test_extending_shows_the_price_and_asks(desk: Desk, sim: SimServer) -> None:
    pod = desk.create("trainer", lease=9 * HOUR)

    asked = run(desk, sim, "lease", "extend", "trainer", "2h")

    assert asked.returncode == 2
    assert "2h longer, for $0.98 more at $0.49/hour" in asked.stderr
    assert desk.cloud.list_pods()[0].lease_ends_at == pod.lease_ends_at


def test_lease_is_extended_set_and_dropped_by_name(desk: Desk, sim: SimServer) -> None:
    pod = desk.create("trainer", lease=9 * HOUR)
    assert pod.lease_ends_at is not None

    extended = run_json(desk, sim, "lease", "extend", "trainer", "1d", "--yes")
    shorter = run_json(desk, sim, "lease", "set", pod.pod_id, "30m")
    dropped = run_json(desk, sim, "lease", "drop", "trainer", "--yes")

    ends_at = datetime.fromisoformat(extended["lease_ends_at"])
    assert ends_at == pod.lease_ends_at + timedelta(days=1)
    assert not extended["was_restarted"]
    assert 29 * 60 < shorter["remaining_seconds"] <= 31 * 60
    assert dropped["lease_ends_at"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("extend", "trainer", "soon", "--yes"), 2, "'soon' is no length of time"),
        (("set", "trainer", "none", "--yes"), 2, "lease drop"),
        (("extend", "nobody", "2h", "--yes"), 4, "there is no pod 'nobody'"),
        (("extend", "endless", "2h", "--yes"), 2, "lease set"),
        (("drop", "trainer"), 2, "without end"),
    ],
)
def test_lease_that_cannot_be_changed_is_a_sentence_and_a_hint(
    desk: Desk,
    sim: SimServer,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    desk.create("trainer", lease=9 * HOUR)
    desk.create("endless", lease=None)

    done = run(desk, sim, "lease", *arguments)

    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_reap_ends_what_is_over_and_tells_the_saving(
    desk: Desk, sim: SimServer
) -> None:
    desk.create("over", lease=HOUR)
    desk.create("inside", lease=9 * HOUR)

    foreseen = run(desk, sim, "reap", "--dry-run")
    document = run_json(desk, sim, "reap")
    nothing = run(desk, sim, "reap")

    assert "its lease ended" in foreseen.stdout
    assert "would" in foreseen.stdout
    (row,) = document["pods"]
    assert (row["name"], row["action"], row["outcome"]) == ("over", "terminate", "done")
    assert row["cause"] == "lease over"
    assert float(row["saves_usd_per_hour"]) > 0.4
    assert not document["dry_run"]
    assert nothing.stdout == "Nothing to end.\n"
    assert [pod.name for pod in desk.cloud.list_pods()] == ["inside"]


def test_reap_spares_a_pod_within_its_grace(desk: Desk, sim: SimServer) -> None:
    desk.create("over", lease=HOUR)

    document = run_json(desk, sim, "reap", "--grace", "5h")

    assert document["pods"] == []


def test_reap_fails_when_an_action_failed(desk: Desk, sim: SimServer) -> None:
    desk.create("over", lease=HOUR, volume_gb=20)
    sim.add_fault("html_500", operation="stop", times=99)

    done = run(desk, sim, "reap")
    sim.admin("DELETE", "faults")

    assert done.returncode == 1
    assert "failed" in done.stdout
    assert desk.cloud.list_pods()[0].status.is_billed


def test_reap_of_another_owner_touches_nothing(desk: Desk, sim: SimServer) -> None:
    desk.create("over", lease=HOUR)

    document = run_json(desk, sim, "reap", owner=f"{OWNER}-2")

    assert document["pods"] == []
    assert len(desk.cloud.list_pods()) == 1
