"""`runpod-ssh sessions` and `forward` against simulated pods, also in a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from runpod_ssh.cli import cli
from support.sim import SimServer
from support.ssh_desk import PROGRAMS, SSHDesk, rent
from support.sshd import find_program
from support.waiting import wait_for

WAIT_SECONDS = 30
# ends the connection through which somebody looks at a session, as a broken network
# would, and lets everything else be
CUT = """
pid=$(tmux -L runpod list-clients -F '#{client_pid}')
while [ "$(cat "/proc/$pid/comm")" != sshd ]; do
    pid=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 2)
done
kill -9 "$pid"
"""


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> SSHDesk:
    """The pod that the tests of this file share; each uses sessions of its own."""
    return rent(module_sim, tmp_path_factory.mktemp("office"))


@pytest.fixture
def desk(office: SSHDesk) -> Iterator[SSHDesk]:
    """The shared desk; no session of a test is left to the next."""
    yield office
    tmux(office, "kill-server")


def tmux(desk: SSHDesk, *arguments: str) -> str:
    """Ask the pod's tmux directly, which costs less than to log in."""
    done = subprocess.run(
        [find_program("tmux"), "-u", "-L", "runpod", *arguments],
        env={**os.environ, "TMUX_TMPDIR": str(desk.pod_folder / "tmp")},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    return done.stdout


def sessions(desk: SSHDesk, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return desk.ssh("sessions", *arguments)


def states(desk: SSHDesk) -> dict[str, str]:
    listed = desk.json("sessions", "list", "train")
    return {one["name"]: one["state"] for one in listed["sessions"]}


def until_shown(desk: SSHDesk, name: str, text: str) -> None:
    """Wait until a session shows a text."""
    wait_for(
        lambda: text in tmux(desk, "capture-pane", "-p", "-t", f"={name}:"),
        timeout_seconds=WAIT_SECONDS,
        what=f"{name} shows {text}",
    )


def until_ended(desk: SSHDesk, name: str) -> None:
    """Wait until the command of a session has ended."""
    ask = ("display-message", "-p", "-t", f"={name}:", "#{pane_dead}")
    wait_for(
        lambda: tmux(desk, *ask) == "1\n",
        timeout_seconds=WAIT_SECONDS,
        what=f"{name} has ended",
    )


def test_agents_are_started_listed_and_killed(desk: SSHDesk) -> None:
    start = ("start", "train", "--agents", "3", "--command", "exec cat")

    first = sessions(desk, *start)
    again = sessions(desk, *start)
    listed = sessions(desk, "list", "train").stdout
    killed = sessions(desk, "kill", "train", "agent-a", "nobody")

    assert first.stdout == "agent-a started\nagent-b started\nagent-c started\n"
    assert again.stdout.startswith("agent-a was there already, running\nagent-b")
    assert re.search(r"^agent-b +exec cat +running +- ", listed, re.MULTILINE)
    assert killed.stdout == "agent-a killed\nnobody was not there\n"
    assert states(desk) == {"agent-b": "running", "agent-c": "running"}


def test_text_is_typed_and_the_screen_read_back(desk: SSHDesk) -> None:
    sessions(desk, "start", "train", "a", "--", "echo", "ready;", "exec", "cat")
    until_shown(desk, "a", "ready")

    sent = subprocess.run(
        [str(PROGRAMS / "runpod-ssh"), "sessions", "send", "train", "a", "-"],
        env=dict(desk.environ),
        input="one\ntwo $HOME\n",
        text=True,
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    until_shown(desk, "a", "two $HOME\none\ntwo $HOME")
    screen = sessions(desk, "capture", "train", "a").stdout
    lines = desk.json("sessions", "capture", "train", "a", "--lines", "2")["lines"]
    sessions(desk, "send", "train", "a", "--key", "C-c")

    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "", "")
    assert screen.startswith("ready\n")
    assert lines == ["one", "two $HOME"]
    until_ended(desk, "a")


def test_ended_session_is_listed_with_its_status_and_can_be_restarted(
    desk: SSHDesk,
) -> None:
    sessions(desk, "start", "train", "a", "--", "exit 3")
    until_ended(desk, "a")

    again = sessions(desk, "start", "train", "a", "--", "exec cat")
    told = sessions(desk, "send", "train", "a", "x")
    restarted = sessions(desk, "start", "train", "a", "--restart", "--", "exec cat")

    assert "was there already, ended (3); --restart" in again.stdout
    assert (told.returncode, "has ended" in told.stderr) == (1, True)
    assert restarted.stdout == "a started\n"
    assert states(desk) == {"a": "running"}


def test_variables_and_folder_reach_the_session(desk: SSHDesk) -> None:
    environ = {"TOKEN": "s3cret"}
    options = ("--env", "TOKEN", "--env", "OTHER=x y", "--cwd", "/")
    show = 'echo "$TOKEN,$OTHER,$PWD"; exec cat'

    done = desk.run(
        *("runpod-ssh", "sessions", "start", "train", "a", *options),
        *("--command", show),
        environ=environ,
    )

    assert done.returncode == 0, done.stderr
    until_shown(desk, "a", "s3cret,x y,/")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("sessions", "start", "train"), "give a NAME, or --agents N"),
        (("sessions", "start", "train", "a b"), "'a b' cannot name a session"),
        (("sessions", "start", "train", "a", "--command", "x", "--", "y"), "not both"),
        (
            ("sessions", "start", "train", "a", "--env", "NOT_SET"),
            "no variable of that",
        ),
        (("sessions", "start", "train", "--agents", "703"), "1<=x<=702"),
        (("sessions", "send", "train", "a"), "give TEXT, or --key, or both"),
        (("sessions", "send", "train", "a", "--key", "Ctrl-C"), "'Ctrl-C' is no key"),
        (("sessions", "attach", "train", "a"), "attach needs a terminal"),
        (("forward", "train"), "give a SPEC, -L, -R or -D"),
        (("forward", "train", "80x"), "'80x' describes no tunnel"),
        (("forward", "train", "-D", "a:b:c"), "'a:b:c' describes no tunnel"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    arguments: tuple[str, ...], text: str
) -> None:
    done = CliRunner().invoke(cli, arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("start", "train", "a", "--cwd", "/no/such"), 1, "no such folder: /no/such"),
        (("capture", "train", "nobody"), 1, "there is no session nobody"),
        (("list", "nowhere"), 4, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_status(
    desk: SSHDesk, arguments: tuple[str, ...], status: int, text: str
) -> None:
    done = sessions(desk, *arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


class Terminal:
    """A command in a terminal of its own: what it shows, and keys for it."""

    def __init__(self, desk: SSHDesk, *arguments: str, size: tuple[int, int]) -> None:
        self._leader, self._follower = pty.openpty()
        termios.tcsetwinsize(self._leader, size)
        self._before = termios.tcgetattr(self._follower)
        self.seen = b""
        self.process = subprocess.Popen(
            [str(PROGRAMS / "runpod-ssh"), *arguments],
            env={**desk.environ, "TERM": "xterm-256color"},
            stdin=self._follower,
            stdout=self._follower,
            stderr=self._follower,
            start_new_session=True,
        )

    @property
    def is_as_before(self) -> bool:
        """Return whether the terminal is in the mode the command found it in."""
        return termios.tcgetattr(self._follower) == self._before

    def press(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def shows(self, text: bytes) -> bool:
        while select.select([self._leader], [], [], 0)[0]:
            self.seen += os.read(self._leader, 65536)
        return text in self.seen

    def until_shown(self, text: bytes) -> None:
        """Wait for a text, and forget what was shown up to now."""
        try:
            wait_for(
                lambda: self.shows(text), timeout_seconds=WAIT_SECONDS, what=f"{text!r}"
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; seen: {self.seen[-900:]!r}") from error
        self.seen = b""

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=WAIT_SECONDS)
        os.close(self._leader)
        os.close(self._follower)


@pytest.fixture
def open_terminal(desk: SSHDesk) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def make(*arguments: str, size: tuple[int, int] = (30, 100)) -> Terminal:
        terminals.append(Terminal(desk, *arguments, size=size))
        return terminals[-1]

    yield make
    for terminal in terminals:
        terminal.close()


def test_attached_terminal_outlives_its_link_and_is_given_back(
    desk: SSHDesk, open_terminal: Callable[..., Terminal]
) -> None:
    shell = "env -i TERM=$TERM PATH=$PATH PS1='% ' sh -i"
    sessions(desk, "start", "train", "a", "--command", shell)
    terminal = open_terminal("sessions", "attach", "train", "a")
    terminal.until_shown(b"% ")
    terminal.press(b"mine=kept; stty size; tput colors\r")
    terminal.until_shown(b"256")

    cut = desk.ssh("exec", "train", CUT)
    terminal.until_shown(b"train: link lost; the session goes on")
    terminal.until_shown(b"train: link is back")
    terminal.until_shown(b"29 100")
    terminal.press(b"echo $mine-$((40+2))\r")
    terminal.until_shown(b"kept-42")

    def leave() -> bool:
        # keys within a millisecond are a paste to tmux, so now and then one more time
        terminal.press(b"\x02")
        terminal.press(b"d")
        with contextlib.suppress(subprocess.TimeoutExpired):
            terminal.process.wait(timeout=1)
        return terminal.process.returncode is not None

    wait_for(leave, timeout_seconds=WAIT_SECONDS, what="detached")
    assert cut.returncode == 0, cut.stderr
    assert terminal.process.returncode == 0
    assert terminal.is_as_before
    assert states(desk) == {"a": "running"}


class Page(BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the page")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web_port() -> Iterator[int]:
    """A web server on the loopback, which simulated pods share with this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(timeout=WAIT_SECONDS)
    server.server_close()


def read_page(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT_SECONDS) as answer:
        content: bytes = answer.read()
    return content


class Forwarding:
    """A running `forward`, and the lines it wrote."""

    def __init__(self, desk: SSHDesk, folder: Path, *arguments: str) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [str(PROGRAMS / "runpod-ssh"), "forward", "train", *arguments],
                env=dict(desk.environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def told(self) -> str:
        return self._stderr.read_text()

    def lines(self, count: int) -> list[str]:
        """Return the lines so far, as soon as they are so many."""

        def look() -> list[str] | None:
            lines = self._stdout.read_text().splitlines()
            return lines if len(lines) >= count else None

        return wait_for(look, timeout_seconds=WAIT_SECONDS, what=f"{count} lines")

    def events(self, count: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines(count)]


@pytest.fixture
def forward(desk: SSHDesk, tmp_path: Path) -> Iterator[Callable[..., Forwarding]]:
    running: list[Forwarding] = []

    def make(*arguments: str) -> Forwarding:
        running.append(Forwarding(desk, tmp_path, *arguments))
        return running[-1]

    yield make
    for one in running:
        one.process.kill()
        one.process.wait(timeout=WAIT_SECONDS)


def test_forward_says_what_listens_and_closes_it_on_ctrl_c(
    forward: Callable[..., Forwarding], web_port: int
) -> None:
    running = forward(f"auto:{web_port}", "-D", "0")
    heading, local, dynamic = running.lines(3)
    port = int(re.findall(r"127\.0\.0\.1:(\d+) here", local)[0])
    page = read_page(port)
    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(timeout=WAIT_SECONDS) == 130
    assert heading.split() == ["KIND", "LISTENS", "ON", "LEADS", "TO"]
    assert local.endswith(f"127.0.0.1:{web_port} on train")
    assert dynamic.endswith("what train reaches (SOCKS)")
    assert page == b"the page"
    assert "Ctrl-C closes the tunnels." in running.told
    with pytest.raises(OSError, match="refused"):
        read_page(port)


def test_forward_tells_programs_in_lines_of_json_and_comes_back_after_a_cut(
    desk: SSHDesk, forward: Callable[..., Forwarding], web_port: int
) -> None:
    running = forward(f"0:{web_port}", "-R", f"0:127.0.0.1:{web_port}", "--json")
    local, remote = running.events(2)
    before = [read_page(local["port"]), read_page(remote["port"])]
    # who listens on the pod's side is the far end of the tunnels' connection
    os.kill(find_listener(remote["port"]), signal.SIGKILL)
    wait_for(
        lambda: "back" in [event["event"] for event in running.events(3)],
        timeout_seconds=WAIT_SECONDS,
        what="the link is back",
    )

    assert local == {
        "event": "listening",
        "pod_id": desk.pod_id,
        "kind": "local",
        "bind_host": "127.0.0.1",
        "port": local["port"],
        "to_host": "127.0.0.1",
        "to_port": web_port,
    }
    assert running.events(4)[2]["event"] == "lost"
    assert before == [b"the page", b"the page"]
    assert read_page(local["port"]) == read_page(remote["port"]) == b"the page"


def find_listener(port: int) -> int:
    """Return the process that listens on a port of the loopback."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(
        row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"
    )
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            for descriptor in entry.joinpath("fd").iterdir():
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return int(entry.name)
    raise AssertionError(f"nobody listens on {port}")


def test_public_tunnel_is_warned_of_and_a_taken_port_said(
    desk: SSHDesk, web_port: int
) -> None:
    done = desk.ssh("forward", "train", f"{web_port}:80", "--bind", "0.0.0.0")

    assert done.returncode == 1
    assert f"Warning: 0.0.0.0:{web_port} here can be reached by other machines" in (
        done.stderr
    )
    assert f"0.0.0.0:{web_port} is taken by another program" in done.stderr
