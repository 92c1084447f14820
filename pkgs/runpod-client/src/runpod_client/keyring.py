"""The account's SSH keys, changed without losing anybody's.

RunPod keeps the keys as one value that each change replaces whole, and has no
compare-and-swap: whoever writes what he read a moment ago wipes what another added in
between. So a change here reads, writes, reads back, and after a pause reads once more;
where it was wiped it is made again, on what is there by then.

    found on reading back                          done about it
    our change is in effect, twice                 finished
    our key is missing, or a removed one is back   changed again, on what is there now
    another key is missing that was there          left so

Every key that was read is written again, so a key is never removed that was not asked
for. One that is missing later was removed by somebody else, or wiped by a third; to put
it back would bring back revoked keys, and its own writer looks after it as we do after
ours. What remains: a key of a writer who does not look again is lost unseen if it was
written between our read and our write, which are one call apart.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runpod_client.cloud import AccountCloud
from runpod_client.errors import (
    ConfigError,
    DeadlineError,
    NotFoundError,
    ProtocolError,
    TransportError,
    UnavailableError,
)
from runpod_client.public_keys import PublicKey, parse_public_key

# after these the change may have happened or not; reading back tells
_DOUBTFUL = (TransportError, UnavailableError, ProtocolError)
_MIN_PREFIX = 8  # of a fingerprint


@dataclass(frozen=True, kw_only=True)
class AccountKey:
    """A line of the account; `key` is None where the line is no valid public key."""

    line: str
    key: PublicKey | None

    @property
    def identifier(self) -> str:
        """Return what makes two lines the same key, whatever their comments."""
        if self.key is None:
            return self.line
        return f"{self.key.key_type} {self.key.blob}"


@dataclass(frozen=True, kw_only=True)
class Settling:
    """How often a change is tried, and how long is waited between looks.

    Attributes:
        attempts: Writes at the most.
        confirm_seconds: Between the reading back and the second look; longer than
            another writer takes from his read to his write.
        backoff_seconds: The first pause after a lost race, of which a random part is
            waited; it doubles.
    """

    attempts: int = 10
    confirm_seconds: float = 1.0
    backoff_seconds: float = 0.25
    max_backoff_seconds: float = 4.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # draws from 0 to 1; no secret depends on it
    draw: Callable[[], float] = random.random


class Keyring:
    """The SSH keys of one account."""

    def __init__(self, cloud: AccountCloud, settling: Settling | None = None) -> None:
        self._cloud = cloud
        self._settling = settling or Settling()

    def list_keys(self) -> list[AccountKey]:
        """Return the account's keys, in its order; one call."""
        return [read_line(line) for line in self._cloud.list_account_keys()]

    def add(self, key: PublicKey) -> bool:
        """Register a key; return False when it was there already.

        Running pods do not get it: keys reach a pod when it is created.

        Raises:
            DeadlineError: Other writers kept undoing it.
        """
        wanted = AccountKey(line=key.line, key=key)
        before = self.list_keys()
        if _has(before, wanted.identifier):
            return False
        self._settle(before, add=(wanted,))
        return True

    def remove(self, selector: str) -> AccountKey:
        """Remove the one key of that fingerprint or comment, and return it.

        Args:
            selector: A SHA256 fingerprint or the first eight or more of its
                characters, or a comment.

        Raises:
            NotFoundError: There is none.
            ConfigError: The selector fits several keys.
            DeadlineError: Other writers kept undoing it.
        """
        before = self.list_keys()
        chosen = select_key(before, selector)
        self._settle(before, remove=frozenset({chosen.identifier}))
        return chosen

    def _settle(
        self,
        before: Sequence[AccountKey],
        *,
        add: tuple[AccountKey, ...] = (),
        remove: frozenset[str] = frozenset(),
    ) -> None:
        """Make the change on what is there, until it is seen to last."""
        settling = self._settling
        started = settling.clock()
        change = _Change(add=add, remove=remove)
        present = before
        for attempt in range(settling.attempts):
            if attempt:
                self._back_off(attempt)
                present = self.list_keys()
            if not change.is_done(present):
                self._write(change.apply(present))
            if self._lasts(change):
                return
        raise DeadlineError(
            "the account's SSH keys were changed by others all the time",
            waited_seconds=settling.clock() - started,
            last_status=f"tried {settling.attempts} times",
            hint="Nobody's key was removed for it; try again: runpod-client keys list",
        )

    def _lasts(self, change: "_Change") -> bool:
        """Return whether the change is in effect, now and after a pause."""
        if not change.is_done(self.list_keys()):
            return False
        settling = self._settling
        # not in step with a writer who started with us
        settling.sleep(settling.confirm_seconds * (1 + settling.draw() / 2))
        return change.is_done(self.list_keys())

    def _write(self, keys: Sequence[AccountKey]) -> None:
        try:
            self._cloud.replace_account_keys([key.line for key in keys])
        except _DOUBTFUL:
            # whether it was written shows when it is read back
            return

    def _back_off(self, attempt: int) -> None:
        settling = self._settling
        longest = min(
            settling.max_backoff_seconds, settling.backoff_seconds * 2 ** (attempt - 1)
        )
        settling.sleep(longest * settling.draw())


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What is to be so: these keys are there, and those are not."""

    add: tuple[AccountKey, ...]
    remove: frozenset[str]

    def is_done(self, present: Sequence[AccountKey]) -> bool:
        """Return whether nothing is left to do."""
        return all(_has(present, key.identifier) for key in self.add) and not any(
            key.identifier in self.remove for key in present
        )

    def apply(self, present: Sequence[AccountKey]) -> list[AccountKey]:
        """Return what the keys should be instead."""
        kept = [key for key in present if key.identifier not in self.remove]
        missing = [key for key in self.add if not _has(present, key.identifier)]
        return [*kept, *missing]


def read_line(line: str) -> AccountKey:
    """Return a line of the account, which may hold anything."""
    line = line.strip()
    try:
        return AccountKey(line=line, key=parse_public_key(line))
    except ConfigError:
        return AccountKey(line=line, key=None)


def select_key(keys: Sequence[AccountKey], selector: str) -> AccountKey:
    """Return the key a person means.

    Raises:
        NotFoundError: None fits.
        ConfigError: Several do.
    """
    found = {key.identifier: key for key in keys if _fits(key, selector)}
    if not found:
        raise NotFoundError(
            f"the account has no SSH key {selector!r}",
            hint="See them: runpod-client keys list",
        )
    if len(found) > 1:
        fingerprints = ", ".join(k.key.fingerprint for k in found.values() if k.key)
        raise ConfigError(
            f"{len(found)} SSH keys are called {selector!r}: {fingerprints}",
            hint="Name the key by its fingerprint.",
        )
    return next(iter(found.values()))


def _fits(entry: AccountKey, selector: str) -> bool:
    key = entry.key
    if key is None:
        # a line that is no key can only be named whole
        return entry.line == selector.strip()
    if key.comment and key.comment == selector:
        return True
    digest = selector.removeprefix("SHA256:")
    is_long = len(digest) >= _MIN_PREFIX
    return is_long and key.fingerprint.removeprefix("SHA256:").startswith(digest)


def _has(keys: Sequence[AccountKey], identifier: str) -> bool:
    return any(key.identifier == identifier for key in keys)
