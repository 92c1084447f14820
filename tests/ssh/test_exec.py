"""`exec` on descriptors, and as a command on one pod and on many simulated ones."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from runpod_ssh import (
    ExecResult,
    HostKeyStore,
    UnknownOutcomeError,
    connect_pod,
    streams,
)
from runpod_ssh.commands.executing import Words, exec_, split_words
from runpod_ssh.exec import (
    Descriptors,
    exit_status_of,
    run_attached,
    run_attached_again,
)
from support.sim import SimServer
from support.sshd_farm import SshdFarm, sshd_farm
from support.waiting import wait_for

RUN_SECONDS = 60
PROGRAMS = Path(sys.executable).parent
NOISE = os.urandom(1 << 20) * 5


# -- descriptors


@dataclass(frozen=True)
class Pipe:
    """A pipe, and what a slow or a quick reader gets from it."""

    reader: int
    writer: int

    async def read(self, *, pause_seconds: float = 0.0) -> bytes:
        found = bytearray()
        while chunk := await asyncio.to_thread(os.read, self.reader, 1 << 20):
            found += chunk
            await asyncio.sleep(pause_seconds)
        return bytes(found)

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    """Three pipes."""
    made = [Pipe(*os.pipe()) for _ in range(3)]
    yield made
    for pipe in made:
        pipe.close()


@pytest.mark.parametrize("pause_seconds", [0.0, 0.002])
async def test_pipe_gets_every_byte_and_keeps_its_flags(
    pipes: list[Pipe], pause_seconds: float
) -> None:
    pipe = pipes[0]
    before = fcntl.fcntl(pipe.writer, fcntl.F_GETFL)
    reading = asyncio.create_task(pipe.read(pause_seconds=pause_seconds))

    with streams.writing(pipe.writer) as write:
        for start in range(0, len(NOISE), 100_001):
            await write(NOISE[start : start + 100_001])
        during = fcntl.fcntl(pipe.writer, fcntl.F_GETFL)
    os.close(pipe.writer)

    assert await reading == NOISE
    assert before == during


async def test_full_pipe_stops_the_writer_and_not_the_loop(pipes: list[Pipe]) -> None:
    with streams.writing(pipes[0].writer) as write:
        writing = asyncio.ensure_future(write(NOISE))
        await asyncio.to_thread(
            select.select, [pipes[0].reader], [], [], RUN_SECONDS
        )  # the loop turns meanwhile
        is_held = not writing.done()
        reading = asyncio.create_task(pipes[0].read())
        await writing
        os.close(pipes[0].writer)

        assert await reading == NOISE
    assert is_held


async def test_write_after_one_that_was_cut_short_follows_what_that_left(
    pipes: list[Pipe],
) -> None:
    with streams.writing(pipes[0].writer) as write:
        cut = asyncio.ensure_future(write(NOISE))
        await asyncio.to_thread(select.select, [pipes[0].reader], [], [], RUN_SECONDS)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        reading = asyncio.create_task(pipes[0].read())

        await write(b"the end")
        os.close(pipes[0].writer)

        found = await reading
    assert found.endswith(b"the end")
    assert found.removesuffix(b"the end") == NOISE[: len(found) - len(b"the end")]


async def test_writer_whose_reader_has_gone_says_so_every_time(
    pipes: list[Pipe],
) -> None:
    os.close(pipes[0].reader)

    with streams.writing(pipes[0].writer) as write:
        for _ in range(3):
            with pytest.raises(BrokenPipeError):
                await write(NOISE)


async def test_stdout_and_stderr_in_one_pipe_lose_nothing(pipes: list[Pipe]) -> None:
    pipe, other = pipes[0], os.dup(pipes[0].writer)
    reading = asyncio.create_task(pipe.read(pause_seconds=0.001))

    async def fill(descriptor: int, letter: bytes) -> None:
        with streams.writing(descriptor) as write:
            for _ in range(50):
                await write(letter * 50_000)
        os.close(descriptor)

    await asyncio.gather(fill(pipe.writer, b"a"), fill(other, b"b"))

    found = await reading
    assert (found.count(b"a"), found.count(b"b")) == (2_500_000, 2_500_000)


async def test_reader_that_has_gone_is_a_broken_pipe(pipes: list[Pipe]) -> None:
    os.close(pipes[0].reader)

    with (
        streams.writing(pipes[0].writer) as write,
        pytest.raises(BrokenPipeError),
    ):
        await write(b"x")


async def test_file_and_socket_get_every_byte(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    received = asyncio.create_task(asyncio.to_thread(drain, far))

    with (tmp_path / "file").open("wb") as file:
        for descriptor in (file.fileno(), near.fileno()):
            with streams.writing(descriptor) as write:
                await write(NOISE)
    near.close()

    assert (tmp_path / "file").read_bytes() == NOISE
    assert await received == NOISE


def drain(far: socket.socket) -> bytes:
    found = bytearray()
    with far:
        while chunk := far.recv(1 << 20):
            found += chunk
    return bytes(found)


async def test_input_is_read_to_its_end(pipes: list[Pipe], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(NOISE)
    writing = asyncio.create_task(asyncio.to_thread(fill, pipes[0].writer))

    with (tmp_path / "file").open("rb") as file:
        of_file = [chunk async for chunk in streams.read_descriptor(file.fileno())]
    of_pipe = [chunk async for chunk in streams.read_descriptor(pipes[0].reader)]
    await writing

    assert (b"".join(of_file), b"".join(of_pipe)) == (NOISE, NOISE)


def fill(writer: int) -> None:
    with open(writer, "wb", closefd=True) as file:
        file.write(NOISE)


@pytest.mark.parametrize(
    ("status", "signal_name", "seen"),
    [(7, None, 7), (None, "KILL", 137), (None, "USR1", 138), (None, "ODD", 255)],
)
def test_status_is_what_a_shell_would_see(
    status: int | None, signal_name: str | None, seen: int
) -> None:
    result = ExecResult(
        exit_status=status,
        exit_signal=signal_name,
        stdout=b"",
        stderr=b"",
        elapsed_seconds=0.0,
    )

    assert exit_status_of(result) == seen


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[SshdFarm]:
    with sshd_farm(tmp_path / "farm", 1) as farm:
        yield farm


async def test_command_runs_on_the_descriptors_it_is_given(
    farm: SshdFarm, store: HostKeyStore, pipes: list[Pipe]
) -> None:
    stdin, stdout, stderr = pipes
    given = Descriptors(stdin=stdin.reader, stdout=stdout.writer, stderr=stderr.writer)
    feeding = asyncio.create_task(asyncio.to_thread(fill, stdin.writer))
    out = asyncio.create_task(stdout.read(pause_seconds=0.001))
    err = asyncio.create_task(stderr.read())

    async with connect_pod(farm.target(0), host_keys=store) as connection:
        status = await run_attached(
            connection, "cat; printf e >&2; exit 9", descriptors=given
        )
    await feeding
    os.close(stdout.writer)
    os.close(stderr.writer)

    assert status == 9
    assert await out == NOISE
    assert await err == b"e"


async def test_idempotent_command_is_run_again_after_a_cut_unless_it_was_sent_input(
    farm: SshdFarm, store: HostKeyStore, pipes: list[Pipe], tmp_path: Path
) -> None:
    async def run(ran: Path, stdin: int) -> int:
        command = f"echo x >>{ran}; [ $(wc -l <{ran}) -ge 2 ] || sleep 60"
        given = Descriptors(stdin=stdin, stdout=pipes[1].writer, stderr=2)
        running = asyncio.create_task(
            run_attached_again(
                lambda: connect_pod(farm.target(0), host_keys=store),
                command,
                descriptors=given,
            )
        )
        await asyncio.to_thread(wait_for, ran.exists, what="the command runs")
        farm.cut(0)
        return await running

    os.close(pipes[2].writer)
    status = await run(tmp_path / "without", pipes[2].reader)
    os.write(pipes[0].writer, b"input")
    with pytest.raises(UnknownOutcomeError):
        await run(tmp_path / "with", pipes[0].reader)

    assert status == 0
    assert (tmp_path / "without").read_text() == "x\nx\n"
    assert (tmp_path / "with").read_text() == "x\n"


# -- words


def split(*words: str) -> Words:
    """Return how the command line tells these words apart."""
    context = exec_.make_context("exec", list(words))
    params = context.params
    return split_words(
        params["words"], is_selecting=params["every"] or bool(params["match"])
    )


@pytest.mark.parametrize(
    ("words", "pods", "command"),
    [
        (("pod", "ls", "-l"), ("pod",), "ls -l"),
        (("--timeout", "3", "pod", "ls", "--all"), ("pod",), "ls --all"),
        (("pod", "--", "ls", "--", "x"), ("pod",), "ls -- x"),
        (("a", "b", "--", "true"), ("a", "b"), "true"),
        (("--all", "ls", "-l"), (), "ls -l"),
        (("--all", "--", "ls", "--", "x"), (), "ls -- x"),
        (("--match", "x*", "a", "--", "ls"), ("a",), "ls"),
    ],
)
def test_words_before_two_dashes_are_pods_without_them_the_first_is(
    words: tuple[str, ...], pods: tuple[str, ...], command: str
) -> None:
    assert split(*words) == Words(pods, command)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pod",), "no COMMAND"),
        (("a", "--"), "no COMMAND"),
        (("--", "ls"), "no POD"),
        (("pod", "grep", "-e", "--", "x"), "'-e'"),
    ],
)
def test_words_that_make_no_call_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        split(*words)


# -- the command on many pods


@dataclass(frozen=True)
class Desk:
    """A user's desk: their environment, and pods named train-1, train-2 and web."""

    environ: Mapping[str, str]
    folder: Path

    def argv(self, *arguments: str, program: str = "runpod-ssh") -> list[str]:
        return [str(PROGRAMS / program), *arguments]

    def run(
        self, *arguments: str, stdin: bytes = b"", program: str = "runpod-ssh"
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*arguments, program=program),
            env=dict(self.environ),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def start(self, *arguments: str, **given: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv(*arguments), env=dict(self.environ), cwd=self.folder, **given
        )


@pytest.fixture(scope="module")
def desk(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three pods that the tests of this file share, and a stopped one."""
    home = tmp_path_factory.mktemp("desk")
    environ = {
        **os.environ,
        **module_sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RUNPOD_LOG_LEVEL": "warning",
        "RUNPOD_SSH_BACKGROUND": "false",
    }
    environ.pop("SSH_AUTH_SOCK", None)
    desk = Desk(environ, home)
    for name in ("train-1", "train-2", "web", "old"):
        create = f"pods create --name {name} --gpu L4 --image runpod/base --yes --wait"
        done = desk.run(*create.split(), program="runpod-client")
        assert done.returncode == 0, done.stderr
    done = desk.run("pods", "stop", "old", program="runpod-client")
    assert done.returncode == 0, done.stderr
    return desk


def test_several_pods_write_prefixed_lines_and_a_summary(desk: Desk) -> None:
    done = desk.run("exec", "train-1", "web", "--", "echo out; printf err >&2")

    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [b"train-1 | out", b"web     | out"]
    assert sorted(done.stderr.splitlines()[:2]) == [b"train-1 | err", b"web     | err"]
    assert done.stderr.splitlines()[2].startswith(b"2 pods: 2 succeeded, in ")
    assert b"\x1b" not in done.stdout + done.stderr


def test_all_runs_on_what_runs_and_names_what_was_skipped(desk: Desk) -> None:
    done = desk.run("exec", "--all", "--parallel", "2", "hostname >/dev/null; echo hi")

    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [
        b"train-1 | hi",
        b"train-2 | hi",
        b"web     | hi",
    ]
    assert b"3 succeeded, 1 skipped" in done.stderr
    assert b"old: skipped, pod old" in done.stderr


def test_match_selects_by_name_and_failures_show_in_the_status(desk: Desk) -> None:
    failed = desk.run("exec", "--match", "train-*", "--", "exit 3")
    unreached = desk.run("exec", "train-1", "old", "--", "exit 3")
    nobody = desk.run("exec", "--match", "nothing*", "true")
    unknown = desk.run("exec", "train-1", "trian-2", "--", "touch ran")
    ran = desk.run("exec", "train-1", "ls", "ran")

    assert failed.returncode == 1
    assert failed.stderr.count(b"exit status 3") == 2
    assert unreached.returncode == 255
    assert b"not RUNNING" in unreached.stderr
    assert nobody.returncode == 4
    assert b"nothing*" in nobody.stderr
    assert (unknown.returncode, ran.returncode) == (255, 2)


def test_json_tells_events_and_a_summary(desk: Desk) -> None:
    done = desk.run("exec", "--json", "train-1", "web", "--", "echo a; exit 5")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [event["event"] for event in events].count("exit") == 2
    assert {
        (e["name"], e["stream"], e["text"]) for e in events if e["event"] == "output"
    } == {("train-1", "stdout", "a"), ("web", "stdout", "a")}
    summary = events[-1]
    assert (summary["event"], summary["failed"], summary["exit_status"]) == (
        "summary",
        2,
        1,
    )


def test_input_is_not_sent_to_several_pods_and_that_is_said(desk: Desk) -> None:
    done = desk.run("exec", "train-1", "web", "--", "wc -c", stdin=b"lost")

    assert sorted(line.split(b"|")[1].strip() for line in done.stdout.splitlines()) == [
        b"0",
        b"0",
    ]
    assert b"stdin is not sent" in done.stderr


def test_environment_reaches_every_pod(desk: Desk) -> None:
    done = desk.run("exec", "--env", "A=x y", "train-1", "web", "--", 'echo "$A"')

    assert done.stdout.count(b"x y") == 2


def test_interrupt_ends_the_commands_everywhere_and_is_summed_up(
    desk: Desk, tmp_path: Path
) -> None:
    process = desk.start(
        "exec",
        "--all",
        f"echo $$ >{tmp_path}/$$; sleep 300",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    pids = wait_for(
        lambda: written(tmp_path, 3), timeout_seconds=30, what="all three run"
    )

    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert b"3 interrupted" in err
    wait_for(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
        what="the commands are gone",
    )


def written(folder: Path, count: int) -> list[int]:
    """Return the numbers in a folder's files once there are so many."""
    texts = [path.read_text().strip() for path in folder.iterdir()]
    return [int(text) for text in texts if text] if len(texts) == count else []


def test_reader_that_goes_away_ends_the_run_quietly(desk: Desk) -> None:
    process = desk.start(
        "exec",
        "--all",
        "yes",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(2)

    process.stdout.close()

    assert process.wait(timeout=30) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_terminal_shows_lines_a_table_and_a_summary(desk: Desk, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    go = tmp_path / "go"
    process = desk.start(
        "exec",
        "train-1",
        "web",
        "--",
        f"printf '\\033[31mstep 1\\033[0m\\n'; until [ -e {go} ]; do sleep 0.05; done",
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""

    def shows(*texts: bytes) -> bool:
        nonlocal seen
        with contextlib.suppress(OSError):  # the terminal is closed at the end
            while select.select([leader], [], [], 0)[0]:
                seen += os.read(leader, 65536)
        return all(text in seen for text in texts)

    try:
        wait_for(
            lambda: shows(b"train-1 | ", b"step 1", b"running", b"last line"),
            timeout_seconds=20,
            what="the table is drawn",
        )
        go.touch()
        wait_for(
            lambda: shows(b"2 pods: 2 succeeded"),
            timeout_seconds=20,
            what="the summary",
        )

        assert process.wait(timeout=20) == 0
        assert b"\x1b[31mstep" not in seen
        # the table is taken away before the summary comes, not with it
        assert seen.rindex(b"2 pods: 2 succeeded") > seen.rindex(b"\x1b[2K")
    finally:
        process.kill()
        process.wait(timeout=20)
        os.close(leader)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_gigabyte_of_output_arrives_whole_in_flat_memory(desk: Desk) -> None:
    size = 1 << 30
    process = desk.start(
        "exec",
        "train-1",
        f"head -c {size} /dev/zero",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None

    seen = peak_kib = 0
    while chunk := process.stdout.read(1 << 20):
        seen += len(chunk)
        peak_kib = max(peak_kib, peak_memory_kib(process.pid))
    process.stdout.close()

    assert (process.wait(30), seen) == (0, size)
    assert 0 < peak_kib < 150_000


def peak_memory_kib(pid: int) -> int:
    """Return the most a process has had in memory; 0 once it has ended."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("VmHWM:")).split()[1])
    return 0
