"""The tar streams of a sync: chosen files of this machine out, chosen files in.

`archive` and `unpacking` do the packing; here is what is chosen, and what the pod is
told at a stream's end. Knows nothing of connections.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from runpod_ssh import archive, unpacking
from runpod_ssh.errors import TransferError
from runpod_ssh.manifests import FILE, FOLDER, LINK, Manifest
from runpod_ssh.sync_steps import PAYLOAD, STEPS, staged_mode

_TYPES = {FILE: tarfile.REGTYPE, FOLDER: tarfile.DIRTYPE, LINK: tarfile.SYMTYPE}


def pack(
    root: Path,
    paths: Collection[str],
    source: Manifest,
    *,
    finish: Callable[[str], bytes],
    on_bytes: Callable[[int], None],
) -> Iterator[bytes]:
    """Yield a tar stream of `payload/PATH...` and, as its last file, the steps.

    Args:
        finish: Returns the steps, told the SHA-256 over the files' contents.
        on_bytes: Told how much of the contents has been read, each time.

    Raises:
        TransferError: A file cannot be read, or became shorter since it was listed.
    """
    digest = hashlib.sha256()
    done = 0

    def on_content(chunk: bytes) -> None:
        nonlocal done
        digest.update(chunk)
        done += len(chunk)
        on_bytes(done)

    top = os.fsencode(root)
    entries = tuple(_entry(top, path, source) for path in paths)
    yield from archive.pack(archive.Plan(entries=entries), on_content)
    yield archive.pack_bytes(STEPS, finish(digest.hexdigest())) + archive.stream_end()


def _entry(top: bytes, path: str, source: Manifest) -> archive.Entry:
    entry, name = source[path], os.fsencode(path)
    return archive.Entry(
        path=top + b"/" + name,
        kind=_TYPES[entry.kind],
        size_bytes=entry.size_bytes,
        mode=staged_mode(path, source),
        mtime=entry.mtime,
        name=PAYLOAD.encode() + b"/" + name,
        link=os.fsencode(entry.link),
    )


def unpack(
    stream: unpacking.Reader,
    stage: Path,
    wanted: Collection[str],
    on_bytes: Callable[[int], None],
) -> str:
    """Write the files of tar streams that follow each other into a stage.

    Returns the SHA-256 over the contents.

    Raises:
        TransferError: The stream is broken, leads outside, lacks a file that was asked
            for, or cannot be written.
    """
    unpacked = unpacking.unpack(stream, stage, on_bytes)
    # as files: a link that came in a file's place is not among them
    came = {os.fsdecode(name).removeprefix("./") for name in unpacked.names}
    for path in wanted:
        if path not in came:
            raise TransferError(f"the pod did not send the file {path!r}", path=path)
    return unpacked.sha256


def find_digests(root: Path, paths: Collection[str]) -> list[str]:
    """Return each file's SHA-256.

    Raises:
        TransferError: One cannot be read.
    """
    found = []
    for path in paths:
        try:
            with (root / path).open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise archive.local_error("read", root / path, error) from error
    return found


def make_folders(stage: Path, paths: Collection[str]) -> None:
    """Make the folders below a stage that these paths stand in.

    Raises:
        TransferError: They cannot be made.
    """
    folders = {path.rpartition("/")[0] for path in paths} - {""}
    for folder in sorted(folders):
        try:
            (stage / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise archive.local_error("write", stage / folder, error) from error
