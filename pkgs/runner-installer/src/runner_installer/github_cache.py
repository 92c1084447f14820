"""GitHub's answers that may still be true, so that asking again costs no quota.

An answer is sent again by us only after GitHub said that nothing has changed (304), so
nothing here is ever older than the question. Bounded in entries and bytes; shared by
threads.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

MAX_ENTRIES = 512
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An answer's body, the tag GitHub knows it by, and where its list goes on."""

    tag: str
    content: bytes
    link: str = ""


class AnswerCache:
    """The answers that were used last."""

    def __init__(
        self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, url: str) -> Kept | None:
        """Return what was kept of an address."""
        with self._lock:
            kept = self._kept.get(url)
            if kept is not None:
                self._kept.move_to_end(url)
            return kept

    def keep(self, url: str, kept: Kept) -> None:
        """Keep an answer; those not used for longest make room."""
        if len(kept.content) > self._max_bytes:
            return
        with self._lock:
            self._drop(url)
            self._kept[url] = kept
            self._bytes += len(kept.content)
            while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, url: str) -> None:
        gone = self._kept.pop(url, None)
        if gone is not None:
            self._bytes -= len(gone.content)
