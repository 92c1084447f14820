"""The first steps of the background process: out of its parent's way, then to work.

`background` starts it with the lock on its place as descriptor 3, its streams at the
null device, and in `sys.argv` its folder, its name and a pod to connect to.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from runpod_client import Error, logs
from runpod_client.console import Session
from runpod_ssh.background import LOCK_DESCRIPTOR, has_ended
from runpod_ssh.background_place import Place
from runpod_ssh.quick_start import load_transport
from runpod_ssh.settings import SSHSettings

log = logs.get_logger(__name__)

_MAX_FILES = 65_536
_KEEP_SECONDS = 86_400


def main() -> NoReturn:
    """Be the background process until there is no reason to stay."""
    folder, name, pod = sys.argv[1:4]
    place = Place(folder, name)
    _detach()
    _sweep(place)
    with Path(place.log_path).open("w") as stream:
        # the file is its own: what is to be seen on terminals has no say in it
        is_asked = os.environ.get("RUNPOD_LOG_LEVEL") == "debug"
        logs.configure(
            level="debug" if is_asked else "info", format_name="json", stream=stream
        )
        try:
            _work(place, pod)
        except Error as error:
            # whoever needs it finds out for themselves, in their own terminal
            log.warning("background_failed", error_detail=logs.scrub(error.message))
    # a thread may still wait for RunPod's answer, which nobody wants any more
    os._exit(0)


def _work(place: Place, pod: str) -> None:
    session = Session(
        output="table",
        config_file=None,
        profile=None,
        environ=os.environ,
        is_interactive=False,
    )
    load_transport(session.load(SSHSettings, "ssh"))
    from runpod_ssh.background_server import log_bug, run  # noqa: PLC0415  # asyncssh

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(run(place, session, pod))
    except Error:
        raise
    except Exception as error:  # noqa: BLE001  # the boundary
        log_bug("background_failed", error)


def _sweep(place: Place) -> None:
    """Remove what processes of settings nobody uses any more left in the folder."""
    for path in Path(place.folder).glob("*.lock"):
        other = Place(place.folder, path.stem)
        with contextlib.suppress(OSError):
            is_old = time.time() - path.stat().st_mtime > _KEEP_SECONDS
            if is_old and path.stem != place.name and has_ended(other):
                for left in (other.socket_path, other.log_path, other.lock_path):
                    Path(left).unlink(missing_ok=True)


def _detach() -> None:
    """Leave the terminal, and close what was left open by whoever started us."""
    os.umask(0o077)
    with contextlib.suppress(OSError):
        os.setsid()
    os.set_inheritable(LOCK_DESCRIPTOR, False)
    os.closerange(LOCK_DESCRIPTOR + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _MAX_FILES), hard))
