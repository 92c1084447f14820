"""What a pod is told to do in a sync, as shell text for `apply.sh` and `pack.sh`. Pure.

Names reach the pod inside the stream, quoted, as the bytes they are: no command line
is too short for them, and the pod needs no tool that reads lists.
"""

import itertools
import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runpod_ssh.manifests import FILE, FOLDER, LINK, Manifest, Plan

PAYLOAD = "payload"
STEPS = "steps"
# a program is started with at most this much of names: Linux takes 128 KiB and more
WORDS_BYTES = 64 * 1024
_WRITABLE = 0o700


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A part of what is sent: checked and put in place before the next begins.

    Attributes:
        paths: Files, links and new folders, a folder before what is in it.
        size_bytes: Contents of the files.
    """

    paths: tuple[str, ...]
    size_bytes: int


def split_batches(
    paths: Iterable[str],
    source: Manifest,
    *,
    limit_bytes: int,
    limit_count: int,
) -> Iterator[Batch]:
    """Yield the paths in order, in parts of about these sizes."""
    batch: list[str] = []
    size = 0
    for path in paths:
        more = source[path].size_bytes
        if batch and (size + more > limit_bytes or len(batch) == limit_count):
            yield Batch(paths=tuple(batch), size_bytes=size)
            batch, size = [], 0
        batch.append(path)
        size += more
    if batch:
        yield Batch(paths=tuple(batch), size_bytes=size)


def find_moves(paths: Sequence[str], source: Manifest) -> Mapping[str, list[str]]:
    """Return what is moved into which folder, once all paths stand in the stage.

    A new folder moves with all that is in it.
    """
    new = {path for path in paths if source[path].kind == FOLDER}
    moves: dict[str, list[str]] = {}
    for path in paths:
        folder, _slash, name = path.rpartition("/")
        if folder not in new:
            moves.setdefault(folder, []).append(name)
    return moves


def staged_mode(path: str, source: Manifest) -> int:
    """Return the permissions something is staged with: folders stay open to us."""
    entry = source[path]
    return entry.mode | _WRITABLE if entry.kind == FOLDER else entry.mode


def late_modes(plan: Plan, source: Manifest) -> list[tuple[str, int]]:
    """Return the permissions to set when all is in its place, the deepest first."""
    closed = [
        (path, source[path].mode)
        for path in plan.sends
        if staged_mode(path, source) != source[path].mode and source[path].kind != LINK
    ]
    return sorted([*plan.modes, *closed], reverse=True)


def render_batch(
    batch: Batch, source: Manifest, *, sha256: str, with_check: bool
) -> bytes:
    """Return the steps that check what a batch brought and put it in its place."""
    lines: list[bytes] = []
    files = [path for path in batch.paths if source[path].kind == FILE]
    if with_check and files:
        lines += [b"contents() {", *_calls("cat --", files), b"}"]
        lines.append(f"check {sha256}".encode())
    for folder, names in find_moves(batch.paths, source).items():
        lines += _calls("place " + "%s", names, first=_word(folder))
    return _text(lines)


def render_clearing(plan: Plan, target: Manifest) -> bytes:
    """Return the steps that make way for what has another kind."""
    lines: list[bytes] = []
    for path in plan.obstacles:
        verb = "clear_folders" if target[path].kind == FOLDER else "remove"
        lines += _calls(verb, [path])
    return _text(lines)


def render_finish(plan: Plan, source: Manifest, target: Manifest) -> bytes:
    """Return the steps after everything has arrived: remove, permissions, times."""
    lines: list[bytes] = []
    kinds = itertools.groupby(
        plan.deletes, key=lambda path: target[path].kind == FOLDER
    )
    for is_folder, paths in kinds:
        lines += _calls("remove_folders" if is_folder else "remove", list(paths))
    by_time: dict[int, list[str]] = {}
    for path, mtime in plan.times:
        by_time.setdefault(mtime, []).append(path)
    for mtime, names in by_time.items():
        lines += _calls(f"set_time {render_stamp(mtime)}", names)
    for mode, some in itertools.groupby(late_modes(plan, source), key=lambda m: m[1]):
        lines += _calls(f"set_mode {mode:o}", [path for path, _mode in some])
    return _text(lines)


def render_packing(paths: Sequence[str], *, with_check: bool) -> bytes:
    """Return what `pack.sh` is told to send these files."""
    lines = list(_calls("pack", paths))
    if with_check:
        lines += [b"contents() {", *_calls("cat --", paths), b"}", b"digest"]
    return _text(lines)


def render_sums(paths: Sequence[str]) -> bytes:
    """Return what `pack.sh` is told to write the SHA-256 of each file, in order.

    Those with a newline in their names are hashed alone: else a name could look like
    a line of the answer.
    """
    lines: list[bytes] = []
    for is_odd, some in itertools.groupby(paths, key=lambda path: "\n" in path):
        if is_odd:
            lines += [b"sum_one " + _word(f"./{path}") for path in some]
        else:
            lines += _calls("sums", list(some))
    return _text(lines)


def render_removal(paths: Sequence[str]) -> bytes:
    """Return what `pack.sh` is told to remove these, with all that is in them."""
    return _text(list(_calls("remove", paths)))


def render_modes(modes: Iterable[tuple[str, int]]) -> bytes:
    """Return what `pack.sh` is told to give these permissions."""
    by_mode: dict[int, list[str]] = {}
    for path, mode in modes:
        by_mode.setdefault(mode, []).append(path)
    calls = (_calls(f"set_mode {mode:o}", paths) for mode, paths in by_mode.items())
    return _text(list(itertools.chain.from_iterable(calls)))


def render_stamp(mtime: int) -> str:
    """Return a time as `touch -t` reads it, in UTC."""
    return time.strftime("%Y%m%d%H%M.%S", time.gmtime(mtime))


def join(folder: str, path: str) -> str:
    """Return a path below a folder of the pod."""
    return posixpath.join(folder, path)


def _calls(verb: str, paths: Sequence[str], first: bytes = b"") -> Iterator[bytes]:
    """Yield calls with all the paths, each short enough for a program's arguments."""
    head = verb.encode().replace(b"%s", first)
    words: list[bytes] = []
    size = 0
    for path in paths:
        word = _word(f"./{path}")
        if words and size + len(word) > WORDS_BYTES:
            yield b" ".join([head, *words])
            words, size = [], 0
        words.append(word)
        size += len(word) + 1
    if words:
        yield b" ".join([head, *words])


def word_bytes(path: str) -> int:
    """Return what a path takes of a command line."""
    return len(_word(f"./{path}")) + 1


def _word(text: str) -> bytes:
    return b"'" + os.fsencode(text).replace(b"'", b"'\\''") + b"'"


def _text(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
