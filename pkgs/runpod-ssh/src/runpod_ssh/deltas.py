"""One changed file that stands on both sides, brought up to date by rsync's deltas.

Only what differs goes over the link. rsync makes a new file of the old one in a hidden
folder beside it; it is compared by SHA-256 as all else is and gets its name by rename.
Whatever does not work out this way is left for the ordinary one, which sends it all.
"""

import asyncio
import contextlib
import hashlib
import os
import posixpath
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from runpod_client.logs import get_logger
from runpod_ssh import stages, wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import TransferError
from runpod_ssh.manifests import Entry
from runpod_ssh.model import Source
from runpod_ssh.part_sender import first_of
from runpod_ssh.rsync_link import (
    RsyncFailedError,
    RsyncGivenUpError,
    RsyncLink,
    Tell,
    open_rsync,
)
from runpod_ssh.rsync_program import NEW, OPENED
from runpod_ssh.sync_steps import render_stamp
from runpod_ssh.transfer_streams import script_command

log = get_logger(__name__)

_SCRIPTS = ("stage.sh", "rsync.sh")
# bounds against a pod whose disk hangs
_DELTA_SECONDS = 3600.0
# how much of a file shows whether its two versions have anything in common: to look for
# that takes rsync longer than sending it does
_PROOF_BYTES = 8 * 1024 * 1024
_PROOF_PART = 32
_SAMPLES = 32
_SAMPLE_BYTES = 1024
_LEAST_EQUAL = _SAMPLES // 4
_WORTH = 0.6
_DIGEST_BYTES = 8 * 1024 * 1024
_TAIL_BYTES = 2000
_SHA256 = re.compile(rb"^sha256 ([0-9a-f]{64}|none)\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What one file came to.

    Attributes:
        moved_bytes: What went over the link for it, both ways.
        is_verified: Whether the pod's SHA-256 agreed; False where it has none.
    """

    moved_bytes: int
    sha256: str
    is_verified: bool


async def have_something_in_common(
    connection: Connection, local: Path, remote: str, size_bytes: int
) -> bool:
    """Return whether two files of one size look like two versions of one file.

    A file that is written anew each time, as a model in training, is all different.
    """
    step = size_bytes // _SAMPLE_BYTES // _SAMPLES
    places = [number * step for number in range(_SAMPLES)]
    done = await connection.run(
        wire.script_command("sample.sh", remote, *map(str, places))
    )
    theirs = done.stdout
    with contextlib.suppress(OSError), local.open("rb", buffering=0) as file:
        ours = [
            os.pread(file.fileno(), _SAMPLE_BYTES, p * _SAMPLE_BYTES) for p in places
        ]
        equal = sum(
            sample == theirs[at : at + _SAMPLE_BYTES]
            for at, sample in zip(
                range(0, len(theirs), _SAMPLE_BYTES), ours, strict=False
            )
        )
        return equal >= _LEAST_EQUAL
    return False


async def send_delta(
    connection: Connection,
    rsync: str,
    local: Path,
    remote: str,
    entry: Entry,
    on_position: Tell,
    *,
    sha256: str = "",
    is_doubtful: bool = True,
) -> Delta | None:
    """Bring a pod's file up to date; None where it has to go the ordinary way.

    Args:
        rsync: This machine's.
        remote: The file, as the pod's sh takes it.
        entry: What it is to become.
        sha256: Of what it is to become, where that is known.
        is_doubtful: Give up where the versions prove to have little in common.

    Raises:
        SSHUnreachableError: The connection was lost.
    """
    try:
        async with open_rsync(
            rsync, local.parent, f"./{local.name}", f"pod:{NEW}"
        ) as link:
            work = _Sending(
                connection,
                link,
                local,
                remote,
                entry,
                on_position,
                sha256,
                is_doubtful=is_doubtful,
            )
            return await work.run()
    except (RsyncFailedError, TransferError, OSError) as error:
        _note_failure(local, error)
        return None


async def fetch_delta(
    connection: Connection,
    rsync: str,
    remote: str,
    local: Path,
    entry: Entry,
    on_position: Tell,
    *,
    sha256: str = "",
    is_doubtful: bool = True,
) -> Delta | None:
    """Bring a file of this machine up to date; see `send_delta`."""
    try:
        with stages.open_stage(local, secrets.token_hex(6)) as stage:
            new = stage.payload / NEW
            # rsync never writes into it: it makes a new file of it and renames that
            os.link(local, new, follow_symlinks=False)
            async with open_rsync(
                rsync, stage.payload, f"pod:{OPENED}", f"./{NEW}"
            ) as link:
                work = _Fetching(
                    connection,
                    link,
                    new,
                    remote,
                    entry,
                    on_position,
                    sha256,
                    is_doubtful=is_doubtful,
                )
                done = await work.run()
            new.chmod(entry.mode)
            os.utime(new, (entry.mtime, entry.mtime))
            new.replace(local)
            return done
    except (RsyncFailedError, TransferError, OSError) as error:
        _note_failure(local, error)
        return None


def _note_failure(local: Path, error: Exception) -> None:
    facts = {"path": str(local), "error_detail": str(error)}
    if isinstance(error, RsyncGivenUpError):
        log.info("rsync_given_up", **facts)
    else:
        log.warning("rsync_failed", **facts)


class _Exchange:
    """What both directions share: the script's end, the digests, the worth of it."""

    def __init__(
        self,
        connection: Connection,
        link: RsyncLink,
        local: Path,
        remote: str,
        entry: Entry,
        on_position: Tell,
        sha256: str,
        *,
        is_doubtful: bool,
    ) -> None:
        self._connection = connection
        self._link = link
        self._local = local
        self._remote = remote
        self._entry = entry
        self._known = sha256
        self._stderr = b""
        self._on_position = on_position
        link.on_position = self._judge if is_doubtful else on_position

    def _judge(self, position: int) -> None:
        """Give up where the two versions have too little in common."""
        proof = max(_PROOF_BYTES, self._entry.size_bytes // _PROOF_PART)
        moved = self._link.out_bytes + self._link.in_bytes
        if position >= proof and moved > position * _WORTH:
            self._link.give_up("the two versions have little in common")
        self._on_position(position)

    @property
    def _told(self) -> str:
        """Return the digest the pod told: `none` where it has no means."""
        found = _SHA256.search(self._stderr)
        return found[1].decode() if found else "none"

    async def _hear(self, chunk: bytes) -> None:
        self._stderr = (self._stderr + chunk)[-_TAIL_BYTES:]

    async def _stream(self, stdin: Source, way: str, *words: str) -> None:
        """Run the pod's side to its end.

        Raises:
            RsyncFailedError: It failed.
        """
        ended = await self._connection.stream(
            script_command(_SCRIPTS, way, self._remote, *words, *self._link.command),
            stdin=stdin,
            stdout=self._link.take,
            stderr=self._hear,
            timeout=_DELTA_SECONDS,
            bulk=True,
        )
        if ended.exit_status != 0:
            lines = [
                line
                for line in self._stderr.decode(errors="replace").splitlines()
                if not line.startswith("sha256 ")
            ]
            raise self._link.failure("; ".join(lines[-2:]) or "the pod's rsync failed")

    def _result(self, ours: str, theirs: str) -> Delta:
        """Return what it came to.

        Raises:
            RsyncFailedError: The digests differ.
        """
        if theirs not in {ours, "none"}:
            raise RsyncFailedError("what arrived differs from what was sent")
        return Delta(
            moved_bytes=self._link.out_bytes + self._link.in_bytes,
            sha256=ours,
            is_verified=ours == theirs,
        )


class _Sending(_Exchange):
    async def run(self) -> Delta:
        ticket = secrets.token_hex(6)
        folder = posixpath.dirname(self._remote) or "."
        stage = posixpath.join(folder, f"{stages.PREFIX}{ticket}")
        async with first_of() as group:
            digesting = group.create_task(self._digest())
            await self._stream(
                self._link.outgoing(),
                "to",
                ticket,
                f"{self._entry.mode:o}",
                render_stamp(self._entry.mtime),
            )
        try:
            await self._link.finish()
            done = self._result(digesting.result(), self._told)
        except RsyncFailedError:
            await self._commit(stage)
            raise
        await self._commit(stage, self._remote)
        return done

    async def _digest(self) -> str:
        return self._known or await _digest(self._local)

    async def _commit(self, stage: str, *final: str) -> None:
        """Give the new file its name, or remove it."""
        command = script_command(("stage.sh", "commit.sh"), stage, *final)
        done = await self._connection.run(command)
        if done.exit_status != 0:
            raise RsyncFailedError(done.stderr.decode(errors="replace").strip())


class _Fetching(_Exchange):
    async def run(self) -> Delta:
        is_wanted = "no" if self._known else "yes"
        await self._stream(self._link.outgoing(), "from", is_wanted)
        await self._link.finish()
        return self._result(await _digest(self._local), self._known or self._told)


async def _digest(path: Path) -> str:
    """Return a file's SHA-256; a cancelled call stops within a moment."""
    digest = hashlib.sha256()
    with contextlib.closing(path.open("rb", buffering=0)) as file:
        while True:
            chunk = await asyncio.to_thread(file.read, _DIGEST_BYTES)
            if not chunk:
                return digest.hexdigest()
            await asyncio.to_thread(digest.update, chunk)
