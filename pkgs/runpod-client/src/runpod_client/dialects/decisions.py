"""Which wires are there: decided by their own answers, and remembered for a while.

It must not know how a wire is asked. What is remembered stands in a small file too, so
that each command of a command line does not ask anew. The file names no key: entries
are found by a hash of the address and the key.

    {"3f9a...": {"rest_v2": {"state": "alive", "decided_at": 1795334400.0},
                 "graphql": {"state": "retired", "decided_at": 1795334400.0}}}
"""

import enum
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from runpod_client.dialects.capabilities import Dialect
from runpod_client.logs import get_logger
from runpod_client.model import Capability, Secret
from runpod_client.private_files import write_private

TTL_SECONDS = 3600.0
MAX_FILE_BYTES = 64 * 1024
MAX_ACCOUNTS = 20  # of one machine; a file must not grow for ever

_log = get_logger(__name__)


class State(enum.StrEnum):
    """What a wire, or a part of it, has turned out to be."""

    ALIVE = "alive"
    RETIRED = "retired"  # RunPod has withdrawn it
    FORBIDDEN = "forbidden"  # the key has no right to it
    MISSING = "missing"  # there is no such thing at this address


class Entry(msgspec.Struct, frozen=True):
    """A decision and when it was made, in seconds since 1970."""

    state: State
    decided_at: float


_Book = dict[str, dict[str, Entry]]


class Decisions:
    """What one account on one machine knows of the wires; safe between threads."""

    def __init__(
        self,
        path: Path | None,
        *,
        base_url: str,
        api_key: Secret,
        now: Callable[[], float] = time.time,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self._path = path
        material = f"{base_url.rstrip('/')}\n{api_key}".encode()
        self._account = hashlib.sha256(material).hexdigest()[:32]
        self._now = now
        self._ttl_seconds = ttl_seconds
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] | None = None

    def find(
        self, dialect: Dialect, capability: Capability | None = None
    ) -> State | None:
        """Return what is known of a wire or of a part of it, None for nothing."""
        with self._lock:
            entry = self._load().get(_name(dialect, capability))
            if entry is None or not self._is_fresh(entry):
                return None
            return entry.state

    def note(
        self, dialect: Dialect, state: State, capability: Capability | None = None
    ) -> None:
        """Remember what a wire, or a part of it, has turned out to be."""
        if self.find(dialect, capability) is state:
            return
        name = _name(dialect, capability)
        with self._lock:
            entries = self._load()
            entries[name] = Entry(state=state, decided_at=self._now())
            self._save(entries)
        _log.info("dialect_decided", dialect=name, state=state.value)

    def drop(self, dialect: Dialect) -> None:
        """Forget all that is known of a wire: the next call decides anew."""
        with self._lock:
            entries = self._load()
            for name in [n for n in entries if n.partition("/")[0] == dialect.value]:
                del entries[name]
            self._save(entries)

    def _is_fresh(self, entry: Entry) -> bool:
        # a clock that was set back must not keep a decision alive
        return 0 <= self._now() - entry.decided_at < self._ttl_seconds

    def _load(self) -> dict[str, Entry]:
        if self._entries is None:
            self._entries = _read(self._path).get(self._account, {})
        return self._entries

    def _save(self, entries: dict[str, Entry]) -> None:
        if self._path is None:
            return
        # others may have written meanwhile; of two of the same account the last wins
        book = _read(self._path)
        book.pop(self._account, None)
        kept = dict(list(book.items())[-(MAX_ACCOUNTS - 1) :])
        kept[self._account] = {n: e for n, e in entries.items() if self._is_fresh(e)}
        try:
            write_private(self._path, msgspec.json.encode(kept))
        except OSError as error:  # only asked anew then
            _log.debug("dialects_not_kept", error_detail=str(error))


def _name(dialect: Dialect, capability: Capability | None) -> str:
    return dialect.value if capability is None else f"{dialect.value}/{capability}"


def _read(path: Path | None) -> _Book:
    """Return what the file holds; nothing where it cannot be read."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_Book)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
