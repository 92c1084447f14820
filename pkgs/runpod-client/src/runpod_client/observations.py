"""How busy our pods' GPUs were, kept between the runs of `runpod-client reap`.

One look says nothing about idleness; the looks of a whole window do. They are kept in
`<state>/observations.sqlite3` (mode 0600), apart from the journal: losing them costs a
window of patience and nothing else. It must not decide anything.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runpod_client.errors import ConfigError
from runpod_client.model import Pod

_BUSY_TIMEOUT_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS observations (
    pod_id TEXT NOT NULL,
    observed_at REAL NOT NULL,
    gpu_percent INTEGER,
    PRIMARY KEY (pod_id, observed_at)
) WITHOUT ROWID
"""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at a pod.

    Attributes:
        gpu_percent: Of the busiest of its GPUs; None where one of them told nothing.
    """

    pod_id: str
    observed_at: datetime
    gpu_percent: int | None


def observe(pod: Pod, now: datetime) -> Observation:
    """Return what a listing says about a pod's GPUs."""
    loads = [gpu.gpu_percent for gpu in pod.gpus]
    told = [load for load in loads if load is not None]
    is_complete = bool(loads) and len(told) == len(loads)
    return Observation(
        pod_id=pod.pod_id,
        observed_at=now,
        gpu_percent=max(told) if is_complete else None,
    )


class ObservationStore:
    """The looks of one state directory; processes may share it."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "observations.sqlite3"

    def add(self, observations: Iterable[Observation]) -> None:
        """Keep looks.

        Raises:
            ConfigError: They cannot be written.
        """
        rows = [
            (o.pod_id, o.observed_at.timestamp(), o.gpu_percent) for o in observations
        ]
        with self._connected() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO observations VALUES (?, ?, ?)", rows
            )

    def list_since(self, moment: datetime) -> list[Observation]:
        """Return the looks made since a moment, oldest first.

        Raises:
            ConfigError: They cannot be read.
        """
        if not self._path.exists():
            return []
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT pod_id, observed_at, gpu_percent FROM observations"
                " WHERE observed_at >= ? ORDER BY observed_at",
                (moment.timestamp(),),
            ).fetchall()
        return [
            Observation(
                pod_id=pod_id,
                observed_at=datetime.fromtimestamp(observed_at, UTC),
                gpu_percent=gpu_percent,
            )
            for pod_id, observed_at, gpu_percent in rows
        ]

    def prune(self, moment: datetime) -> None:
        """Forget the looks made before a moment.

        Raises:
            ConfigError: They cannot be written.
        """
        with self._connected() as connection:
            connection.execute(
                "DELETE FROM observations WHERE observed_at < ?", (moment.timestamp(),)
            )

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            os.close(os.open(self._path, flags, 0o600))
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_SECONDS)
            with closing(connection), connection:
                connection.execute(_SCHEMA)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"cannot use the observations in {self._path}: {error}",
                setting="state_dir",
                hint="Remove that file: it is made anew. Or point RUNPOD_STATE_DIR at "
                "a folder that can be written.",
            ) from error
