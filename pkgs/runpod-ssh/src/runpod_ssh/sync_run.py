"""One run of a sync, whichever its direction: list, compare, plan, refuse, report."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from runpod_ssh import listings, sync_steps, sync_streams, transfer_streams, wire
from runpod_ssh.connection import Connection
from runpod_ssh.deltas import Delta, have_something_in_common
from runpod_ssh.errors import TransferError
from runpod_ssh.ignoring import Excludes, parse_excludes
from runpod_ssh.manifests import FILE, FOLDER, Manifest, Plan, compare, find_doubtful
from runpod_ssh.part_sender import first_of
from runpod_ssh.rsync_program import find_rsync
from runpod_ssh.sync_model import (
    SyncOptions,
    SyncResult,
    list_changes,
    refuse_mistakes,
)
from runpod_ssh.sync_talk import ask_listing, failure
from runpod_ssh.transfer_streams import Progress

# files from this size on go one by one, as copy sends them: they can be resumed, and
# rsync's deltas are faster from about here on
LARGE_BYTES = 32 * 1024 * 1024
# bounds against a pod whose disk hangs; a slow one stays well within
BATCH_SECONDS = 3600.0
_BATCH_COUNT = 20_000
# below this, sending is sooner done than asking whether it is needed
_DOUBT_BYTES = 1024 * 1024
_SHA256 = re.compile(rb"^\\?([0-9a-f]{64})", re.MULTILINE)


class SyncRun:
    """One run: list, compare, carry out. The directions differ in how they do it."""

    def __init__(
        self,
        connection: Connection,
        local: Path,
        remote: str,
        options: SyncOptions,
        batch_bytes: int,
        on_progress: Progress,
    ) -> None:
        self.connection = connection
        self.local = local
        self.remote = remote
        self.pod_folder = transfer_streams.pod_path(remote)
        self.options = options
        self.excludes: Excludes = parse_excludes(options.excludes)
        self.source: Manifest = {}
        self.target: Manifest = {}
        self.is_target_missing = False
        self.is_verified = True
        self.kept_count = 0
        self.rsync = ""
        # SHA-256 of files here and on the pod, as far as they had to be compared
        self.digests: dict[str, tuple[str, str]] = {}
        self._has_pod_rsync = False
        self._rsync_count = self._saved_bytes = 0
        self._batch_bytes = batch_bytes
        self._on_progress = on_progress
        self._total = self._before = 0

    async def run(self) -> SyncResult:
        """Do it all."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self.survey()
        doubtful, equal = await self._compare_contents()
        plan = compare(
            self.source,
            self.target,
            delete=self.options.delete,
            doubtful=doubtful,
            equal=equal,
        )
        refuse_mistakes(plan, self.source, self.options)
        if not self.options.dry_run and (not plan.is_empty or self.is_target_missing):
            self._total = plan.send_bytes
            await self._find_rsync(plan)
            await self.carry_out(plan)
        return self._result(plan, loop.time() - started)

    async def survey(self) -> None:
        """Fill in `source`, `target` and `is_target_missing`."""
        raise NotImplementedError

    async def carry_out(self, plan: Plan) -> None:
        """Make the target equal."""
        raise NotImplementedError

    def told(self, done: int) -> None:
        """Report progress within what is being sent."""
        self._on_progress(self._before + done, self._total)

    def split(self, plan: Plan) -> tuple[list[sync_steps.Batch], list[str]]:
        """Return what is sent in parts, and the files that are sent alone."""
        large = [p for p in plan.sends if self.source[p].size_bytes >= LARGE_BYTES]
        alone = set(large)
        small = [path for path in plan.sends if path not in alone]
        batches = sync_steps.split_batches(
            small, self.source, limit_bytes=self._batch_bytes, limit_count=_BATCH_COUNT
        )
        return list(batches), large

    async def is_for_rsync(self, path: str) -> bool:
        """Return whether a file to send is to go by rsync's deltas."""
        if not self.rsync or not self._is_delta(path):
            return False
        # one that has grown or shrunk may have all that was in it at other places
        return self.has_other_size(path) or await have_something_in_common(
            self.connection,
            self.local / path,
            sync_steps.join(self.pod_folder, path),
            self.source[path].size_bytes,
        )

    def has_other_size(self, path: str) -> bool:
        """Return whether a file that is on both sides has grown or shrunk."""
        return self.source[path].size_bytes != self.target[path].size_bytes

    def _is_delta(self, path: str) -> bool:
        """Return whether a file is large on both sides."""
        sides = (self.source[path], self.target.get(path, self.source[path]))
        return path in self.target and all(
            side.kind == FILE and side.size_bytes >= LARGE_BYTES for side in sides
        )

    async def _find_rsync(self, plan: Plan) -> None:
        """Find this machine's rsync where it is of use."""
        is_wanted = self.options.rsync and self._has_pod_rsync
        if is_wanted and any(map(self._is_delta, plan.sends)):
            found = await asyncio.to_thread(find_rsync)
            self.rsync = found or ""

    def went_by_rsync(self, path: str, done: Delta | None) -> bool:
        """Take note of what came of a delta; say whether it did the file."""
        if done is None:
            return False
        self.is_verified &= done.is_verified
        self._rsync_count += 1
        self._saved_bytes += self.source[path].size_bytes - done.moved_bytes
        return True

    def sent(self, size_bytes: int) -> None:
        """Take note that this much is in its place."""
        self._before += size_bytes
        self.told(0)

    async def list_pod(self, *, is_needed: bool) -> Manifest | None:
        """Return the pod's manifest; None where the folder can be made."""
        listing = await ask_listing(
            self.connection, self.pod_folder, self.excludes, is_needed=is_needed
        )
        self._has_pod_rsync = listing.has_rsync
        return listing.manifest()

    async def scan(self) -> Manifest:
        """Return this machine's manifest."""
        return await asyncio.to_thread(listings.scan, self.local, self.excludes)

    def failed(self, doing: str, stderr: bytes) -> TransferError:
        """Return the error for what a script on the pod said."""
        return failure(self.connection, doing, self.remote, stderr)

    async def _compare_contents(self) -> tuple[list[str], list[str]]:
        """Return the files of one size that had to be read, and those that are equal."""
        checksum = self.options.checksum
        doubtful = find_doubtful(self.source, self.target, checksum=checksum)
        size = sum(self.source[path].size_bytes for path in doubtful)
        if not doubtful or (not checksum and size < _DOUBT_BYTES):
            return [], []
        async with first_of() as group:
            here = group.create_task(
                asyncio.to_thread(sync_streams.find_digests, self.local, doubtful)
            )
            there = group.create_task(self._pod_digests(doubtful))
        if not there.result() and not checksum:
            return [], []
        pairs = list(zip(here.result(), there.result(), strict=True))
        self.digests = dict(zip(doubtful, pairs, strict=True))
        return doubtful, [path for path, (a, b) in self.digests.items() if a == b]

    async def _pod_digests(self, paths: Sequence[str]) -> list[str]:
        """Return each file's SHA-256 on the pod; nothing where it cannot tell."""
        done = await self.connection.run(
            wire.script_command("pack.sh", self.pod_folder, "sums"),
            stdin=sync_steps.render_sums(paths),
            timeout=BATCH_SECONDS,
        )
        found = [match.decode() for match in _SHA256.findall(done.stdout)]
        if done.exit_status == 0 and len(found) == len(paths):
            return found
        if self.options.checksum:
            raise self.failed("cannot compare the contents of", done.stderr)
        return []

    def _result(self, plan: Plan, elapsed_seconds: float) -> SyncResult:
        has_sent = any(self.source[path].kind == FILE for path in plan.sends)
        return SyncResult(
            changes=list_changes(plan, self.source, self.target),
            sent_count=sum(self.source[path].kind != FOLDER for path in plan.sends),
            sent_bytes=plan.send_bytes,
            changed_count=len({path for path, _ in (*plan.modes, *plan.times)}),
            deleted_count=plan.removed_count - self.kept_count,
            kept_count=self.kept_count,
            unchanged_count=plan.unchanged_count,
            rsync_count=self._rsync_count,
            saved_bytes=self._saved_bytes,
            skipped=plan.skipped,
            is_dry_run=self.options.dry_run,
            is_verified=self.is_verified and has_sent and not self.options.dry_run,
            elapsed_seconds=elapsed_seconds,
        )
