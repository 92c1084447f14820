"""Making a folder equal to another, one of them on a pod: only what differs is sent.

Both sides are listed at the same time, the pod's by one command; the plan is made
here. What is new goes in parts, each staged, compared by SHA-256 and put in place by
rename before the next: a sync that is cut off has done a part, and the next one does
the rest. The pod needs `sh`, `tar`, and `find` or `stat`.
"""

import asyncio
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from runpod_ssh import (
    stages,
    sync_local,
    sync_steps,
    sync_streams,
    transfer_streams,
    wire,
)
from runpod_ssh.connection import Connection
from runpod_ssh.deltas import fetch_delta, send_delta
from runpod_ssh.errors import TransferError
from runpod_ssh.manifests import FILE, Manifest, Plan
from runpod_ssh.model import Source
from runpod_ssh.part_sender import first_of
from runpod_ssh.sync_model import DEFAULT_OPTIONS, SyncOptions, SyncResult
from runpod_ssh.sync_run import BATCH_SECONDS, SyncRun
from runpod_ssh.sync_talk import Said, given, make_inlet
from runpod_ssh.transfer_streams import Progress, no_progress

__all__ = [
    "BATCH_BYTES",
    "DEFAULT_OPTIONS",
    "SyncOptions",
    "SyncResult",
    "sync_from_pod",
    "sync_to_pod",
]

# what is staged at a time: what a sync that is cut off has to send again at most
BATCH_BYTES = 64 * 1024 * 1024


async def sync_to_pod(
    connection: Connection,
    local: Path,
    remote: str,
    *,
    options: SyncOptions = DEFAULT_OPTIONS,
    batch_bytes: int = BATCH_BYTES,
    on_progress: Progress = no_progress,
) -> SyncResult:
    """Make a pod's folder equal to one of this machine.

    Args:
        remote: The folder itself; it is made where only the one above it is there.
        batch_bytes: How much is staged before it is checked and put in place.

    Raises:
        TransferError: Says what failed; what was done by then is done.
    """
    run = _ToPod(connection, local, remote, options, batch_bytes, on_progress)
    return await run.run()


async def sync_from_pod(
    connection: Connection,
    remote: str,
    local: Path,
    *,
    options: SyncOptions = DEFAULT_OPTIONS,
    batch_bytes: int = BATCH_BYTES,
    on_progress: Progress = no_progress,
) -> SyncResult:
    """Make a folder of this machine equal to a pod's; see `sync_to_pod`."""
    run = _FromPod(connection, local, remote, options, batch_bytes, on_progress)
    return await run.run()


class _ToPod(SyncRun):
    """From this machine to a pod."""

    async def survey(self) -> None:
        if not self.local.is_dir():
            raise _no_source(self.local)
        async with first_of() as group:
            here = group.create_task(self.scan())
            there = group.create_task(self.list_pod(is_needed=False))
        self.source, self.target = here.result(), there.result() or {}
        self.is_target_missing = there.result() is None

    async def carry_out(self, plan: Plan) -> None:
        clearing = sync_steps.render_clearing(plan, self.target)
        finishing = sync_steps.render_finish(plan, self.source, self.target)
        batches, large = self.split(plan)
        for batch in batches or [sync_steps.Batch(paths=(), size_bytes=0)]:
            is_last = not large and batch is (batches[-1] if batches else batch)
            await self._send(batch, clearing, finishing if is_last else b"")
            self.sent(batch.size_bytes)
            clearing = b""
        if large:
            await self._upload(large)
            if finishing:
                await self._send(
                    sync_steps.Batch(paths=(), size_bytes=0), b"", finishing
                )

    async def _upload(self, large: Sequence[str]) -> None:
        """Send files one by one, as copy does: what is cut off goes on later."""
        from runpod_ssh.transfer import upload  # noqa: PLC0415  # seldom needed

        for path in large:
            if not await self._upload_delta(path):
                done = await upload(
                    self.connection,
                    self.local / path,
                    sync_steps.join(self.pod_folder, path),
                    on_progress=lambda moved, _total: self.told(moved),
                )
                self.is_verified &= done.is_verified
            self.sent(self.source[path].size_bytes)

    async def _upload_delta(self, path: str) -> bool:
        """Send what differs of a file, if it is one for rsync and that succeeds."""
        if not await self.is_for_rsync(path):
            return False
        done = await send_delta(
            self.connection,
            self.rsync,
            self.local / path,
            sync_steps.join(self.pod_folder, path),
            self.source[path],
            self.told,
            sha256=self.digests.get(path, ("", ""))[0],
            is_doubtful=self.has_other_size(path),
        )
        return self.went_by_rsync(path, done)

    async def _send(self, batch: sync_steps.Batch, before: bytes, after: bytes) -> None:
        """Have the pod take a batch, with steps before and after it."""

        def finish(sha256: str) -> bytes:
            placing = sync_steps.render_batch(
                batch, self.source, sha256=sha256, with_check=True
            )
            return before + placing + after

        async def stream() -> Source:
            for chunk in sync_streams.pack(
                self.local, batch.paths, self.source, finish=finish, on_bytes=self.told
            ):
                yield chunk

        said = Said()
        ended = await self.connection.stream(
            transfer_streams.script_command(
                ("stage.sh", "apply.sh"), self.pod_folder, secrets.token_hex(6)
            ),
            stdin=stream(),
            stdout=said.hear,
            stderr=said.hear_error,
            timeout=BATCH_SECONDS,
        )
        words = said.stdout.split()
        if ended.exit_status != 0 or words[:1] != [b"done"]:
            raise self.failed("cannot sync", said.stderr)
        if batch.size_bytes:
            self.is_verified &= words[1] == b"yes"
        self.kept_count += int(words[2])


class _FromPod(SyncRun):
    """From a pod to this machine."""

    async def survey(self) -> None:
        if self.local.exists() and not self.local.is_dir():
            raise TransferError(f"{self.local} is no folder", path=str(self.local))
        self.is_target_missing = not self.local.exists()
        async with first_of() as group:
            there = group.create_task(self.list_pod(is_needed=True))
            here = group.create_task(self._scan_target())
        self.source, self.target = there.result() or {}, here.result()

    async def _scan_target(self) -> Manifest:
        return {} if self.is_target_missing else await self.scan()

    async def carry_out(self, plan: Plan) -> None:
        sync_local.make_folder(self.local)
        await asyncio.to_thread(sync_local.clear, self.local, plan, self.target)
        batches, large = self.split(plan)
        for batch in batches:
            # it lies in the folder; the name is that of no file
            with stages.open_stage(self.local / "sync", secrets.token_hex(6)) as stage:
                await self._fetch(batch, stage.payload)
            self.sent(batch.size_bytes)
        if large:
            await self._download(large)
        self.kept_count = await asyncio.to_thread(
            sync_local.finish, self.local, plan, self.source, self.target
        )

    async def _download(self, large: Sequence[str]) -> None:
        """Fetch files one by one, see `_ToPod._upload`."""
        from runpod_ssh.transfer import download  # noqa: PLC0415  # seldom needed

        for path in large:
            if not await self._download_delta(path):
                done = await download(
                    self.connection,
                    sync_steps.join(self.pod_folder, path),
                    self.local / path,
                    on_progress=lambda moved, _total: self.told(moved),
                )
                self.is_verified &= done.is_verified
            self.sent(self.source[path].size_bytes)

    async def _download_delta(self, path: str) -> bool:
        """Fetch what differs of a file, see `_ToPod._upload_delta`."""
        if not await self.is_for_rsync(path):
            return False
        done = await fetch_delta(
            self.connection,
            self.rsync,
            sync_steps.join(self.pod_folder, path),
            self.local / path,
            self.source[path],
            self.told,
            sha256=self.digests.get(path, ("", ""))[1],
            is_doubtful=self.has_other_size(path),
        )
        return self.went_by_rsync(path, done)

    async def _fetch(self, batch: sync_steps.Batch, stage: Path) -> None:
        """Bring a batch into the stage, compare it, put it in place."""
        sync_streams.make_folders(stage, batch.paths)
        files = [path for path in batch.paths if self.source[path].kind == FILE]
        if files:
            await self._receive(files, stage)
        await asyncio.to_thread(
            sync_local.place, self.local, stage, batch.paths, self.source
        )

    async def _receive(self, files: Sequence[str], stage: Path) -> None:
        inlet, said = make_inlet(), Said()
        unpacking = asyncio.create_task(
            asyncio.to_thread(sync_streams.unpack, inlet, stage, files, self.told)
        )
        unpacking.add_done_callback(inlet.forget_reader)
        ended = None
        try:
            ended = await self.connection.stream(
                wire.script_command("pack.sh", self.pod_folder),
                stdin=given(sync_steps.render_packing(files, with_check=True)),
                stdout=inlet.put,
                stderr=said.hear_error,
                timeout=BATCH_SECONDS,
                bulk=True,
            )
        except transfer_streams.ReaderGoneError:
            pass  # the thread's own error says why
        finally:
            # the thread sees the end and returns
            inlet.end()
            await asyncio.wait([unpacking])
        if ended is not None and ended.exit_status != 0:
            raise self.failed("cannot read", said.stderr)
        self._check(unpacking.result(), said.stderr)

    def _check(self, sha256: str, stderr: bytes) -> None:
        told = re.search(rb"^sha256 ([0-9a-f]{64})$", stderr, re.MULTILINE)
        if told is None:
            self.is_verified = False
        elif told[1].decode() != sha256:
            raise TransferError(
                f"what arrived differs from {self.remote} on the pod",
                path=self.remote,
                hint="Sync again when nothing writes to it.",
            )


def _no_source(local: Path) -> TransferError:
    if local.exists():
        return TransferError(
            f"{local} is no folder",
            path=str(local),
            hint="A single file is copied: runpod-ssh copy",
        )
    return TransferError(f"there is no folder {local}", path=str(local))
