"""What a pod says of a file or tree there: its kind, size and digest.

Knows connections, and nothing of where the copy goes.
"""

import re
from dataclasses import dataclass

from runpod_ssh import wire
from runpod_ssh.connection import Connection
from runpod_ssh.model import Source
from runpod_ssh.transfer_streams import (
    LARGE_BYTES,
    Dialogue,
    pod_path,
    refused,
    script_command,
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the pod says of a source, as far as it can.

    Attributes:
        size_bytes: Of a file; None where the pod has no stat.
    """

    is_folder: bool
    size_bytes: int | None = None
    mtime: int = 0
    mode: int = 0


def parse_facts(line: str) -> Facts:
    """Return the facts of send.sh's first line."""
    kind, *words = line.split()
    if kind == "folder":
        return Facts(is_folder=True)
    if len(words) < 3:  # size, time and mode
        return Facts(is_folder=False)
    return Facts(
        is_folder=False,
        size_bytes=int(words[0]),
        mtime=int(words[1]),
        mode=int(words[2], 8) & 0o777,
    )


async def ask_facts(connection: Connection, remote: str) -> Facts:
    """Return what the pod says of a source.

    Raises:
        TransferError: There is none, or it cannot be read.
    """
    result = await connection.run(
        wire.script_command("send.sh", pod_path(remote), str(LARGE_BYTES), "facts")
    )
    if result.exit_status != 0 or not result.stdout.strip():
        raise refused(f"cannot copy from {remote}", remote, result.stderr, connection)
    return parse_facts(result.stdout.decode(errors="replace"))


async def ask_mode(connection: Connection, remote: str) -> int:
    """Return the permissions of a folder; the usual ones where the pod cannot say."""
    path = wire.quote(pod_path(remote))
    result = await connection.run(f"stat -L -c %a -- {path}")
    text = result.stdout.decode(errors="replace").strip()
    return int(text, 8) & 0o777 if re.fullmatch("[0-7]+", text) else 0o755


async def ask_digest(
    connection: Connection, remote: str, names: Source, *, is_parts: bool = False
) -> str:
    """Return the pod's digest over these files; `none` where it has no means.

    Args:
        names: As digest.sh reads them.
        is_parts: They are parts of files.
    """
    dialogue = Dialogue()
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    ended = await connection.stream(
        script_command(
            ("hashing.sh", "digest.sh"),
            pod_path(remote),
            *(["parts"] if is_parts else []),
        ),
        stdin=names,
        stdout=hear,
        stderr=dialogue.hear_error,
    )
    words = said.decode(errors="replace").split()
    if ended.exit_status != 0 or not words:
        raise refused(f"cannot verify {remote}", remote, dialogue.stderr, connection)
    return words[0]


async def count_total(connection: Connection, remote: str) -> int:
    """Return the bytes of all files of a source; 0 where the pod cannot say."""
    result = await connection.run(wire.script_command("total.sh", pod_path(remote)))
    return int(result.stdout) if result.stdout.strip().isdigit() else 0
