"""The pod's side of a sync's commands: what goes in, and what is said back."""

import asyncio

from runpod_ssh import listings, wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import TransferError
from runpod_ssh.ignoring import Excludes
from runpod_ssh.manifests import Manifest
from runpod_ssh.model import Source
from runpod_ssh.transfer_streams import Inlet, ReaderGoneError

# a bound against a pod whose disk hangs; a slow one stays well within
LIST_SECONDS = 900.0
_TAIL_BYTES = 2000
# the dialect's line is shorter
_HEAD_BYTES = 16


class Said:
    """What a script on the pod writes: its answer, and the end of its complaints."""

    def __init__(self) -> None:
        self.stdout = self.stderr = b""

    async def hear(self, chunk: bytes) -> None:
        """Take a part of the answer."""
        self.stdout = (self.stdout + chunk)[-_TAIL_BYTES:]

    async def hear_error(self, chunk: bytes) -> None:
        """Take a part of the complaints."""
        self.stderr = (self.stderr + chunk)[-_TAIL_BYTES:]


class Listing:
    """The pod's listing as it arrives; an archive is read in passing, by a thread."""

    def __init__(self, excludes: Excludes) -> None:
        self._excludes = excludes
        self._heard = bytearray()
        self._inlet: Inlet | None = None
        self._reading: asyncio.Task[Manifest] | None = None

    async def hear(self, chunk: bytes) -> None:
        """Take a part of it."""
        if self._inlet is not None:
            await self._inlet.put(chunk)
            return
        self._heard += chunk
        head, newline, _body = self._heard[:_HEAD_BYTES].partition(b"\n")
        if newline and head.startswith(b"tar"):
            self._inlet = make_inlet()
            self._reading = asyncio.create_task(
                asyncio.to_thread(listings.read_archive, self._inlet, self._excludes)
            )
            self._reading.add_done_callback(self._inlet.forget_reader)
            await self._inlet.put(bytes(self._heard[len(head) + 1 :]))

    @property
    def has_rsync(self) -> bool:
        """Return whether the pod has an rsync, as its first line says."""
        head = self._heard[:_HEAD_BYTES].partition(b"\n")[0]
        return head.endswith(b" rsync")

    async def end(self) -> None:
        """Take note that nothing more comes."""
        if self._inlet is not None and self._reading is not None:
            self._inlet.end()
            await asyncio.wait([self._reading])

    def manifest(self) -> Manifest | None:
        """Return what it says; None where the folder can be made."""
        if self._reading is not None:
            return self._reading.result()
        return listings.parse_listing(bytes(self._heard), self._excludes)


async def ask_listing(
    connection: Connection, folder: str, excludes: Excludes, *, is_needed: bool
) -> Listing:
    """Have the pod list a folder.

    Args:
        folder: As the pod's sh takes it.
        is_needed: It is an error where it can be made and is not there.

    Raises:
        TransferError: It cannot be listed.
    """
    need = "needed" if is_needed else "wanted"
    listing, said, listed = Listing(excludes), Said(), None
    try:
        listed = await connection.stream(
            wire.script_command("list.sh", folder, need, *excludes.plain_names),
            stdin=given(b""),
            stdout=listing.hear,
            stderr=said.hear_error,
            timeout=LIST_SECONDS,
        )
    except ReaderGoneError:
        pass  # the thread's own error says why
    finally:
        await listing.end()
    if listed is not None and listed.exit_status != 0:
        raise failure(connection, "cannot list", folder, said.stderr)
    return listing


def make_inlet() -> Inlet:
    """Return the way of a stream from the event loop to a thread."""
    return Inlet(asyncio.get_running_loop(), header=False)


async def given(content: bytes) -> Source:
    """Yield a command's whole input."""
    yield content


def failure(
    connection: Connection, doing: str, folder: str, stderr: bytes
) -> TransferError:
    """Return the error for what a script on the pod said."""
    lines = [
        line
        for line in stderr.decode(errors="replace").splitlines()
        # tar's last words repeat that it failed
        if line.strip() and not line.startswith("tar: Exiting")
    ]
    reason = "; ".join(lines[-2:]) or "the pod ended it without a word"
    return TransferError(
        f"{doing} {folder} on the pod: {reason}",
        path=folder,
        address=connection.address,
    )
