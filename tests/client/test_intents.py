import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client.errors import ConfigError, RejectedError
from runpod_client.intents import Intent, IntentState, Journal, render_spec
from runpod_client.journal_schema import VERSION, roll_back
from runpod_client.model import CloudType, Constraints, Placement, PodSpec

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SPEC = PodSpec(
    name="x",
    image="img",
    place=Constraints(gpu_types=("a",), max_price_usd_per_hour=Decimal("0.10")),
    lease=timedelta(hours=2),
)
PLACEMENT = Placement(
    gpu_type="a",
    gpu_count=1,
    cloud_type=CloudType.SECURE,
    price_usd_per_hour=Decimal("0.43"),
)
# as the first released version made them, without a number
FIRST_TABLES = """
CREATE TABLE intents (
    intent_id TEXT PRIMARY KEY, pod_name TEXT NOT NULL, spec TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('planned', 'sent', 'settled', 'failed', 'abandoned')),
    pod_id TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX intents_by_state ON intents (state);
INSERT INTO intents VALUES ('i1', 'x', '{}', 'settled', 'p1',
    '2026-10-01T00:00:00+00:00', '2026-10-01T00:00:09+00:00');
"""


def run_sql(state_dir: Path, statements: str) -> list[tuple[object, ...]]:
    """Run statements on a journal; return the rows of the last one."""
    with closing(sqlite3.connect(state_dir / "journal.sqlite3")) as connection:
        *first, last = [s for s in statements.split(";\n") if s.strip()]
        connection.executescript(";\n".join([*first, ""]))
        rows = connection.execute(last).fetchall()
        connection.commit()
        return rows


def settle_one(journal: Journal, name: str, *, is_claimed: bool = True) -> str:
    """Take an intent from its plan to its pod, as a create does."""
    with journal.plan(replace(SPEC, name=name), now=NOW) as intent:
        journal.record(intent.intent_id, IntentState.SENT, now=NOW, placement=PLACEMENT)
        journal.record(
            intent.intent_id,
            IntentState.SETTLED,
            now=NOW,
            pod_id=f"p-{name}",
            is_claimed=is_claimed,
        )
    return intent.intent_id


def test_intent_is_written_before_the_block_runs(tmp_path: Path) -> None:
    with Journal(tmp_path).plan(SPEC, now=NOW) as intent:
        (found,) = Journal(tmp_path).list_open()

    assert found == intent
    assert found.state is IntentState.PLANNED
    assert found.created_at == NOW


def test_settled_intent_is_found_by_its_pod_and_stays_settled(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.plan(SPEC, now=NOW) as intent:
        journal.record(intent.intent_id, IntentState.SENT, now=NOW)
        journal.record(intent.intent_id, IntentState.SETTLED, now=NOW, pod_id="p")
    journal.record(intent.intent_id, IntentState.ABANDONED, now=NOW)

    found = journal.find_by_pod("p")

    assert found is not None
    assert (found.intent_id, found.state) == (intent.intent_id, IntentState.SETTLED)
    assert journal.list_open() == []
    assert list((tmp_path / "creates").iterdir()) == []


def test_intent_under_way_cannot_be_adopted_and_an_orphan_can(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with (
        journal.plan(SPEC, now=NOW) as intent,
        journal.adopt(intent.intent_id) as is_ours,
    ):
        assert not is_ours

    with journal.adopt(intent.intent_id) as is_ours:
        assert is_ours


def test_one_of_many_creates_of_a_name_wins(tmp_path: Path) -> None:
    start, done = threading.Barrier(8), threading.Barrier(8)
    won: list[Intent] = []
    refused: list[RejectedError] = []

    def plan() -> None:
        start.wait()
        try:
            with Journal(tmp_path).plan(SPEC, now=NOW) as intent:
                won.append(intent)
                done.wait()
        except RejectedError as error:
            refused.append(error)
            done.wait()

    threads = [threading.Thread(target=plan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert (len(won), len(refused)) == (1, 7)


def test_reading_an_absent_journal_makes_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")

    assert journal.list_open() == []
    assert journal.find_by_pod("p") is None
    assert list(tmp_path.iterdir()) == []


def test_broken_journal_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"this is no database" * 99)

    with pytest.raises(ConfigError, match="journal of creates"):
        Journal(tmp_path).list_open()


def test_intent_remembers_what_was_asked_for_last(tmp_path: Path) -> None:
    settle_one(Journal(tmp_path), "x")

    found = Journal(tmp_path).find_by_pod("p-x")

    assert found is not None
    assert (found.gpu_type, found.usd_per_hour) == ("a", Decimal("0.43"))


def test_spec_is_rendered_without_values_and_tells_every_difference() -> None:
    secret = replace(SPEC, env={"TOKEN": "planted-value"})
    others = [
        replace(SPEC, lease=timedelta(hours=3)),
        replace(SPEC, place=replace(SPEC.place, min_cuda="12.4")),
        replace(SPEC, fallbacks=(Constraints(),)),
        replace(SPEC, network_volume_id="vol1"),
        secret,
    ]

    assert "planted-value" not in render_spec(secret)
    assert len({render_spec(spec) for spec in [SPEC, *others]}) == 1 + len(others)


def test_settled_create_is_claimed_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = settle_one(journal, "x")
    untold = settle_one(journal, "y", is_claimed=False)

    unclaimed = journal.list_unclaimed(render_spec(replace(SPEC, name="y")))

    assert [intent.intent_id for intent in unclaimed] == [untold]
    assert [journal.claim(i) for i in (told, untold, untold)] == [False, True, False]
    assert journal.list_unclaimed(render_spec(replace(SPEC, name="y"))) == []


def test_first_journal_is_moved_forward_with_its_intents(tmp_path: Path) -> None:
    run_sql(tmp_path, FIRST_TABLES)

    found = Journal(tmp_path).find_by_pod("p1")

    assert found is not None
    assert (found.pod_name, found.state) == ("x", IntentState.SETTLED)
    assert run_sql(tmp_path, "PRAGMA user_version") == [(VERSION,)]


def test_journal_goes_one_version_back_and_forward_with_its_intents(
    tmp_path: Path,
) -> None:
    intent_id = settle_one(Journal(tmp_path), "x")
    path = tmp_path / "journal.sqlite3"

    done = subprocess.run(
        [sys.executable, "-m", "runpod_client.journal_schema", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    columns = {row[1] for row in run_sql(tmp_path, "PRAGMA table_info(intents)")}
    again = Journal(tmp_path).get(intent_id)

    assert done.stdout == f"version {VERSION - 1}\n"
    assert columns == {
        "intent_id", "pod_name", "spec", "state", "pod_id", "created_at", "updated_at",
    }  # fmt: skip
    assert (again.state, again.pod_id) == (IntentState.SETTLED, "p-x")


def test_journal_without_a_version_before_it_goes_no_further_back(
    tmp_path: Path,
) -> None:
    settle_one(Journal(tmp_path), "x")
    roll_back(tmp_path / "journal.sqlite3")

    with pytest.raises(ConfigError, match="version 1, which has none before it"):
        roll_back(tmp_path / "journal.sqlite3")
    with pytest.raises(ConfigError, match="there is no journal"):
        roll_back(tmp_path / "none.sqlite3")


def test_journal_of_a_newer_program_is_refused_and_left_as_it_is(
    tmp_path: Path,
) -> None:
    settle_one(Journal(tmp_path), "x")
    run_sql(tmp_path, f"PRAGMA user_version = {VERSION + 1}")

    with pytest.raises(ConfigError, match=f"knows versions up to {VERSION}") as caught:
        Journal(tmp_path).list_open()

    assert "newer runpod-client" in caught.value.hint
    assert run_sql(tmp_path, "PRAGMA user_version") == [(VERSION + 1,)]


def test_new_journals_opened_at_once_agree_on_their_tables(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    done: list[str] = []

    def work(number: int) -> None:
        start.wait()
        done.append(settle_one(Journal(tmp_path), f"x{number}"))

    run_threads(work, 8)

    assert len(set(done)) == 8
    assert run_sql(tmp_path, "SELECT count(*) FROM intents") == [(8,)]


def test_one_journal_serves_many_threads(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    done: list[str] = []

    def work(number: int) -> None:
        done.extend(settle_one(journal, f"x{number}-{turn}") for turn in range(5))

    run_threads(work, 8)

    assert len(set(done)) == 40
    assert journal.list_open() == []
    assert list((tmp_path / "creates").iterdir()) == []


def test_journal_whose_file_was_removed_begins_a_new_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    settle_one(journal, "x")
    for path in tmp_path.glob("journal.sqlite3*"):
        path.unlink()

    settle_one(journal, "y")

    assert run_sql(tmp_path, "SELECT pod_name FROM intents") == [("y",)]


def test_closed_journal_is_opened_again_when_needed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    intent_id = settle_one(journal, "x")
    journal.close()

    assert journal.get(intent_id).state is IntentState.SETTLED


def test_lock_of_a_create_that_died_after_its_last_step_goes_in_time(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    closed = settle_one(journal, "x")
    locks = tmp_path / "creates"
    two_days_ago = (NOW - timedelta(days=2)).timestamp()
    with journal.plan(replace(SPEC, name="open"), now=NOW) as under_way:
        for name in (closed, "never-written", under_way.intent_id):
            (locks / name).touch()
            os.utime(locks / name, (two_days_ago, two_days_ago))
        (locks / "recent").touch()

        settle_one(journal, "y")

        left = {path.name for path in locks.iterdir()}
    assert left == {under_way.intent_id, "recent"}


def run_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
