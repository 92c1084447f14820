"""The client against background processes that misbehave at every step.

Before `go` nothing has happened, so that the caller does it itself; after it the
outcome is unknown. Each is a real socket; what it says is scripted.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runpod_ssh import background
from runpod_ssh import background_wire as wire
from runpod_ssh.background_place import Address
from support.waiting import wait_for

Script = Callable[[socket.socket], None]


class Stage:
    """A place where a scripted process listens, and pipes for a client's streams."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "run"
        (runtime / "runpod-ssh").mkdir(mode=0o700, parents=True)
        self.environ = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(folder)}
        place = background.find_own_place(self.environ)
        assert place is not None
        self.place = place
        self.threads: list[threading.Thread] = []
        self.stderr = (folder / "stderr").open("w+b")

    def listen(self, script: Script) -> None:
        """Let the next client meet a script."""
        listener = socket.socket(socket.AF_UNIX)
        with Address(self.place.socket_path) as address:
            listener.bind(address)
        listener.listen()

        def serve() -> None:
            with listener:
                link, _address = listener.accept()
            with link:
                link.settimeout(10)
                with contextlib.suppress(OSError):
                    script(link)

        thread = threading.Thread(target=serve)
        thread.start()
        self.threads.append(thread)

    def exec(self, *words: str) -> int | None:
        with Path(os.devnull).open("r+b") as null:
            descriptors = (null.fileno(), null.fileno(), self.stderr.fileno())
            return background.exec_there(words, self.environ, descriptors)

    def told(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read().decode()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for thread in made.threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    made.stderr.close()


def say(link: socket.socket, *fields: str) -> None:
    link.sendall(wire.render_frame(fields))


def hear(link: socket.socket) -> list[str]:
    length = wire.parse_length(link.recv(wire.HEADER_BYTES))
    return wire.parse_fields(link.recv(length))


def test_without_a_process_the_caller_does_it_itself(stage: Stage) -> None:
    assert stage.exec("train", "true") is None


def test_status_and_streams_are_handed_over(stage: Stage) -> None:
    seen: list[object] = []

    def script(link: socket.socket) -> None:
        request = hear(link)
        say(link, wire.TAKEN, "5")
        say(link, wire.READY)
        go, descriptors, _flags, _address = socket.recv_fds(link, 100, 5)
        seen.extend([request, go, len(descriptors)])
        for descriptor in descriptors:
            os.close(descriptor)
        say(link, wire.EXIT, "7")

    stage.listen(script)

    status = stage.exec("train", "exit 7")

    assert status == 7
    assert seen == [["exec", "2", "train", "exit 7"], wire.render_frame([wire.GO]), 3]


def decline(link: socket.socket) -> None:
    hear(link)
    say(link, wire.DECLINE)


def hang_up(link: socket.socket) -> None:
    hear(link)


def hang_up_while_connecting(link: socket.socket) -> None:
    hear(link)
    say(link, wire.TAKEN, "5")


def hang_while_connecting(link: socket.socket) -> None:
    hear(link)
    say(link, wire.TAKEN, "0.2")
    assert link.recv(100) == b""


def hang(link: socket.socket) -> None:
    hear(link)
    assert link.recv(100) == b""


def babble(link: socket.socket) -> None:
    hear(link)
    link.sendall(b"\xff" * 1000)


def fail_to_find(link: socket.socket) -> None:
    hear(link)
    say(link, wire.TAKEN, "5")
    say(link, wire.DECLINE)


@pytest.mark.parametrize(
    "script",
    [
        decline,
        hang_up,
        hang_up_while_connecting,
        hang_while_connecting,
        hang,
        babble,
        fail_to_find,
    ],
)
def test_trouble_before_go_is_done_without_soon_and_silently(
    stage: Stage, script: Script
) -> None:
    stage.listen(script)
    started = time.monotonic()

    status = stage.exec("train", "true")

    assert status is None
    assert time.monotonic() - started < 2
    assert stage.told() == ""


def test_patience_lasts_as_long_as_it_is_told_of_progress(stage: Stage) -> None:
    def script(link: socket.socket) -> None:
        hear(link)
        for _ in range(8):
            say(link, wire.TAKEN, "0.5")
            assert not link_has_ended(link, 0.1)
        say(link, wire.EXIT, "255", "no way", "try later")

    stage.listen(script)

    status = stage.exec("train", "true")

    assert status == 255
    assert stage.told() == "Error: no way\n  try later\n"


def link_has_ended(link: socket.socket, seconds: float) -> bool:
    link.settimeout(seconds)
    try:
        return link.recv(1) == b""
    except TimeoutError:
        return False
    finally:
        link.settimeout(10)


def test_trouble_after_go_leaves_the_outcome_unknown(stage: Stage) -> None:
    def script(link: socket.socket) -> None:
        hear(link)
        say(link, wire.READY)
        _go, descriptors, _flags, _address = socket.recv_fds(link, 100, 5)
        for descriptor in descriptors:
            os.close(descriptor)

    stage.listen(script)

    status = stage.exec("train", "true")

    assert status == 255
    assert "Whether the command finished is unknown" in stage.told()


def test_folder_others_can_look_into_is_not_used(stage: Stage) -> None:
    stage.listen(decline)
    Path(stage.place.folder).chmod(0o755)

    refused = background.connect(stage.place)

    Path(stage.place.folder).chmod(0o700)
    assert refused is None
    assert stage.exec("train", "true") is None  # lets the script end


def test_process_of_another_user_is_not_spoken_to(stage: Stage) -> None:
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        # the whole path may be longer than a socket's may be
        "os.chdir(os.path.dirname(sys.argv[1]))\n"
        "s.bind(os.path.basename(sys.argv[1])); s.listen()\n"
        "print('up', flush=True)\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"
        "s.listen(); print('down', flush=True)\n"
        "link, _ = s.accept()\n"
        "try: print('heard', len(link.recv(100)), flush=True)\n"
        "except ConnectionError: print('heard 0', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, stage.place.socket_path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert process.stdout.readline() == b"down\n"

        link = background.connect(stage.place)

        if link is not None:  # nobody but root can be somebody else
            assert os.geteuid() != 0
            link.close()
        assert process.stdout.readline() == b"heard 0\n"


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_client_told_to_end_shuts_its_side_and_waits_for_the_end(
    stage: Stage, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    heard: list[bytes] = []

    def script(link: socket.socket) -> None:
        hear(link)
        say(link, wire.READY)
        _go, descriptors, _flags, _address = socket.recv_fds(link, 100, 5)
        for descriptor in descriptors:
            os.close(descriptor)
        (tmp_path / "begun").touch()
        heard.append(link.recv(100))
        say(link, wire.EXIT, "255")

    stage.listen(script)
    process = subprocess.Popen(
        [sys.executable, "-m", "runpod_ssh.entry", "exec", "train", "true"],
        env={**stage.environ, "PATH": os.environ["PATH"]} | inherited(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((tmp_path / "begun").exists, what="the command has begun")

    process.send_signal(number)

    assert process.wait(10) == status
    assert heard == [b""]


def inherited() -> dict[str, str]:
    """Return what lets Python find its packages; it decides nothing of ours."""
    return {k: v for k, v in os.environ.items() if k.startswith(("PYTHON", "LD_"))}
