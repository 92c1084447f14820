import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import ConfigError, Journal, PodSpec, RejectedError
from runpod_client.intents import Intent, IntentState

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SPEC = PodSpec(
    name="x", gpu_types=("a",), image="img", bid_usd_per_gpu_hour=Decimal("0.10")
)


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
