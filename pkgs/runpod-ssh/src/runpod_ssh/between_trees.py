"""What of a tree has not arrived in a stage, and the streams that complete it. Pure.

Folders, links and permissions are made anew from the source's manifest: a stage that
is taken up again has been opened to its owner and rid of links.
"""

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runpod_ssh import archive
from runpod_ssh.manifests import FILE, FOLDER, LINK, OTHER, Entry, Manifest
from runpod_ssh.sync_steps import WORDS_BYTES, staged_mode, word_bytes

# what is read from the source by one command; what is cut off is sent again
_BATCH_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What makes a stage complete.

    Attributes:
        extras: What stands there and does not belong, nothing within another of it.
        small: Files to send, in order.
        large: Files that go in ranges: what has come of one is not sent again.
        modes: Permissions that arrived files have to be given back.
        there_bytes: Contents of the files that have arrived.
    """

    extras: tuple[str, ...]
    small: tuple[str, ...]
    large: tuple[str, ...]
    modes: tuple[tuple[str, int], ...]
    there_bytes: int


def can_go_on(source: Manifest) -> bool:
    """Return whether a manifest tells all that is needed to make the tree."""
    return all(entry.kind != OTHER for entry in source.values())


def find_rest(source: Manifest, there: Manifest, *, large_bytes: int) -> Rest:
    """Return what a stage lacks that holds `there`.

    A file counts as arrived with its size and time: tar sets that when all is there.
    """
    extras = {
        path
        for path, entry in there.items()
        if entry.kind not in {FILE, FOLDER} or not _has(source, path, entry.kind)
    }
    files = {path: e for path, e in source.items() if e.kind == FILE}
    missing = [path for path in files if not _is_there(files[path], there.get(path))]
    lacking = set(missing)
    sent_again = sum(files[path].size_bytes for path in missing)
    return Rest(
        extras=tuple(p for p in extras if not _is_within(p, extras)),
        small=tuple(p for p in missing if files[p].size_bytes < large_bytes),
        large=tuple(p for p in missing if files[p].size_bytes >= large_bytes),
        modes=tuple(
            (path, entry.mode)
            for path, entry in files.items()
            if path not in lacking and there[path].mode != entry.mode
        ),
        there_bytes=sum(entry.size_bytes for entry in files.values()) - sent_again,
    )


def _is_there(entry: Entry, there: Entry | None) -> bool:
    return there is not None and there._replace(mode=entry.mode) == entry


def _has(source: Manifest, path: str, kind: str) -> bool:
    return path in source and source[path].kind == kind


def _is_within(path: str, others: set[str]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if path in others:
            return True
    return False


def split_small(rest: Rest, source: Manifest) -> Iterator[list[str]]:
    """Yield the small files in parts, each for one call of tar."""
    batch: list[str] = []
    size = words = 0
    for path in rest.small:
        words += word_bytes(path)
        size += source[path].size_bytes
        if batch and (size > _BATCH_BYTES or words > WORDS_BYTES):
            yield batch
            batch, size, words = [], source[path].size_bytes, word_bytes(path)
        batch.append(path)
    if batch:
        yield batch


def render_folders(source: Manifest, now: int) -> bytes:
    """Return a tar stream of all folders, open to their owner."""
    return _render(
        _entry(path, tarfile.DIRTYPE, staged_mode(path, source), now)
        for path, entry in source.items()
        if entry.kind == FOLDER
    )


def render_last(source: Manifest, top_mode: int, now: int) -> bytes:
    """Return a tar stream of the links, and of the folders as they are in the end.

    Args:
        top_mode: Permissions of the tree itself.
    """
    links = [
        _entry(path, tarfile.SYMTYPE, 0o777, now, os.fsencode(entry.link))
        for path, entry in source.items()
        if entry.kind == LINK
    ]
    folders = [
        _entry(path, tarfile.DIRTYPE, entry.mode, now)
        for path, entry in source.items()
        if entry.kind == FOLDER
    ]
    top = _entry(".", tarfile.DIRTYPE, top_mode, now)
    # a closed folder after what is in it
    return _render([*links, *reversed(folders), top])


def _entry(
    path: str, kind: bytes, mode: int, mtime: int, link: bytes = b""
) -> archive.Entry:
    name = b"." if path == "." else b"./" + os.fsencode(path)
    return archive.Entry(
        path=b"",
        kind=kind,
        size_bytes=0,
        mode=mode,
        mtime=mtime,
        name=name,
        link=link,
    )


def _render(entries: Iterable[archive.Entry]) -> bytes:
    headers = [archive.render_header(entry) for entry in entries]
    return b"".join(headers) + archive.stream_end()
