"""The lowest winning bids of the last week, as far as this machine has seen them.

RunPod publishes no history of spot prices. Each time a bid is decided on, the floors of
that moment are kept in `<state>/prices.sqlite3` (mode 0600), one an hour for a GPU type
in a cloud; a percentile is then one of prices that were. Losing the file costs that and
nothing else, so trouble with it is logged and never holds up a rental.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from runpod_client.choice import History
from runpod_client.logs import get_logger
from runpod_client.model import CloudType, GPUOffer

KEPT_FOR = timedelta(days=7)
_BUSY_TIMEOUT_SECONDS = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS floors (
    gpu_type TEXT NOT NULL,
    cloud_type TEXT NOT NULL,
    hour INTEGER NOT NULL,
    usd_per_gpu_hour TEXT NOT NULL,
    PRIMARY KEY (gpu_type, cloud_type, hour)
) WITHOUT ROWID
"""

_log = get_logger(__name__)


class PriceHistory:
    """The floors of one state directory; processes may share it."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "prices.sqlite3"

    def add(self, offers: Iterable[GPUOffer], now: datetime) -> None:
        """Keep the floors of a catalogue, and forget those older than a week."""
        rows = [
            (offer.gpu_type, offer.cloud_type.value, _hour_of(now), str(floor))
            for offer in offers
            if (floor := offer.minimum_bid_usd_per_gpu_hour) is not None
        ]
        oldest = _hour_of(now - KEPT_FOR)
        try:
            with self._connected() as connection:
                insert = "INSERT OR REPLACE INTO floors VALUES (?, ?, ?, ?)"
                connection.executemany(insert, rows)
                connection.execute("DELETE FROM floors WHERE hour < ?", (oldest,))
        except (OSError, sqlite3.Error) as error:
            _log.warning("price_history_failed", error_detail=str(error))

    def read(self, now: datetime) -> History:
        """Return the floors of the last week by GPU type and cloud, oldest first."""
        found: dict[tuple[str, CloudType], list[Decimal]] = {}
        if not self._path.exists():
            return found
        try:
            with self._connected() as connection:
                rows = connection.execute(
                    "SELECT gpu_type, cloud_type, usd_per_gpu_hour FROM floors"
                    " WHERE hour >= ? ORDER BY hour",
                    (_hour_of(now - KEPT_FOR),),
                ).fetchall()
        except (OSError, sqlite3.Error) as error:
            _log.warning("price_history_failed", error_detail=str(error))
            return found
        for gpu_type, cloud_type, price in rows:
            key = (gpu_type, CloudType(cloud_type))
            found.setdefault(key, []).append(Decimal(price))
        return found

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_SECONDS)
        with closing(connection), connection:
            connection.execute(_SCHEMA)
            yield connection


def _hour_of(moment: datetime) -> int:
    return int(moment.timestamp() // 3600)
