"""The background process: a command through it is as one without, only sooner.

Clients and the process are real, and so is the sshd of the pod.
"""

import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.background import END_SECONDS, Desk, background_of, desk_of, rent
from support.leftovers import processes_mentioning
from support.pod_world import PodWorld, pod_world
from support.sim import SimServer
from support.waiting import wait_for


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodWorld]:
    """A pod that the tests of this file share, which none of them may harm."""
    with pod_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def desk(world: PodWorld, tmp_path: Path) -> Iterator[Desk]:
    """The shared pod, and background processes of one's own; none runs yet."""
    with background_of(desk_of(world, tmp_path)) as desk:
        yield desk


@pytest.fixture(scope="module")
def office(world: PodWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk whose background process runs and is connected, for all tests."""
    with background_of(desk_of(world, tmp_path_factory.mktemp("office"))) as desk:
        desk.start_background()
        yield desk


@pytest.fixture
def served(office: Desk, tmp_path: Path) -> Desk:
    """A running background process, which the test must not harm."""
    return replace(office, folder=tmp_path)


@pytest.fixture
def own(desk: Desk) -> Desk:
    """A running background process of one's own."""
    desk.start_background()
    return desk


@contextlib.contextmanager
def through(desk: Desk, *, times: int = 1) -> Iterator[None]:
    """Check that so many commands of the block go through the background process."""
    before = desk.status()["served"]
    yield
    assert desk.status()["served"] - before == times


def test_first_command_starts_it_for_those_after(desk: Desk) -> None:
    first = desk.run("exec", "train", "echo first")
    wait_for(
        lambda: any(status["links"] for status in desk.statuses()),
        timeout_seconds=END_SECONDS,
        what="the background process is connected",
    )

    with through(desk):
        second = desk.run("exec", "train", "echo second")

    assert (first.stdout, second.stdout) == (b"first\n", b"second\n")


def test_command_through_it_has_exact_streams_and_status(served: Desk) -> None:
    with through(served):
        done = served.run(
            "exec", "train", "cat; printf e >&2; exit 9", stdin=b"\0in\xff"
        )

    assert (done.returncode, done.stdout, done.stderr) == (9, b"\0in\xff", b"e")


def test_variables_and_odd_words_arrive(served: Desk) -> None:
    with through(served):
        done = served.run(
            "exec", "--env", "TOKEN", "--env=B=x y", served.pod_id, "--",
            "printf", "'%s|'", '"$TOKEN"', '"$B"', "-n", "é", "--", "end",
            TOKEN="s3cret\nvalue",
        )  # fmt: skip

    assert done.stdout.decode() == "s3cret\nvalue|x y|-n|é|--|end|"


def test_large_input_and_output_pass_through_it_unharmed(served: Desk) -> None:
    content = os.urandom(10_000_000)

    with through(served):
        done = served.run("exec", "train", "cat", stdin=content)

    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(content).digest()


def test_files_as_streams_pass_through_it(served: Desk) -> None:
    source, target = served.folder / "in", served.folder / "out"
    source.write_bytes(b"x" * 300_000)

    with source.open("rb") as stdin, target.open("ab") as stdout:
        process = served.open("exec", "train", "cat", stdin=stdin, stdout=stdout)
        status = process.wait(END_SECONDS)

    assert (status, target.read_bytes()) == (0, b"x" * 300_000)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_interrupted_client_interrupts_the_command_on_the_pod(
    served: Desk, number: signal.Signals, status: int
) -> None:
    mark = served.folder / "pid"
    process = served.open("exec", "train", f"echo $$ >{mark}; sleep 300")
    pid = wait_for_pid(mark)

    process.send_signal(number)

    assert process.wait(END_SECONDS) == status
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


def wait_for_pid(mark: Path) -> int:
    text = wait_for(
        lambda: mark.read_text().strip() if mark.exists() else "", what="it runs"
    )
    return int(text)


def test_killed_client_interrupts_the_command_on_the_pod(served: Desk) -> None:
    mark = served.folder / "pid"
    process = served.open("exec", "train", f"echo $$ >{mark}; sleep 300")
    pid = wait_for_pid(mark)

    process.kill()

    process.wait(END_SECONDS)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


def test_reader_that_goes_away_ends_the_command(served: Desk) -> None:
    mark = served.folder / "pid"
    process = served.open(
        "exec", "train", f"echo $$ >{mark}; yes", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(2) == b"y\n"

    process.stdout.close()

    assert process.wait(END_SECONDS) == 0
    pid = int(mark.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


def test_paused_reader_holds_up_nobody_else(served: Desk) -> None:
    reader, writer = os.pipe()
    process = served.open("exec", "train", "yes", stdout=writer)
    os.close(writer)
    capacity = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    wait_for(lambda: is_full(reader, capacity), what="the pipe is full")

    done = served.run("exec", "train", "echo other")

    assert done.stdout == b"other\n"
    process.terminate()
    process.wait(END_SECONDS)
    os.close(reader)


def test_clients_that_share_their_input_hold_up_nobody(served: Desk) -> None:
    reader, writer = os.pipe()
    marks = [served.folder / name for name in ("one", "two")]
    clients = [
        served.open("exec", "train", f"touch {mark}; cat >{mark}", stdin=reader)
        for mark in marks
    ]
    os.close(reader)
    wait_for(lambda: all(mark.exists() for mark in marks), what="both run")

    os.write(writer, b"x")
    wait_for(lambda: any(mark.stat().st_size for mark in marks), what="one took it")
    done = served.run("exec", "train", "echo other")

    assert done.stdout == b"other\n"
    os.close(writer)
    assert [client.wait(END_SECONDS) for client in clients] == [0, 0]
    assert sorted(mark.stat().st_size for mark in marks) == [0, 1]


def is_full(reader: int, capacity: int) -> bool:
    waiting = bytearray(4)
    fcntl.ioctl(reader, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder) >= capacity - 4096


def test_terminal_is_not_read(served: Desk) -> None:
    leader, follower = pty.openpty()
    os.write(leader, b"typed ahead\n")

    process = served.open("exec", "train", "cat; echo end", stdin=follower)
    status = process.wait(END_SECONDS)
    is_waiting = select.select([follower], [], [], 5)[0]

    assert status == 0
    assert is_waiting
    assert os.read(follower, 100) == b"typed ahead\n"
    os.close(leader)
    os.close(follower)


@pytest.mark.parametrize(
    "words",
    [
        ("-i", "{identity}", "train", "echo done"),
        ("--connect-timeout", "9", "train", "echo done"),
        ("--log-level", "error", "train", "echo done"),
        ("train", "podtrain000001", "--", "true"),
        ("--help",),
        ("--no-such-option", "train", "true"),
        ("train",),
        ("--env", "NO_SUCH_VARIABLE", "train", "true"),
        ("train", "echo", "\udcff"),
    ],
)
def test_what_it_does_not_do_ends_as_without_it(
    served: Desk, world: PodWorld, words: tuple[str, ...]
) -> None:
    filled = [word.format(identity=world.identity_file) for word in words]

    with through(served, times=filled.count("\udcff")):
        handed = served.run("exec", *filled)
    alone = served.run("exec", *filled, RUNPOD_SSH_BACKGROUND="false")

    assert (handed.returncode, handed.stdout) == (alone.returncode, alone.stdout)
    assert without_times(handed.stderr) == without_times(alone.stderr)


def without_times(text: bytes) -> bytes:
    return re.sub(rb"[0-9.]+ ?s\b", b"", text)


def test_unknown_pod_is_the_same_sentence(served: Desk) -> None:
    handed = served.run("exec", "trian", "true")
    alone = served.run("exec", "trian", "true", RUNPOD_SSH_BACKGROUND="false")

    assert b"train" in handed.stderr
    assert (handed.returncode, handed.stderr) == (alone.returncode, alone.stderr)


def test_time_limit_ends_the_command(served: Desk) -> None:
    with through(served):
        done = served.run("exec", "--timeout", "0.5", "train", "sleep 300")

    assert done.returncode == 255
    assert b"took longer than 0.5 s" in done.stderr


def test_killed_process_is_done_without(own: Desk) -> None:
    os.kill(own.status()["pid"], signal.SIGKILL)

    done = own.run("exec", "train", "echo here; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, b"here\n", b"")


def test_process_killed_under_a_command_leaves_its_outcome_unknown(
    own: Desk,
) -> None:
    mark = own.folder / "pid"
    process = own.open(
        "exec", "train", f"echo $$ >{mark}; sleep 300", stderr=subprocess.PIPE
    )
    wait_for_pid(mark)

    os.kill(own.status()["pid"], signal.SIGKILL)
    _out, err = process.communicate(timeout=END_SECONDS)

    assert process.returncode == 255
    assert b"Whether the command finished is unknown" in err


def test_hung_process_is_done_without_at_once(own: Desk) -> None:
    pid = own.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()

    done = own.run("exec", "train", "echo here")

    elapsed = time.monotonic() - started
    os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stdout) == (0, b"here\n")
    assert elapsed < 30  # half a second of it for the hung process
    assert own.status()["served"] == 0


def test_of_many_that_start_at_once_one_runs_and_serves_all(desk: Desk) -> None:
    start = (
        "import os; from runpod_ssh import background; "
        "background.start_for_next_time(os.environ, 'train')"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", start], env=dict(desk.environ), cwd=desk.folder
        )
        for _ in range(20)
    ]
    assert [starter.wait(END_SECONDS) for starter in starters] == [0] * 20
    wait_for(
        lambda: any(status["links"] for status in desk.statuses()),
        timeout_seconds=END_SECONDS,
        what="the background process is connected",
    )

    clients = [desk.open("exec", "train", f"exit {n}") for n in range(20)]
    ended = [client.wait(END_SECONDS) for client in clients]

    assert ended == list(range(20))
    status = desk.status()
    assert (status["served"], len(status["links"])) == (20, 1)
    assert len(processes_mentioning(str(desk.runtime.parent))) == 1


def test_idle_process_ends_and_leaves_no_socket(desk: Desk) -> None:
    environ = {**desk.environ, "RUNPOD_SSH_BACKGROUND_IDLE": "1.5"}
    desk = replace(desk, environ=environ)
    pid = desk.start_background()["pid"]
    assert desk.run("exec", "train", "sleep 2").returncode == 0
    assert Path(f"/proc/{pid}").exists()

    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="it ends")

    assert list(desk.runtime.glob("*.sock")) == []


def test_process_whose_socket_was_taken_away_ends(own: Desk) -> None:
    pid = own.status()["pid"]

    next(own.runtime.glob("*.sock")).unlink()

    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="it ends")


def test_stop_ends_it_and_the_next_command_needs_none(own: Desk) -> None:
    pid = own.status()["pid"]

    stopped = own.run("master", "stop")
    none = own.run("master", "status")
    done = own.run("exec", "train", "echo here", RUNPOD_SSH_BACKGROUND="0")

    assert stopped.stdout == f"background process {pid} has ended\n".encode()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="it is gone")
    assert none.stdout == b"no background process is running\n"
    assert done.stdout == b"here\n"


def test_stop_lets_a_command_end_and_stop_now_does_not(own: Desk) -> None:
    pid = own.status()["pid"]
    mark = own.folder / "pid"
    process = own.open(
        "exec", "train", f"echo $$ >{mark}; sleep 300", stderr=subprocess.PIPE
    )
    on_pod = wait_for_pid(mark)
    kept = own.run("master", "stop")
    assert b"ends with the commands that run in it (1)" in kept.stdout
    assert own.run("exec", "train", "echo by itself").stdout == b"by itself\n"
    assert (process.poll(), own.status()["running"]) == (None, 1)
    shown = own.run("master", "status").stdout
    assert b"1 running, ends with the last of them" in shown

    stopped = own.run("master", "stop", "--now")
    _out, err = process.communicate(timeout=END_SECONDS)

    assert stopped.stdout == f"background process {pid} has ended\n".encode()
    assert process.returncode == 255
    assert b"The command on the pod was interrupted" in err
    wait_for(lambda: not Path(f"/proc/{on_pod}").exists(), what="the command is gone")


def test_call_after_a_sleep_in_which_the_link_died_is_served(
    own: Desk, world: PodWorld
) -> None:
    pid = own.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    _server, *sessions = world.sshd.family()
    for session in sessions:
        with contextlib.suppress(ProcessLookupError):
            os.kill(session, signal.SIGKILL)

    os.kill(pid, signal.SIGCONT)

    with through(own):
        assert own.run("exec", "train", "echo awake").stdout == b"awake\n"


def test_link_whose_host_key_is_vouched_for_no_more_is_not_used(own: Desk) -> None:
    wrong = "SHA256:" + "A" * 43
    trusted = own.run("keys", "trust", "train", wrong)
    assert trusted.returncode == 0, trusted.stderr

    refused = own.run("exec", "train", "true")
    forgotten = own.run("keys", "forget", own.pod_id)
    accepted = own.run("exec", "train", "echo ok")

    assert refused.returncode == 255
    assert wrong.encode() in refused.stderr
    assert forgotten.returncode == 0
    assert accepted.stdout == b"ok\n"


def test_status_shows_links_for_people(served: Desk) -> None:
    assert served.run("exec", "train", "true").returncode == 0

    done = served.run("master", "status")

    assert b"0 running, ends in" in done.stdout
    assert b"train" in done.stdout
    assert served.pod_id.encode() in done.stdout


def test_files_are_for_their_owner_and_hold_no_secret(own: Desk) -> None:
    done = own.run("exec", "--env", "T", "train", "true", T="pl4nted")
    assert done.returncode == 0

    modes = {path.suffix: path.stat().st_mode & 0o777 for path in own.runtime.iterdir()}
    log = next(own.runtime.glob("*.log")).read_text()

    assert modes == {".sock": 0o600, ".lock": 0o600, ".log": 0o600}
    assert "background_started" in log
    assert own.environ["RUNPOD_API_KEY"] not in log
    assert "pl4nted" not in log


def test_client_of_another_user_is_not_answered(own: Desk) -> None:
    place = next(own.runtime.glob("*.sock"))
    own.runtime.chmod(0o755)
    place.chmod(0o666)
    code = (
        "import os, socket, sys\n"
        "from runpod_ssh import background_wire as wire\n"
        "frame = wire.render_request(wire.Request(wire.STATUS))\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"
        "link = socket.socket(socket.AF_UNIX)\n"
        "link.settimeout(10)\n"
        "link.connect(sys.argv[1])\n"
        "try: link.send(frame); print(len(link.recv(100)))\n"
        "except ConnectionError: print(0)\n"
    )

    # by its name alone: the folders above are closed to others
    done = subprocess.run(
        [sys.executable, "-c", code, place.name],
        cwd=own.runtime,
        capture_output=True,
        timeout=END_SECONDS,
        check=False,
    )

    own.runtime.chmod(0o700)
    is_foreign = os.geteuid() == 0  # nobody but root can be somebody else
    assert (done.stdout == b"0\n") == is_foreign, done.stderr
    assert own.status()["served"] == 0


def test_changed_configuration_never_meets_the_old_process(own: Desk) -> None:
    (own.folder / "runpod.toml").write_text("[client]\napi_timeout_seconds = 9\n")

    done = own.run("exec", "train", "echo here")

    assert done.stdout == b"here\n"
    assert sorted(status["served"] for status in own.statuses())[0] == 0
    old = [status for status in own.statuses() if status["served"]]
    assert old == []


def test_pod_that_was_stopped_and_started_is_found_again(
    sim: SimServer, tmp_path: Path
) -> None:
    with background_of(rent(sim, tmp_path)) as desk:
        pid = desk.start_background()["pid"]
        manage(desk, "stop")
        stopped = desk.run("exec", "train", "true")
        manage(desk, "start")

        done = desk.run("exec", "train", "echo again")

        assert stopped.returncode == 255
        assert b"not RUNNING" in stopped.stderr
        assert (done.returncode, done.stdout) == (0, b"again\n")
        assert desk.status()["pid"] == pid
        assert desk.status()["served"] == 1


def manage(desk: Desk, verb: str) -> None:
    program = str(Path(sys.executable).with_name("runpod-client"))
    yes = ["--yes"] if verb == "start" else []
    subprocess.run(
        [program, "pods", verb, "train", *yes],
        env=dict(desk.environ),
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_it_outlives_the_terminal_it_was_started_from(desk: Desk) -> None:
    leader, follower = pty.openpty()
    starter = desk.open(
        "master", "start", "train",
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    starter.wait(END_SECONDS)
    pid = desk.status()["pid"]

    os.close(leader)

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
    assert desk.run("exec", "train", "echo on").stdout == b"on\n"
    assert desk.status()["pid"] == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
