"""The client's side of the background process: find it, hand it a command, start one.

It never makes anything worse: whatever is wrong with the background process before it
took a command, the answer is None and the caller runs the command itself. What has to
be quick imports little: see `background_place`.
"""

import os
import sys

from runpod_ssh import background_wire as wire
from runpod_ssh.background_place import (
    Address,
    Place,
    ensure_private,
    find_folder,
    find_place,
    is_private,
)

try:
    # socket itself loads enum and selectors: half as much again as Python's own start
    import _socket as socket
except ImportError:
    import socket  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# a background process that is well answers within a few milliseconds
ANSWER_SECONDS = 0.5
# it gives a command it interrupts five seconds to end
INTERRUPT_SECONDS = 8.0
EXIT_SSH_FAILURE = 255
_LOST = (
    "the background process ended while the command ran",
    "Whether the command finished is unknown: look before you repeat.",
)
_CHUNK_BYTES = 65536
LOCK_DESCRIPTOR = 3


class _LostError(Exception):
    """The other side hung up, kept silent for too long, or spoke nonsense."""


def exec_there(
    argv: "Sequence[str]",
    environ: "Mapping[str, str]",
    descriptors: "tuple[int, int, int]" = (0, 1, 2),
) -> int | None:
    """Have the background process run a command line; return its exit status.

    Whatever is raised meanwhile, as by a signal's handler, has the command on the pod
    interrupted, which is waited for, for some seconds.

    Args:
        argv: The words behind `runpod-ssh exec`.
        descriptors: The stdin, stdout and stderr of the command.

    Returns:
        None where there is no such process, or it does not do that: do it yourself.
    """
    place = find_own_place(environ)
    link = connect(place) if place else None
    if link is None:
        return None
    request = wire.Request(wire.EXEC, argv, wire.pick_variables(argv, environ))
    try:
        ended = _converse(link, request, descriptors)
    except _LostError:
        return None
    except BaseException:
        _interrupt(link)
        raise
    finally:
        link.close()
    if len(ended) > 2:
        _say(descriptors[2], ended[2], "".join(ended[3:]))
    return int(ended[1])


def ask_for_status(place: Place, *, within_seconds: float) -> str | None:
    """Return a background process' report, JSON; None when it gives none in time."""
    return _ask(place, wire.Request(wire.STATUS), within_seconds)


def ask_to_stop(place: Place, *, at_once: bool, within_seconds: float) -> str | None:
    """Tell a background process to end; return its last report, as for its status.

    Args:
        at_once: Interrupt the commands that run; else it ends with the last of them.
    """
    words = [wire.NOW] if at_once else []
    return _ask(place, wire.Request(wire.STOP, words), within_seconds)


def find_own_place(environ: "Mapping[str, str]") -> Place | None:
    """Return the place of the settings in force here, see `find_place`."""
    return find_place(environ, _find_directory())


def list_places(environ: "Mapping[str, str]") -> "list[Place]":
    """Return where this user's background processes listen, or did once."""
    folder = find_folder(environ)
    if not is_private(folder):
        return []
    names = sorted(os.listdir(folder))  # noqa: PTH208  # pathlib takes long to load
    return [Place(folder, n[:-5]) for n in names if n.endswith(".sock")]


def has_ended(place: Place) -> bool:
    """Return whether no process of a place lives; at its start it counts as alive."""
    lock = _try_lock(place)
    if lock is not None:
        os.close(lock)
    return lock is not None


def _ask(place: Place, request: wire.Request, within_seconds: float) -> str | None:
    link = connect(place)
    if link is None:
        return None
    try:
        link.settimeout(within_seconds)
        fields = _ask_for(link, request)
    except _LostError:
        return None
    finally:
        link.close()
    return fields[1] if fields[0] == wire.REPORT else None


def connect(place: Place) -> "socket.socket | None":
    """Return a socket to the process at a place, None when none of ours is there."""
    if not is_private(place.folder):
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(ANSWER_SECONDS)
        with Address(place.socket_path) as address:
            link.connect(address)
        if peer_uid(link) == os.geteuid():
            return link
    except OSError:
        pass
    link.close()
    return None


def peer_uid(link: "socket.socket") -> int:
    """Return who is at the other end, as the kernel says; struct ucred: pid, uid, gid."""
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def start_for_next_time(environ: "Mapping[str, str]", pod: str = "") -> None:
    """Start a background process unless there is one; never fails, never waits.

    Who holds the lock starts it and gives the lock away with it: of many that start at
    once one does, and the lock is free again however that process ends.

    Args:
        pod: A pod it connects to at once, since it is likely to be asked for next.
    """
    place = find_own_place(environ)
    if place is None or not ensure_private(place.folder):
        return
    lock = _try_lock(place)
    if lock is None:
        return
    try:
        _spawn(place, environ, lock, pod)
    except OSError:
        pass  # no process can be made now: next time, then
    finally:
        os.close(lock)


def _try_lock(place: Place) -> int | None:
    """Return the locked file as a descriptor, None where another has the lock."""
    import fcntl  # noqa: PLC0415  # no need of it where one runs

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        lock = os.open(place.lock_path, flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _spawn(place: Place, environ: "Mapping[str, str]", lock: int, pod: str) -> None:
    """Start it with the lock as descriptor 3 and nothing else of ours."""
    import fcntl  # noqa: PLC0415  # as above

    # the module path is handed on: a wrapper may have made it when it started us
    path = os.pathsep.join(sys.path)
    boot = (
        f"import sys; sys.path[:] = sys.argv.pop(1).split({os.pathsep!r}); "
        "from runpod_ssh.background_boot import main; main()"
    )
    # a number of its own: a descriptor copied onto itself stays closed in the child
    source = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", boot, path, place.folder, place.name, pod],
            dict(environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, LOCK_DESCRIPTOR),
                *[
                    (os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0)
                    for n in (0, 1, 2)
                ],
            ],
            setsigmask=[],
        )
    finally:
        os.close(source)


def _find_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # pathlib takes too long to load
    except OSError:  # it was removed
        return "/"


def _converse(
    link: "socket.socket", request: wire.Request, descriptors: "tuple[int, int, int]"
) -> "list[str]":
    """Return the answer that says how the command ended.

    Raises:
        _LostError: It was not begun.
    """
    answer = _ask_for(link, request)
    while answer[0] == wire.TAKEN:
        # said again and again while it connects: silence means that it hangs
        link.settimeout(float(answer[1]))
        answer = _receive(link)
    if answer[0] == wire.READY:
        _give(link, descriptors)
        link.settimeout(None)
        try:
            answer = _receive(link)
        except _LostError:
            return [wire.EXIT, str(EXIT_SSH_FAILURE), *_LOST]
    if answer[0] != wire.EXIT:
        raise _LostError
    return answer


def _ask_for(link: "socket.socket", request: wire.Request) -> "list[str]":
    try:
        link.sendall(wire.render_request(request))
    except OSError as error:
        raise _LostError from error
    return _receive(link)


def _give(link: "socket.socket", descriptors: "tuple[int, int, int]") -> None:
    """Let the command begin, with these as its streams."""
    rights = b"".join(d.to_bytes(4, sys.byteorder) for d in descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    try:
        # so short a frame goes whole or not at all
        link.sendmsg([wire.render_frame([wire.GO])], ancillary)
    except OSError as error:
        raise _LostError from error


def _interrupt(link: "socket.socket") -> None:
    """Have the command interrupted, and wait until it was."""
    try:
        link.shutdown(socket.SHUT_WR)
        link.settimeout(INTERRUPT_SECONDS)
        while _receive(link)[0] != wire.EXIT:
            pass
    except (OSError, _LostError):
        pass


def _receive(link: "socket.socket") -> "list[str]":
    """Return the fields of the next frame; the socket's timeout bounds each part."""
    try:
        length = wire.parse_length(_receive_exactly(link, wire.HEADER_BYTES))
        return wire.parse_fields(_receive_exactly(link, length))
    except (OSError, wire.MalformedError) as error:
        raise _LostError from error


def _receive_exactly(link: "socket.socket", count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = link.recv(min(count - len(received), _CHUNK_BYTES))
        if not chunk:
            raise _LostError
        received += chunk
    return received


def _say(descriptor: int, message: str, hint: str) -> None:
    """Write an error as the command line does."""
    heading = "\x1b[31m\x1b[1mError: \x1b[0m" if os.isatty(descriptor) else "Error: "
    text = f"{heading}{message}\n" + (f"  {hint}\n" if hint else "")
    rest = text.encode("utf-8", "surrogateescape")
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        pass  # nobody is there to be told
