"""The journal of creates: what was wanted, what was sent, what came of it.

RunPod knows no idempotency key. So an intent is written here before a pod is asked for
and its id travels with the pod, in its environment and behind its name; whatever
happens to the answer or to this process, listing the pods tells afterwards whether the
pod exists. It must not call RunPod: `runpod_client.creation` does, and records here.

    planned ──> sent ──> settled     the pod exists (pod_id)
       │         ├─────> failed      refused for sure: nothing was made
       └─────────┴─────> abandoned   never sent, or never seen by later listings

A lock file per intent tells a create that is under way from one whose process died:
the lock dies with its holder. The database is `<state>/journal.sqlite3`, mode 0600; its
tables and their versions are `runpod_client.journal_schema`'s business.
Environment values are never written: they may be secrets.
"""

import enum
import fcntl
import json
import os
import secrets
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from runpod_client.errors import ConfigError, RejectedError
from runpod_client.journal_schema import open_journal
from runpod_client.model import Placement, PodSpec

_COLUMNS = (
    "intent_id, pod_name, spec, state, pod_id, created_at, updated_at,"
    " gpu_type, usd_per_hour"
)
# far longer than any create lives
_STALE_LOCK_SECONDS = 24 * 3600.0


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
    """One row of the journal.

    Attributes:
        spec_json: The wanted pod without the values of its environment.
        gpu_type: What was asked for last; empty before anything was.
        usd_per_hour: What that costs.
    """

    intent_id: str
    pod_name: str
    spec_json: str
    state: IntentState
    pod_id: str | None
    created_at: datetime
    updated_at: datetime
    gpu_type: str = ""
    usd_per_hour: Decimal = Decimal(0)


class _OpenDatabase:
    """A connection with what tells whether it may still be used."""

    def __init__(self, path: Path, user: object) -> None:
        self.connection = open_journal(path)
        self._key = _identify(path)
        self.close = weakref.finalize(user, _close, self.connection, os.getpid())

    def is_current(self, path: Path) -> bool:
        """Return whether this process opened it, and the file is still that one."""
        return self.close.alive and self._key == _identify(path)


class Journal:
    """The intents of one state directory; threads and processes may share it.

    It opens the database once and keeps it: opening costs several times what a step of
    a create does.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "journal.sqlite3"
        self._lock_dir = state_dir / "creates"
        self._database: _OpenDatabase | None = None
        # re-entrant: Ctrl-C inside a step must not lock out the step that cleans up
        self._turn = threading.RLock()

    def close(self) -> None:
        """Close the database; it is opened again when it is needed again."""
        with self._turn:
            self._drop_database()

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
        self._remove_stale_locks(now)
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
        placement: Placement | None = None,
        is_claimed: bool = True,
    ) -> None:
        """Move an intent on; an intent that is settled stays so.

        Args:
            placement: What is about to be asked for.
            is_claimed: Whether whoever wanted the pod learns of it now.
        """
        gpu_type = placement.gpu_type if placement else None
        price = str(placement.price_usd_per_hour) if placement else None
        with self._connected() as connection:
            connection.execute(
                "UPDATE intents SET state = ?, pod_id = coalesce(?, pod_id),"
                " gpu_type = coalesce(?, gpu_type),"
                " usd_per_hour = coalesce(?, usd_per_hour),"
                " is_claimed = ?, updated_at = ?"
                " WHERE intent_id = ? AND state != 'settled'",
                (
                    state,
                    pod_id,
                    gpu_type,
                    price,
                    is_claimed,
                    now.isoformat(),
                    intent_id,
                ),
            )

    def claim(self, intent_id: str) -> bool:
        """Tell that a pod's create is answered; False when it was already."""
        with self._connected() as connection:
            claimed = connection.execute(
                "UPDATE intents SET is_claimed = 1"
                " WHERE intent_id = ? AND NOT is_claimed",
                (intent_id,),
            )
        return claimed.rowcount > 0

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

    def list_unclaimed(self, spec_json: str) -> list[Intent]:
        """Return the settled creates of a spec whose caller never learnt of the pod."""
        if not self._path.exists():
            return []
        return self._select("WHERE NOT is_claimed AND spec = ?", spec_json)

    def list_given_up(self) -> list[Intent]:
        """Return the creates that were taken to have made no pod."""
        if not self._path.exists():
            return []
        return self._select("WHERE state IN ('failed', 'abandoned')")

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
        row = (
            intent.intent_id,
            intent.pod_name,
            intent.spec_json,
            intent.state,
            intent.pod_id,
            intent.created_at.isoformat(),
            intent.updated_at.isoformat(),
            intent.gpu_type,
            str(intent.usd_per_hour),
        )
        with self._connected() as connection:
            # one statement: of two creates of a name at once one finds the other
            inserted = connection.execute(
                f"INSERT INTO intents ({_COLUMNS})"  # noqa: S608  # a constant
                " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
                " (SELECT 1 FROM intents WHERE pod_name = ?"
                " AND state IN ('planned', 'sent'))",
                (*row, intent.pod_name),
            )
        if not inserted.rowcount:
            raise RejectedError(
                f"another create of a pod named {intent.pod_name!r} is open here",
                operation="createPod",
                hint="Wait for it to end, or look: runpod-client pods list",
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
                gpu_type=row[7],
                usd_per_hour=Decimal(row[8]),
            )
            for row in rows
        ]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Give the block the database, to itself; each statement commits alone."""
        with _writable(self._path), self._turn:
            database = self._database
            if database is None or not database.is_current(self._path):
                self._drop_database()
                database = self._database = _OpenDatabase(self._path, self)
            try:
                yield database.connection
            except BaseException:
                # whatever an interrupt left half done goes with the connection
                self._drop_database()
                raise

    def _drop_database(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

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

    def _remove_stale_locks(self, now: datetime) -> None:
        """Remove the lock files of creates that died just after their last step."""
        oldest = now.timestamp() - _STALE_LOCK_SECONDS
        try:
            stale = [f for f in self._lock_dir.iterdir() if f.stat().st_mtime < oldest]
        except OSError:
            return  # there are none, or others remove them at this moment
        for path in stale:
            self._forget_closed(path.name)


def render_spec(spec: PodSpec) -> str:
    """Return a spec as JSON, with the names of its environment but not the values."""
    document = asdict(spec)
    document["env"] = sorted(spec.env)
    # money, durations and nothing else have no JSON of their own
    return json.dumps(document, sort_keys=True, default=str)


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


def _identify(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file, and the process that looks at it, from others."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return os.getpid(), facts.st_dev, facts.st_ino


def _close(connection: sqlite3.Connection, process_id: int) -> None:
    # sqlite forbids a forked child to touch a connection of its parent
    if os.getpid() == process_id:
        connection.close()
