"""Copying from one pod to another through this machine, which keeps nothing of it.

What one pod sends is what the other receives; a slow one holds back the other. A large
file goes in ranges, a tree as one stream; after a copy that was cut off both are gone
on with: what has arrived is not sent again.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence

from runpod_ssh import archive, between_trees, wire
from runpod_ssh.between_pipes import Pipe, PodPath, read_into
from runpod_ssh.between_ranges import RangeRelay
from runpod_ssh.errors import SSHError, SSHUnreachableError
from runpod_ssh.ignoring import parse_excludes
from runpod_ssh.manifests import Manifest
from runpod_ssh.model import Source, TransferResult
from runpod_ssh.part_sender import first_of
from runpod_ssh.pod_sources import Facts, ask_digest, ask_facts, ask_mode, count_total
from runpod_ssh.sync_steps import join, render_modes, render_packing, render_removal
from runpod_ssh.sync_talk import ask_listing
from runpod_ssh.transfer_streams import (
    LARGE_BYTES,
    Dialogue,
    Meter,
    Progress,
    differs,
    given,
    ignore,
    lost,
    no_progress,
    pod_path,
    script_command,
    stage_key,
)
from runpod_ssh.uploads import RECEIVE

__all__ = ["PodPath", "copy_between"]


async def copy_between(
    source: PodPath,
    target: PodPath,
    *,
    verify: bool = True,
    on_progress: Progress = no_progress,
) -> TransferResult:
    """Copy a file or tree from one pod to another.

    Args:
        target: Where to; a folder that exists gets an entry of the source's name.

    Raises:
        TransferError: Nothing was copied; says why.
        SSHUnreachableError: A connection was lost.
    """
    started = asyncio.get_running_loop().time()
    facts = await ask_facts(source.connection, source.path)
    work = _Relay(source, target, facts, on_progress)
    try:
        await work.stage()
        await work.settle(verify=verify)
    except SSHUnreachableError as error:
        gone = source if source.connection.is_closed else target
        raise lost(gone.connection, is_kept=work.is_kept) from error
    return TransferResult(
        source=source.path,
        target=work.final.removeprefix("./"),
        file_count=work.file_count,
        size_bytes=work.size_bytes,
        sha256=work.sha256,
        is_verified=work.is_verified,
        elapsed_seconds=asyncio.get_running_loop().time() - started,
    )


class _Relay:
    """The state of one copy between pods."""

    def __init__(
        self, source: PodPath, target: PodPath, facts: Facts, on_progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._facts = facts
        self._meter = Meter(tell=on_progress, total=facts.size_bytes or 0)
        self._wants_total = on_progress is not no_progress
        self._stage = ""
        # how much is in a folder nobody knows before it is listed
        self.is_kept = facts.is_folder or (facts.size_bytes or 0) >= LARGE_BYTES
        self.final = ""
        self.file_count = 1
        self.size_bytes = 0
        self.sha256 = ""
        self.is_verified = False

    async def stage(self) -> None:
        """Bring the source into a stage beside its place."""
        try:
            if self._facts.is_folder:
                await self._send_tree()
            elif self.is_kept:
                await self._receive(given(archive.stream_end()))
                await self._ranges().send(
                    self._source.path, self._source.name, self._facts
                )
            else:
                await self._send_stream()
        except asyncio.CancelledError:
            if not self.is_kept or self._meter.done < LARGE_BYTES:
                await self._discard()
            raise
        except SSHUnreachableError:
            raise
        except SSHError:
            await self._discard()
            raise

    async def settle(self, *, verify: bool) -> None:
        """Compare both sides and give the copy its name."""
        names = b""
        if self._facts.is_folder:
            names = await self._list_names()
            self.file_count = names.count(b"\0")
        self.size_bytes = await count_total(self._target.connection, self._staged)
        if verify:
            await self._compare(names)
        name = [] if self._facts.is_folder else [self._source.name]
        command = script_command(
            ("stage.sh", "commit.sh"), self._stage, self.final, *name
        )
        result = await self._target.connection.run(command)
        if result.exit_status != 0:
            raise self._target.refused("cannot copy to", result.stderr)

    @property
    def _staged(self) -> str:
        folder = f"{self._stage}/{archive.PAYLOAD}"
        return folder if self._facts.is_folder else f"{folder}/{self._source.name}"

    async def _compare(self, names: bytes) -> None:
        theirs, ours = await asyncio.gather(
            ask_digest(self._target.connection, self._staged, given(names)),
            ask_digest(self._source.connection, self._source.path, given(names)),
        )
        if "none" in {theirs, ours}:
            return
        if theirs != ours:
            await self._discard()
            raise differs(theirs, ours)
        self.sha256, self.is_verified = ours, True

    async def _list_names(self) -> bytes:
        result = await self._target.connection.run(
            wire.script_command("list_files.sh", self._staged)
        )
        if result.exit_status != 0:
            raise self._target.refused("cannot copy to", result.stderr)
        return result.stdout

    async def _receive(self, stdin: Source, dialogue: Dialogue | None = None) -> None:
        """Run receive.sh over a stream; it leaves the stage for commit.sh."""
        key = secrets.token_hex(8)
        if self.is_kept:
            origin = self._source.origin or str(self._source.connection.address)
            key = stage_key(origin, self._source.path, self._target.path.rstrip("/"))
        dialogue = dialogue or Dialogue()
        try:
            ended = await self._target.connection.stream(
                script_command(
                    RECEIVE,
                    pod_path(self._target.path),
                    self._source.name,
                    key,
                    "yes" if self.is_kept else "no",
                    archive.PAYLOAD,
                ),
                stdin=stdin,
                stdout=dialogue.hear,
                stderr=dialogue.hear_error,
            )
        finally:
            self._stage = self._stage or dialogue.find("stage") or ""
        final = dialogue.find("final")
        if ended.exit_status != 0 or final is None:
            raise self._target.refused("cannot copy to", dialogue.stderr)
        self.final = final

    async def _send_stream(self) -> None:
        """Hand a file's tar stream on from one pod to the other."""
        pipe = Pipe(self._meter, has_header=True)
        async with first_of() as group:
            group.create_task(self._receive(pipe.source()))
            await self._read_all(pipe)

    async def _send_tree(self) -> None:
        """Hand a tree on as one stream, or what is missing of one that was cut off."""
        pipe, dialogue = Pipe(self._meter), Dialogue()
        async with first_of() as group:
            receiving = group.create_task(self._receive(pipe.source(), dialogue))
            self._stage = await dialogue.expect("stage")
            has_left = bool((await dialogue.expect("have")).strip())
            if has_left:
                await pipe.put(archive.stream_end())
                await pipe.end()
            else:
                if self._wants_total:
                    group.create_task(self._count())
                pipe.has_header = True
                await self._read_all(pipe)
            await receiving
        if has_left:
            await self._go_on()

    async def _count(self) -> None:
        self._meter.total = await count_total(
            self._source.connection, self._source.path
        )

    async def _read_all(self, pipe: Pipe) -> None:
        # far above any file: it is to come as a stream whatever its size
        await read_into(
            pipe,
            self._source,
            wire.script_command("send.sh", pod_path(self._source.path), str(2**62)),
        )

    async def _go_on(self) -> None:
        """Complete the tree of which a part is in the stage."""
        source, there = await self._list_both()
        if not between_trees.can_go_on(source):
            await self._discard()
            self._stage = ""
            await self._send_tree()
            return
        rest = between_trees.find_rest(source, there, large_bytes=LARGE_BYTES)
        self._meter.total = sum(entry.size_bytes for entry in source.values())
        self._meter.add(rest.there_bytes)
        await self._change(render_removal(rest.extras))
        now = int(time.time())
        await self._unpack(given(between_trees.render_folders(source, now)))
        for paths in between_trees.split_small(rest, source):
            await self._send_files(paths)
        for path in rest.large:
            entry = source[path]
            facts = Facts(
                is_folder=False,
                size_bytes=entry.size_bytes,
                mtime=entry.mtime,
                mode=entry.mode,
            )
            await self._ranges().send(join(self._source.path, path), path, facts)
        await self._change(render_modes(rest.modes))
        top_mode = await ask_mode(self._source.connection, self._source.path)
        await self._unpack(given(between_trees.render_last(source, top_mode, now)))

    def _ranges(self) -> RangeRelay:
        return RangeRelay(self._source, self._target, self._stage, self._meter)

    async def _list_both(self) -> tuple[Manifest, Manifest]:
        nothing_hidden = parse_excludes(())
        async with first_of() as group:
            asked = [
                group.create_task(
                    ask_listing(connection, path, nothing_hidden, is_needed=True)
                )
                for connection, path in (
                    (self._source.connection, pod_path(self._source.path)),
                    (self._target.connection, self._staged),
                )
            ]
        source, there = (task.result().manifest() or {} for task in asked)
        return source, there

    async def _change(self, steps: bytes) -> None:
        """Have `pack.sh` change what is in the stage."""
        if not steps:
            return
        done = await self._target.connection.run(
            wire.script_command("pack.sh", self._staged), stdin=steps
        )
        if done.exit_status != 0:
            raise self._target.refused("cannot copy to", done.stderr)

    async def _send_files(self, paths: Sequence[str]) -> None:
        """Hand on some files of a tree."""
        pipe = Pipe(self._meter)
        packing = given(render_packing(paths, with_check=False))
        command = wire.script_command("pack.sh", pod_path(self._source.path))
        async with first_of() as group:
            group.create_task(read_into(pipe, self._source, command, packing))
            group.create_task(self._unpack(pipe.source()))

    async def _unpack(self, stream: Source) -> None:
        """Have the target unpack a stream into the stage's payload."""
        dialogue = Dialogue()
        ended = await self._target.connection.stream(
            script_command(("stage.sh", "unpack.sh"), self._stage),
            stdin=stream,
            stdout=ignore,
            stderr=dialogue.hear_error,
        )
        if ended.exit_status != 0:
            raise self._target.refused("cannot copy to", dialogue.stderr)

    async def _discard(self) -> None:
        """Remove the stage, as far as the pod can still be reached."""
        if not self._stage:
            return
        with contextlib.suppress(SSHError, TimeoutError):
            async with asyncio.timeout(5):
                await self._target.connection.run(
                    script_command(("stage.sh", "commit.sh"), self._stage)
                )
