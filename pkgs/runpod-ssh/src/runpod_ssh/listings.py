"""Manifests of real trees: this machine's by walking it, a pod's from its own listing.

A pod lists itself in one command (`assets/list.sh`), in the dialect its tools allow;
all of them are read here. Knows nothing of connections.
"""

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from runpod_ssh.errors import TransferError
from runpod_ssh.ignoring import OWN_PREFIX, Excludes
from runpod_ssh.manifests import FILE, FOLDER, LINK, OTHER, Entry, Manifest, entry_of

_FIND_KINDS = {"f": FILE, "d": FOLDER, "l": LINK}
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Reader(Protocol):
    """Where an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


def scan(root: Path, excludes: Excludes) -> Manifest:
    """Return what stands below a folder of this machine.

    Raises:
        TransferError: There is no such folder, or something in it cannot be read.
    """
    found: dict[str, Entry] = {}
    folder, waiting = "", [""]
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while waiting:
                folder = waiting.pop()
                waiting += _scan_folder(top, folder, excludes, found)
        finally:
            os.close(top)
    except OSError as error:
        place = root / folder
        raise TransferError(
            f"cannot read {place}: {error.strerror}", path=str(place)
        ) from error
    return found


def _scan_folder(
    top: int, folder: str, excludes: Excludes, found: dict[str, Entry]
) -> list[str]:
    """Note what stands in one folder below `top`; return the folders in it."""
    folders: list[str] = []
    prefix = f"{folder}/" if folder else ""
    hides = excludes.hides if excludes.rules else None
    is_regular, is_directory = stat.S_ISREG, stat.S_ISDIR
    # by descriptor: shorter ways for the kernel, and no link is followed meanwhile
    here = os.open(folder or ".", _FOLDER_FLAGS, dir_fd=top)
    try:
        with os.scandir(here) as names:
            for name in names:
                if name.name.startswith(OWN_PREFIX):
                    continue
                path = prefix + name.name
                try:
                    facts = name.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went away after its name was read
                mode = facts.st_mode
                if hides is not None and hides(path, is_folder=is_directory(mode)):
                    continue
                if is_regular(mode):
                    # by number it is whole seconds, rounded down
                    mtime = int(facts[stat.ST_MTIME])
                    found[path] = Entry(FILE, mode & 0o777, facts.st_size, mtime)
                    continue
                link = os.readlink(name.name, dir_fd=here) if name.is_symlink() else ""
                found[path] = entry_of(mode, 0, 0, link)
                if is_directory(mode):
                    folders.append(path)
    finally:
        os.close(here)
    return folders


def parse_listing(output: bytes, excludes: Excludes) -> Manifest | None:
    """Return what `list.sh` tells; None where there is no such folder yet.

    An archive is for `read_archive`.

    Raises:
        TransferError: It is no whole listing, or names places outside the folder.
    """
    head, _newline, body = output.partition(b"\n")
    dialect = head.partition(b" ")[0]
    if dialect == b"absent":
        return None
    readers: dict[bytes, Callable[[bytes], Iterable[tuple[str, Entry]]]] = {
        b"find": _read_find,
        b"stat": _read_stat,
    }
    try:
        found = _checked(readers[dialect](body))
    except (KeyError, ValueError) as error:
        raise _nonsense(f"{type(error).__name__}: {error}") from error
    # find has left out what is hidden by its name
    return found if excludes.is_plain else _without_hidden(found, excludes)


def read_archive(stream: Reader, excludes: Excludes) -> Manifest:
    """Return what stands in an archive of the folder: the last resort of `list.sh`.

    Raises:
        TransferError: It is no whole archive, or names places outside the folder.
    """
    try:
        return _without_hidden(_checked(_read_tar(stream)), excludes)
    except (KeyError, ValueError, OSError, tarfile.TarError) as error:
        raise _nonsense(f"{type(error).__name__}: {error}") from error


def _read_find(body: bytes) -> Iterator[tuple[str, Entry]]:
    """Read `KMODE SIZE TIME PATH` NUL, and after a link where it points, NUL."""
    records = iter(os.fsdecode(body).split("\0"))
    new, kinds = Entry, _FIND_KINDS
    for record in records:
        if not record:
            return
        facts, size, time, path = record.split(" ", 3)
        kind = kinds.get(facts[0], OTHER)
        if kind == FILE:
            # whole seconds; what is before 1970 is rounded down as well
            mtime = int(time.partition(".")[0]) if time[0] != "-" else _floor(time)
            yield path, new(kind, int(facts[1:], 8) & 0o777, int(size), mtime)
        elif kind == LINK:
            yield path, new(kind, link=next(records))
        elif path:
            mode = int(facts[1:], 8) & 0o777 if kind == FOLDER else 0
            yield path, new(kind, mode)
    raise ValueError("the listing has no end")


def _floor(time: str) -> int:
    whole, _dot, fraction = time.partition(".")
    return int(whole) - bool(fraction.strip("0"))


def _read_stat(body: bytes) -> Iterator[tuple[str, Entry]]:
    """Read lines `HEX SIZE TIME ./PATH`, then what needs more care, NUL after each.

    That is `HEX SIZE TIME` NUL path NUL target NUL: links, and names with newlines.
    """
    lines, end, rest = os.fsdecode(body).partition("\0")
    if not end:
        raise ValueError("the listing has no end")
    for line in lines.split("\n"):
        if not line:
            continue
        mode, size, time, path = line.split(" ", 3)
        if path != ".":
            yield path[2:], entry_of(int(mode, 16), int(size), int(time))
    fields = iter(rest.split("\0"))
    for facts in fields:
        if not facts:
            return
        mode, size, time = facts.split()
        path, link = next(fields), next(fields)
        yield path[2:], entry_of(int(mode, 16), int(size), int(time), link)


def _read_tar(stream: Reader) -> Iterator[tuple[str, Entry]]:
    with tarfile.open(
        fileobj=cast("IO[bytes]", stream),
        mode="r|",
        bufsize=256 * 1024,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK}
        sizes: dict[str, int] = {}
        for member in archive:
            path = member.name.removeprefix("./").rstrip("/")
            if path in {"", "."}:
                continue
            kind, size = kinds.get(member.type, 0), member.size
            if member.islnk():
                size = sizes[member.linkname.removeprefix("./")]
            if member.isreg() or member.islnk():
                kind, sizes[path] = stat.S_IFREG, size
            link = member.linkname if member.issym() else ""
            yield path, entry_of(kind | member.mode, size, int(member.mtime), link)


def _checked(entries: Iterable[tuple[str, Entry]]) -> dict[str, Entry]:
    """Return the entries by path; every one stands in a folder that was told before."""
    found: dict[str, Entry] = {}
    last_folder = ""
    for path, entry in entries:
        folder, _slash, name = path.rpartition("/")
        if folder != last_folder:
            above = found.get(folder)
            if folder and (above is None or above.kind != FOLDER):
                raise _nonsense(f"{path!r} stands in no folder")
            last_folder = folder
        if name in {"", ".", ".."} or path[0] == "/":
            raise _nonsense(f"{path!r} is outside of the folder")
        found[path] = entry
    return found


def _without_hidden(found: dict[str, Entry], excludes: Excludes) -> dict[str, Entry]:
    shown: dict[str, Entry] = {}
    for path, entry in found.items():
        folder = path.rpartition("/")[0]
        if (not folder or folder in shown) and not excludes.hides(
            path, is_folder=entry.kind == FOLDER
        ):
            shown[path] = entry
    return shown


def _nonsense(reason: str) -> TransferError:
    return TransferError(f"the pod's list of files makes no sense: {reason}")
