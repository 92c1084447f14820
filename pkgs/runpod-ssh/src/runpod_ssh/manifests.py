"""What stands in a tree, and what makes one tree equal to another. Pure.

A manifest names everything below a folder with the few facts a sync compares: kind,
permissions, size, and the time of change to the second, which is what every tar keeps.
Folders have no time here: it changes with what is put into them.
"""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from runpod_ssh.errors import TransferError

FILE, FOLDER, LINK, OTHER = "f", "d", "l", "o"
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK}
_MODE = 0o777


class Entry(NamedTuple):
    """One name of a tree: a value for every fact, the same for all that has none.

    Attributes:
        mode: Permissions; 0 for links and what is no file or folder.
        size_bytes: Of a file, else 0.
        mtime: Seconds since 1970, of a file, else 0.
        link: Where a link points, else empty.
    """

    kind: str
    mode: int = 0
    size_bytes: int = 0
    mtime: int = 0
    link: str = ""


# Paths below the folder, `a/b`, a folder before what is in it.
Manifest = Mapping[str, Entry]


def entry_of(mode: int, size_bytes: int, mtime: int, link: str = "") -> Entry:
    """Return what a manifest keeps of lstat's figures."""
    kind = _KINDS.get(stat.S_IFMT(mode), OTHER)
    if kind == FILE:
        return Entry(kind, mode & _MODE, size_bytes, mtime)
    if kind == FOLDER:
        return Entry(kind, mode & _MODE)
    return Entry(kind, link=link)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What makes the target equal to the source; each in the order it is done in.

    Attributes:
        obstacles: What stands where something of another kind must stand, the deepest
            first; removed before anything takes the place.
        sends: Files, links and new folders, a folder before what is in it.
        modes: What is there and needs other permissions.
        times: Files of the right content that need another time.
        deletes: What the source lacks, the deepest first.
        skipped: What is no file, folder or link, and stays where it is.
    """

    obstacles: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    modes: tuple[tuple[str, int], ...] = ()
    times: tuple[tuple[str, int], ...] = ()
    deletes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    unchanged_count: int = 0
    send_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether the trees are equal already."""
        return not (
            self.obstacles or self.sends or self.modes or self.times or self.deletes
        )

    @property
    def removed_count(self) -> int:
        """Return how many names vanish without something new in their place."""
        sent = set(self.sends)
        return len(self.deletes) + sum(path not in sent for path in self.obstacles)


def find_doubtful(source: Manifest, target: Manifest, *, checksum: bool) -> list[str]:
    """Return the files whose contents must be compared before it is known what to do.

    Those of one size and different times: a checkout or a copy makes many that are
    equal after all. With `checksum`, all of one size.
    """
    return [
        path
        for path, entry in source.items()
        if entry.kind == FILE
        and (there := target.get(path)) is not None
        and there.kind == FILE
        and there.size_bytes == entry.size_bytes
        and (checksum or there.mtime != entry.mtime)
    ]


def compare(
    source: Manifest,
    target: Manifest,
    *,
    delete: bool = False,
    doubtful: Iterable[str] = (),
    equal: Iterable[str] = (),
) -> Plan:
    """Return what makes `target` equal to `source`.

    Args:
        delete: Remove what the source lacks.
        doubtful: The paths whose contents were compared, see `find_doubtful`.
        equal: Those of them that proved equal.

    Raises:
        TransferError: A folder with something in it is in the way of a file or link,
            and `delete` was not given.
    """
    if not doubtful and source == target:
        return Plan(
            unchanged_count=sum(e.kind in {FILE, LINK} for e in source.values()),
            skipped=tuple(p for p, e in source.items() if e.kind == OTHER),
        )
    unproven = frozenset(doubtful) - frozenset(equal)
    proven = frozenset(equal)
    made = _Draft()
    for path, entry in source.items():
        there = target.get(path)
        if there == entry and path not in unproven and entry.kind != OTHER:
            made.unchanged_count += entry.kind != FOLDER
        else:
            made.note(path, entry, there, unproven=unproven, proven=proven)
    made.lack(source, target, delete=delete)
    return made.plan()


class _Draft:
    """A plan in the making."""

    def __init__(self) -> None:
        self.sends: list[str] = []
        self.blocked: list[str] = []
        self.modes: list[tuple[str, int]] = []
        self.times: list[tuple[str, int]] = []
        self.skipped: list[str] = []
        self.obstacles: list[str] = []
        self.deletes: list[str] = []
        self.unchanged_count = 0
        self.send_bytes = 0

    def note(
        self,
        path: str,
        entry: Entry,
        there: Entry | None,
        *,
        unproven: frozenset[str],
        proven: frozenset[str],
    ) -> None:
        """Sort a name of the source whose facts differ, or may differ, from those there."""
        if entry.kind == OTHER:
            self.skipped.append(path)
            return
        if (
            there is not None
            and path not in unproven
            and _can_stay(entry, there, is_proven=path in proven)
        ):
            if there.mode != entry.mode:
                self.modes.append((path, entry.mode))
            if there.mtime != entry.mtime:
                self.times.append((path, entry.mtime))
            return
        self.sends.append(path)
        self.send_bytes += entry.size_bytes
        if there is not None and not _gives_way(entry, there):
            self.blocked.append(path)

    def lack(self, source: Manifest, target: Manifest, *, delete: bool) -> None:
        """Sort what the target has and the source lacks: in the way, to go, to stay."""
        in_the_way = set(self.blocked)
        for path in target:
            if path in in_the_way:
                self.obstacles.append(path)
            elif path not in source:
                above = path.rpartition("/")[0]
                if above in in_the_way:
                    if not delete:
                        raise _in_the_way(above)
                    in_the_way.add(path)
                    self.obstacles.append(path)
                elif delete:
                    self.deletes.append(path)

    def plan(self) -> Plan:
        """Return it finished."""
        return Plan(
            obstacles=tuple(reversed(self.obstacles)),
            sends=tuple(self.sends),
            modes=tuple(self.modes),
            times=tuple(self.times),
            deletes=tuple(reversed(self.deletes)),
            skipped=tuple(self.skipped),
            unchanged_count=self.unchanged_count,
            send_bytes=self.send_bytes,
        )


def _can_stay(entry: Entry, there: Entry, *, is_proven: bool) -> bool:
    """Return whether what is there needs other permissions or another time at most."""
    if entry.kind != there.kind:
        return False
    if entry.kind == FILE:
        is_alike = entry.size_bytes == there.size_bytes and entry.mtime == there.mtime
        return is_proven or is_alike
    return entry.kind == FOLDER


def _gives_way(entry: Entry, there: Entry) -> bool:
    """Return whether a rename puts the new thing in the old one's place."""
    return FOLDER not in {entry.kind, there.kind}


def _in_the_way(path: str) -> TransferError:
    return TransferError(
        f"{path} is a folder with something in it in the target and none in the source",
        path=path,
        hint="Repeat with --delete to let sync replace it, or move it away.",
    )
