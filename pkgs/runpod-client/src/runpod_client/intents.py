"""The journal of creates: what was wanted, what was sent, what came of it.

RunPod knows no idempotency key. So an intent is written here before a pod is asked for
and its id travels in the pod's environment; whatever happens to the answer or to this
process, listing the pods tells afterwards whether the pod exists. It must not call
RunPod: `runpod_client.creation` does, and records here.

    planned ──> sent ──> settled     the pod exists (pod_id)
       │         ├─────> failed      refused for sure: nothing was made
       └─────────┴─────> abandoned   never sent, or never seen by later listings

A lock file per intent tells a create that is under way from one whose process died:
the lock dies with its holder. The database is `<state>/journal.sqlite3`, mode 0600.
Environment values are never written: they may be secrets.
"""

import enum
import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runpod_client.errors import ConfigError, RejectedError
from runpod_client.model import PodSpec

_BUSY_TIMEOUT_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    intent_id TEXT PRIMARY KEY,
    pod_name TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('planned', 'sent', 'settled', 'failed', 'abandoned')),
    pod_id TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_by_state ON intents (state);
CREATE INDEX IF NOT EXISTS intents_by_pod ON intents (pod_id);
"""
_COLUMNS = "intent_id, pod_name, spec, state, pod_id, created_at, updated_at"


class IntentState(enum.StrEnum):
    """How far a create has come."""

    PLANNED = "planned"
    SENT = "sent"
    SETTLED = "settled"
    FAILED = "failed"
    ABANDONED = "abandoned"


OPEN_STATES = (IntentState.PLANNED, IntentState.SENT)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One row of the journal; `spec_json` is the wanted pod without env values."""

    intent_id: str
    pod_name: str
    spec_json: str
    state: IntentState
    pod_id: str | None
    created_at: datetime
    updated_at: datetime


class Journal:
    """The intents of one state directory; threads and processes may share it."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "journal.sqlite3"
        self._lock_dir = state_dir / "creates"

    @contextmanager
    def plan(self, spec: PodSpec, *, now: datetime) -> Iterator[Intent]:
        """Write an intent and hold its lock while the block runs.

        Raises:
            RejectedError: Another create of that pod name is open.
            ConfigError: The journal cannot be written.
        """
        intent = Intent(
            intent_id=secrets.token_hex(8),
            pod_name=spec.name,
            spec_json=render_spec(spec),
            state=IntentState.PLANNED,
            pod_id=None,
            created_at=now,
            updated_at=now,
        )
        with self._locked(intent.intent_id) as is_ours:
            if not is_ours:
                raise ConfigError(f"cannot lock {self._lock_dir}", setting="state_dir")
            try:
                self._insert(intent)
                yield intent
            finally:
                self._forget_closed(intent.intent_id)

    def record(
        self,
        intent_id: str,
        state: IntentState,
        *,
        now: datetime,
        pod_id: str | None = None,
    ) -> None:
        """Move an intent on; an intent that is settled stays so."""
        with self._connected() as connection, connection:
            connection.execute(
                "UPDATE intents SET state = ?, pod_id = coalesce(?, pod_id),"
                " updated_at = ? WHERE intent_id = ? AND state != 'settled'",
                (state, pod_id, now.isoformat(), intent_id),
            )

    def get(self, intent_id: str) -> Intent:
        """Return one intent; KeyError when there is none of that id."""
        found = self._select("WHERE intent_id = ?", intent_id)
        if not found:
            raise KeyError(intent_id)
        return found[0]

    def list_open(self) -> list[Intent]:
        """Return the intents whose outcome is not known, oldest first."""
        if not self._path.exists():
            return []
        return self._select("WHERE state IN ('planned', 'sent') ORDER BY created_at")

    def find_by_pod(self, pod_id: str) -> Intent | None:
        """Return the intent that made a pod, None for a pod made by other means."""
        if not self._path.exists():
            return None
        found = self._select("WHERE pod_id = ?", pod_id)
        return found[0] if found else None

    @contextmanager
    def adopt(self, intent_id: str) -> Iterator[bool]:
        """Take over an intent whose process died; False while that process lives."""
        with self._locked(intent_id) as is_ours:
            yield is_ours
            if is_ours:
                self._forget_closed(intent_id)

    def _insert(self, intent: Intent) -> None:
        with self._connected() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            rival = connection.execute(
                "SELECT intent_id FROM intents WHERE pod_name = ?"
                " AND state IN ('planned', 'sent')",
                (intent.pod_name,),
            ).fetchone()
            if rival:
                raise RejectedError(
                    f"another create of a pod named {intent.pod_name!r} is open here",
                    operation="createPod",
                    hint="Wait for it to end, or look: runpod-client pods list",
                )
            connection.execute(
                f"INSERT INTO intents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # a constant
                (
                    intent.intent_id,
                    intent.pod_name,
                    intent.spec_json,
                    intent.state,
                    intent.pod_id,
                    intent.created_at.isoformat(),
                    intent.updated_at.isoformat(),
                ),
            )

    def _select(self, clause: str, *values: str) -> list[Intent]:
        with self._connected() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM intents {clause}",  # noqa: S608  # constants
                values,
            ).fetchall()
        return [
            Intent(
                intent_id=row[0],
                pod_name=row[1],
                spec_json=row[2],
                state=IntentState(row[3]),
                pod_id=row[4],
                created_at=_parse_time(row[5]),
                updated_at=_parse_time(row[6]),
            )
            for row in rows
        ]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open the database for one piece of work; connections are cheap, locks not."""
        with _writable(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # sqlite gives its side files the mode of the database
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_SECONDS)
            with closing(connection):
                connection.execute("PRAGMA journal_mode = WAL")
                # a create must be on the disk before it is on the wire
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
                yield connection

    @contextmanager
    def _locked(self, intent_id: str) -> Iterator[bool]:
        """Hold an intent's lock for the block; False when another holds it."""
        path = self._lock_dir / intent_id
        with _writable(path):
            self._lock_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _forget_closed(self, intent_id: str) -> None:
        """Remove the lock file of an intent that nobody has to settle any more."""
        found = self._select("WHERE intent_id = ?", intent_id)
        if not found or found[0].state not in OPEN_STATES:
            (self._lock_dir / intent_id).unlink(missing_ok=True)


def render_spec(spec: PodSpec) -> str:
    """Return a spec as JSON, with the names of its environment but not the values."""
    document = {
        "name": spec.name,
        "gpu_types": spec.gpu_types,
        "image": spec.image,
        "gpu_count": spec.gpu_count,
        "cloud_type": spec.cloud_type,
        "container_disk_gb": spec.container_disk_gb,
        "volume_gb": spec.volume_gb,
        "volume_mount_path": spec.volume_mount_path,
        "ports": spec.ports,
        "env_names": sorted(spec.env),
        "data_center_id": spec.data_center_id,
        "bid_usd_per_gpu_hour": None
        if spec.bid_usd_per_gpu_hour is None
        else str(spec.bid_usd_per_gpu_hour),
        "start_command": spec.start_command,
    }
    return json.dumps(document, sort_keys=True)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn what the disk or the database refuses into a sentence."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot use the journal of creates {path}: {reason}",
            setting="state_dir",
            hint="Point RUNPOD_STATE_DIR at a folder that can be written.",
        ) from error


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
