"""A large file from pod to pod in ranges of its bytes, several at a time.

What a stage has of it already is compared piece by piece, and only the rest is sent.
"""

import asyncio
import time

from runpod_ssh import archive, parts, wire
from runpod_ssh.between_pipes import Pipe, PodPath, read_into
from runpod_ssh.model import Source
from runpod_ssh.part_sender import first_of
from runpod_ssh.parts import MIB
from runpod_ssh.pod_sources import Facts
from runpod_ssh.sync_steps import join
from runpod_ssh.transfer_streams import (
    Dialogue,
    Meter,
    ignore,
    list_piece_digests,
    nothing,
    pod_path,
)

_CHANNELS = 4


class RangeRelay:
    """Hands files on into one stage."""

    def __init__(
        self, source: PodPath, target: PodPath, stage: str, meter: Meter
    ) -> None:
        self._source = source
        self._target = target
        self._stage = stage
        self._meter = meter

    async def send(self, path: str, name: str, facts: Facts) -> None:
        """Hand on what the stage lacks of a large file, several ranges at a time.

        Args:
            path: Of the file, at its source.
            name: Its name in the stage's payload.
        """
        size = facts.size_bytes or 0
        ranges = await self._list_ranges(path, name, size)
        self._meter.add(size - sum(each.size_bytes for each in ranges))
        waiting = parts.split(ranges, _CHANNELS)[::-1]

        async def work() -> None:
            while waiting:
                await self._send_one(path, name, waiting.pop())

        async with first_of() as group:
            for _number in range(_CHANNELS):
                group.create_task(work())
        when = time.strftime("%Y%m%d%H%M.%S", time.gmtime(facts.mtime))
        await self._write(name, 0, nothing(), f"{facts.mode:o}", when, str(size))

    async def _list_ranges(self, path: str, name: str, size: int) -> list[parts.Range]:
        staged = join(f"{self._stage}/{archive.PAYLOAD}", name)
        there = await self._target.connection.run(f"stat -c %s -- {wire.quote(staged)}")
        left = int(there.stdout) if there.stdout.strip().isdigit() else 0
        piece = parts.piece_bytes(size)
        count = -(-left // piece)
        if not count:
            return [parts.Range(start=0, end=size)]
        theirs, ours = await asyncio.gather(
            list_piece_digests(self._target.connection, staged, piece, count),
            list_piece_digests(self._source.connection, pod_path(path), piece, count),
        )
        return parts.list_missing(size, ours, theirs[: len(ours)])

    async def _send_one(self, path: str, name: str, part: parts.Range) -> None:
        pipe = Pipe(self._meter, limit=part.size_bytes)
        command = wire.script_command(
            "read_part.sh",
            pod_path(path),
            str(part.start // MIB),
            str(-(-part.size_bytes // MIB)),
        )
        async with first_of() as group:
            group.create_task(read_into(pipe, self._source, command))
            group.create_task(self._write(name, part.start // MIB, pipe.source()))

    async def _write(
        self, name: str, seek_mib: int, stdin: Source, *facts: str
    ) -> None:
        dialogue = Dialogue()
        ended = await self._target.connection.stream(
            wire.script_command(
                "write_part.sh",
                self._stage,
                f"{archive.PAYLOAD}/{name}",
                str(seek_mib),
                *facts,
            ),
            stdin=stdin,
            stdout=ignore,
            stderr=dialogue.hear_error,
        )
        if ended.exit_status != 0:
            raise self._target.refused("cannot copy to", dialogue.stderr)
