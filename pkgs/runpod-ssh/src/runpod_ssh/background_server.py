"""The background process of one user and one set of settings: it keeps the links.

It listens on a socket that only its user reaches, runs the commands clients hand over
on descriptors of theirs, and ends when it had nothing to do for a while, when its place
in the folder was taken, or when it is told to.
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runpod_client import logs
from runpod_client.console import EXIT_BUG, Session
from runpod_ssh import background_wire as wire
from runpod_ssh.audit import AuditLog, AuditSettings
from runpod_ssh.background import peer_uid
from runpod_ssh.background_calls import (
    Call,
    Caller,
    DeclinedError,
    Ending,
    parse_call,
)
from runpod_ssh.background_peer import PassedDescriptors, Peer, PeerGoneError
from runpod_ssh.background_place import Address, Place
from runpod_ssh.background_targets import RememberedTargets
from runpod_ssh.commands.arguments import open_access
from runpod_ssh.exec import Descriptors
from runpod_ssh.exit_codes import EXIT_SSH_FAILURE
from runpod_ssh.host_keys import HostKeyStore, start_of
from runpod_ssh.model import HostKey, PodTarget
from runpod_ssh.pool import Pool

log = logs.get_logger(__name__)

_REQUEST_SECONDS = 2.0
# a client that hears nothing for longer than this takes its command back
_SILENCE_SECONDS = 5.0
_TELL_SECONDS = 1.0
_TICK_SECONDS = 2.0
_END_SECONDS = 8.0
_BACKLOG = 512


def listen(place: Place) -> socket.socket:
    """Return a socket that listens at a place from the moment it can be seen there."""
    scratch = f"{place.folder}/.{place.name}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)  # the method's own shape
        with Address(scratch) as address:
            listener.bind(address)
        Path(scratch).chmod(0o600)
        listener.listen(_BACKLOG)
        Path(scratch).replace(place.socket_path)
    except BaseException:
        listener.close()
        Path(scratch).unlink(missing_ok=True)
        raise
    return listener


class BackgroundServer:
    """Attends to clients until there is no reason to stay.

    Args:
        idle_seconds: It ends when nobody wanted anything for this long.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        place: Place,
        listener: socket.socket,
        caller: Caller,
        pool: Pool,
        *,
        idle_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._listener = listener
        self._caller = caller
        self._pool = pool
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._number = os.stat(place.socket_path).st_ino  # noqa: PTH116  # a text path
        self._started_at = datetime.now(UTC)
        self._last_used = clock()
        self._retiring = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[Ending]] = set()
        self._served = 0

    async def serve(self) -> None:
        """Attend to clients; returns when the process is to end."""
        accepting = asyncio.create_task(self._accept())
        try:
            while not self._retiring.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(
                        min(_TICK_SECONDS, self._idle_seconds / 4)
                    ):
                        await self._retiring.wait()
                self._consider_retiring()
            # until the last one ends it can be asked how it goes, and to hurry
            while self._calls:
                await asyncio.wait(self._calls)
        finally:
            accepting.cancel()
            self._leave_place()
        if self._clients:
            await asyncio.wait(self._clients)

    def retire(self, *, at_once: bool) -> None:
        """Take no more clients and end with the commands that run, or end those too."""
        self._retiring.set()
        if at_once:
            for call in self._calls:
                call.cancel()

    def _consider_retiring(self) -> None:
        is_idle = self._clock() - self._last_used >= self._idle_seconds
        if (is_idle and not self._clients) or self._caller.is_refused:
            self.retire(at_once=False)
        elif not self._has_place():
            log.info("background_place_lost")
            self.retire(at_once=False)

    def _has_place(self) -> bool:
        try:
            return os.stat(self._place.socket_path).st_ino == self._number  # noqa: PTH116
        except OSError:
            return False

    def _leave_place(self) -> None:
        # a successor may listen there already
        if self._has_place():
            Path(self._place.socket_path).unlink(missing_ok=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                link, _address = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor is free: some will be
                log.warning("accept_failed", error=type(error).__name__)
                await asyncio.sleep(0.1)
                continue
            client = asyncio.create_task(self._attend(link))
            self._clients.add(client)
            client.add_done_callback(self._clients.discard)

    async def _attend(self, link: socket.socket) -> None:
        """Do what one client wants; the boundary of a request."""
        self._last_used = self._clock()
        peer = Peer(link)
        try:
            if peer_uid(link) != os.geteuid():
                log.warning("foreign_client_refused")
                return
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await peer.read_request()
            await self._answer(peer, request)
        except (PeerGoneError, wire.MalformedError, TimeoutError) as error:
            log.debug("client_left", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001  # the boundary
            log_bug("request_failed", error)
        finally:
            self._last_used = self._clock()
            peer.close()

    async def _answer(self, peer: Peer, request: wire.Request) -> None:
        if request.kind == wire.STATUS:
            peer.send(wire.REPORT, json.dumps(self._describe()))
        elif request.kind == wire.STOP:
            peer.send(wire.REPORT, json.dumps(self._describe()))
            self.retire(at_once=wire.NOW in request.words)
        elif request.kind == wire.EXEC:
            await self._exec(peer, request)
        else:
            peer.send(wire.DECLINE)

    async def _exec(self, peer: Peer, request: wire.Request) -> None:
        if self._retiring.is_set():
            peer.send(wire.DECLINE)
            return
        try:
            call = parse_call(request.words, request.variables)
            peer.send(wire.TAKEN, str(_SILENCE_SECONDS))
            ending = await self._run(peer, call)
        except DeclinedError as reason:
            log.debug("command_declined", reason=str(reason))
            peer.close_descriptors()
            peer.send(wire.DECLINE)
            return
        # before the client ends: whoever reads its output waits for the end of that
        peer.close_descriptors()
        told = (ending.message, ending.hint) if ending.message else ()
        peer.send(wire.EXIT, str(ending.status), *told)

    async def _run(self, peer: Peer, call: Call) -> Ending:
        """Run a call for as long as the client wants it.

        Raises:
            DeclinedError: The client has to do it itself.
        """
        telling = asyncio.create_task(_keep_telling(peer))
        going = asyncio.create_task(peer.wait_for_go())
        leaving = asyncio.create_task(_wait_until_left(peer, going))

        async def begin() -> Descriptors:
            telling.cancel()
            peer.send(wire.READY)
            async with asyncio.timeout(_SILENCE_SECONDS):
                await asyncio.shield(going)
            self._served += 1
            stdin, stdout, stderr = peer.descriptors
            return PassedDescriptors(stdin=stdin, stdout=stdout, stderr=stderr)

        work = asyncio.create_task(self._caller.run(call, begin))
        self._calls.add(work)
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
            return await work
        except asyncio.CancelledError:
            # the client's wish, or ours to end: it was told to end on the pod as well
            return _INTERRUPTED if leaving.done() else _STOPPED
        except (DeclinedError, PeerGoneError, wire.MalformedError, TimeoutError):
            raise
        except Exception as error:
            log_bug("command_failed", error)
            if not peer.descriptors:
                raise DeclinedError("bug") from error
            return _BUG
        finally:
            self._calls.discard(work)
            tasks = {telling, going, leaving, work}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _describe(self) -> dict[str, Any]:
        """Return what `master status` shows."""
        now = self._clock()
        return {
            "pid": os.getpid(),
            "socket": self._place.socket_path,
            "started_at": self._started_at.isoformat(),
            "running": len(self._calls),
            "is_ending": self._retiring.is_set(),
            "served": self._served,
            "idle_seconds": 0.0 if self._calls else round(now - self._last_used, 3),
            "ends_after_idle_seconds": self._idle_seconds,
            "links": [
                {
                    "pod_id": link.pod_id,
                    "name": link.name,
                    "address": str(link.address),
                    "channels": link.channels,
                    "commands": link.borrowers,
                    "idle_seconds": round(link.idle_seconds, 3),
                    "connected_seconds": round(link.connected_seconds, 3),
                }
                for link in self._pool.links()
            ],
        }


_INTERRUPTED = Ending(status=EXIT_SSH_FAILURE)
_STOPPED = Ending(
    status=EXIT_SSH_FAILURE,
    message="the background process was stopped while the command ran",
    hint="The command on the pod was interrupted.",
)
_BUG = Ending(
    status=EXIT_BUG,
    message="the background process failed",
    hint="Its log, beside its socket, tells more: runpod-ssh master status --json",
)


async def _wait_until_left(peer: Peer, going: "asyncio.Task[None]") -> None:
    """Return when the client hangs up, before its command begins or after."""
    with contextlib.suppress(PeerGoneError, wire.MalformedError):
        await asyncio.shield(going)
        await peer.wait_gone()


def log_bug(event: str, error: Exception) -> None:
    """Log where it happened, without the values at hand: they are users' commands."""
    lines = traceback.format_exception(error)
    log.error(
        event, error=type(error).__name__, error_detail=logs.scrub("".join(lines))
    )


async def _keep_telling(peer: Peer) -> None:
    """Let the client know that we live while it waits for a connection."""
    with contextlib.suppress(PeerGoneError):
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            peer.send(wire.TAKEN, str(_SILENCE_SECONDS))


async def run(place: Place, session: Session, pod: str) -> None:
    """Serve with the settings in force until there is no reason to stay.

    Args:
        pod: A pod to connect to at once; empty for none.

    Raises:
        ConfigError: The settings are no good; clients will say so.
    """
    access = open_access(session)
    idle_seconds = access.settings.background_idle_seconds
    # what was found from the working directory is read: let nothing keep that mounted
    os.chdir("/")
    async with Pool(access.connect, idle_seconds=idle_seconds) as pool:
        targets = RememberedTargets(
            lambda selector: access.find_target(selector, None),
            is_linked=lambda pod_id: _is_linked(pool, pod_id),
            clock=time.monotonic,
        )
        caller = Caller(
            pool,
            targets,
            is_known=functools.partial(_is_known, access.host_keys),
            audit=AuditLog(session.load(AuditSettings, "audit")),
        )
        server = BackgroundServer(
            place,
            listen(place),
            caller,
            pool,
            idle_seconds=idle_seconds,
            clock=time.monotonic,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: server.retire(at_once=True))
        log.info("background_started", idle_seconds=idle_seconds)
        warming = asyncio.create_task(caller.warm_up(pod)) if pod else None
        try:
            await server.serve()
        finally:
            if warming is not None:
                warming.cancel()
            await targets.close()
    log.info("background_ended")


def _is_linked(pool: Pool, pod_id: str) -> bool:
    return any(link.pod_id == pod_id for link in pool.links())


def _is_known(store: HostKeyStore, target: PodTarget, key: HostKey) -> bool:
    start = start_of(target.pod, target.address)
    pin = store.find_for_start(target.pod.pod_id, start)
    return pin is not None and pin.fingerprint == key.fingerprint
