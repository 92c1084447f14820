"""The installed `runpod-ssh` against a simulated RunPod whose pods run a real sshd."""

import contextlib
import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runpod_ssh.cli import cli
from support.sim import SimServer
from support.waiting import wait_for

RUN_SECONDS = 60
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Desk:
    """A user's desk: their environment, and a pod named `train` that runs."""

    environ: Mapping[str, str]
    folder: Path
    pod_id: str = ""
    sim_dir: Path = Path()

    @property
    def pod_home(self) -> Path:
        """The pod's home folder as the simulator keeps it."""
        return self.sim_dir / "pods" / self.pod_id / "home"

    def argv(self, program: str, *arguments: str) -> list[str]:
        return [str(PROGRAMS / program), *arguments]

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        program: str = "runpod-ssh",
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(program, *arguments),
            env={**self.environ, **(environ or {})},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def json(self, *arguments: str, program: str = "runpod-ssh") -> Any:
        done = self.run(*arguments, "--json", program=program)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(
        self, arguments: Sequence[str], **given: Any
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv("runpod-ssh", *arguments),
            env=dict(self.environ),
            cwd=self.folder,
            **given,
        )


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The pod that the tests of this file share, which none of them may harm."""
    home = tmp_path_factory.mktemp("office")
    return rent(module_sim, home)


@pytest.fixture
def desk(office: Desk, tmp_path: Path) -> Desk:
    """The shared pod, used from a folder of one's own."""
    return replace(office, folder=tmp_path)


@pytest.fixture
def own_desk(sim: SimServer, tmp_path: Path) -> Desk:
    """A desk with a pod of its own, to stop or to kill things on."""
    return rent(sim, tmp_path)


def rent(sim: SimServer, home: Path) -> Desk:
    """Rent the pod `train` and return a desk that knows it."""
    environ = {
        **os.environ,
        **sim.env,
        "RUNPOD_STATE_DIR": str(home / "state"),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RUNPOD_LOG_LEVEL": "warning",
    }
    environ.pop("SSH_AUTH_SOCK", None)
    empty = Desk(environ, home)
    create = "pods create --name train --gpu L4 --image runpod/base --yes --wait"
    done = empty.run(*create.split(), program="runpod-client")
    assert done.returncode == 0, done.stderr
    shown = empty.json("pods", "show", "train", program="runpod-client")
    return Desk(environ, home, shown["pod_id"], Path(sim.state_dir))


def test_exec_is_transparent_for_streams_and_status(desk: Desk) -> None:
    done = desk.run("exec", "train", "cat; printf e >&2; exit 9", stdin=b"\0in\xff")

    assert (done.returncode, done.stdout, done.stderr) == (9, b"\0in\xff", b"e")


def test_exec_takes_one_string_or_words_as_ssh_does(desk: Desk) -> None:
    one = desk.run("exec", desk.pod_id, "echo 'test'")
    words = desk.run("exec", "train", "--", "printf", "'%s|'", "a  b", "-n")

    assert one.stdout == b"test\n"
    assert words.stdout == b"a|b|-n|"


def test_exec_reports_a_signal_as_a_shell_does(desk: Desk) -> None:
    assert desk.run("exec", "train", "kill -KILL $$").returncode == 128 + 9


def test_exec_passes_variables_on_without_showing_them(desk: Desk) -> None:
    done = desk.run(
        "exec", "--env", "TOKEN", "--env", "B=x y", "train", 'echo "$TOKEN $B"',
        environ={"TOKEN": "s3cret"},
    )  # fmt: skip

    assert done.stdout == b"s3cret x y\n"


def test_exec_ends_a_command_past_its_timeout_with_255(desk: Desk) -> None:
    done = desk.run("exec", "--timeout", "0.5", "train", "sleep 300")

    assert done.returncode == 255
    assert b"took longer than 0.5 s" in done.stderr


def test_exec_on_an_unknown_pod_is_255_and_one_sentence(desk: Desk) -> None:
    done = desk.run("exec", "trian", "true")

    assert done.returncode == 255
    assert b"Traceback" not in done.stderr
    assert b"train" in done.stderr


def test_exec_on_a_stopped_pod_says_how_to_start_it(own_desk: Desk) -> None:
    stopped = own_desk.run("pods", "stop", "train", program="runpod-client")
    assert stopped.returncode == 0, stopped.stderr

    done = own_desk.run("exec", "train", "true")

    assert done.returncode == 255
    assert b"not RUNNING" in done.stderr
    assert f"runpod-client pods start {own_desk.pod_id}".encode() in done.stderr


def test_exec_on_a_pod_without_an_ssh_port_says_what_to_change(desk: Desk) -> None:
    create = "pods create --name web --gpu L4 --image runpod/base --port 8188/http"
    done = desk.run(*create.split(), "--yes", "--no-wait", program="runpod-client")
    assert done.returncode == 0, done.stderr
    wait_for(
        lambda: "RUNNING" in desk.json("pods", "show", "web", program="runpod-client")
        ["status"],
        timeout_seconds=20,
        what="the pod runs",
    )  # fmt: skip

    done = desk.run("exec", "web", "true")

    assert done.returncode == 255
    assert b"exposes no SSH port" in done.stderr
    assert b"22/tcp" in done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupted_exec_interrupts_the_command_on_the_pod(
    desk: Desk, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    mark = tmp_path / "pid"
    process = desk.start(
        ["exec", "train", f"echo $$ >{mark}; sleep 300"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: mark.exists() and mark.read_text().strip(), what="it runs")

    process.send_signal(number)

    assert process.wait(timeout=20) == status
    pid = int(mark.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


def test_reader_that_goes_away_ends_the_command(desk: Desk, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    process = desk.start(
        ["exec", "train", f"echo $$ >{mark}; yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(2) == b"y\n"

    process.stdout.close()

    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    pid = int(mark.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


def peak_memory_kib(pid: int) -> int:
    """Return the most a live process has had in memory; 0 once it has ended.

    Its own file, not rusage: that counts what the parent held when it forked.
    """
    status = Path(f"/proc/{pid}/status")
    with contextlib.suppress(OSError, StopIteration):
        lines = status.read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1])
    return 0


def test_large_output_arrives_whole_in_flat_memory(desk: Desk) -> None:
    size = 200_000_000

    process = desk.start(
        ["exec", "train", f"head -c {size} /dev/zero"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    seen = peak = 0
    while chunk := process.stdout.read(1_000_000):
        seen += len(chunk)
        peak = max(peak, peak_memory_kib(process.pid))
    process.stdout.close()

    assert (process.wait(30), seen) == (0, size)
    assert 0 < peak < 150_000


def test_copy_goes_both_ways_and_tells_as_json(desk: Desk) -> None:
    source = desk.folder / "data"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(b"x" * 100_000)

    there = desk.json("copy", "data", "train:")
    back = desk.json("copy", "train:data", "back")

    assert (desk.folder / "back" / "sub" / "file").read_bytes() == b"x" * 100_000
    assert there["sha256"] == back["sha256"]
    assert {
        k: v for k, v in back.items() if k not in {"elapsed_seconds", "sha256"}
    } == {
        "pod_id": desk.pod_id,
        "direction": "download",
        "source": "data",
        "target": "back",
        "file_count": 1,
        "size_bytes": 100_000,
        "is_verified": True,
    }


def test_copy_onto_a_full_disk_fails_and_leaves_nothing(desk: Desk) -> None:
    desk.run("exec", "train", "head -c 3000000 /dev/zero >big")
    (desk.folder / "place").mkdir()

    process = desk.start(
        ["copy", "train:big", "place"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=limit_files,  # no thread holds a lock here
    )
    _out, err = process.communicate(timeout=RUN_SECONDS)

    assert process.returncode == 1
    assert b"File too large" in err
    assert list((desk.folder / "place").iterdir()) == []


def limit_files() -> None:
    """Make every write past 1 MB fail, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


@pytest.mark.parametrize("sides", [("a", "b"), ("./p:a", "/x:b")])
def test_copy_wants_a_side_on_a_pod(sides: tuple[str, str]) -> None:
    done = CliRunner().invoke(cli, ["copy", *sides])

    assert done.exit_code == 2
    assert "must be POD:PATH" in done.stderr


def test_printed_ssh_command_works_verbatim_in_a_clean_shell(
    desk: Desk, tmp_path: Path
) -> None:
    document = desk.json("info", "train")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    done = subprocess.run(
        ["bash", "-c", document["ssh_command"] + " 'echo in; exit 4'"],
        env=clean,
        capture_output=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout) == (4, b"in\n"), done.stderr
    assert document["host_key_trust"] == "verified"  # the boot log printed it
    assert document["problem"] is None
    told = desk.run("info", "train").stdout.decode()
    assert document["ssh_command"] in told
    assert document["host_key_fingerprint"] in told


def test_replaced_host_key_is_refused_until_it_is_forgotten(desk: Desk) -> None:
    # a link of the background process was proven when it was made, and stays
    desk = replace(desk, environ={**desk.environ, "RUNPOD_SSH_BACKGROUND": "false"})
    assert desk.run("exec", "train", "true").returncode == 0
    wrong = "SHA256:" + "A" * 43
    trusted = desk.json("keys", "trust", "train", wrong)
    assert trusted["trust"] == "verified"

    refused = desk.run("exec", "train", "true")
    copied = desk.run("copy", "train:x", ".")
    off = desk.run("exec", "--host-key-policy", "off", "train", "echo on")
    forgotten = desk.json("keys", "forget", desk.pod_id)
    accepted = desk.run("exec", "train", "echo ok")

    assert refused.returncode == 255
    assert wrong.encode() in refused.stderr
    assert b"runpod-ssh keys trust" in refused.stderr
    assert copied.returncode == 3
    assert (off.stdout, b"not checked" in off.stderr) == (b"on\n", True)
    assert forgotten == {"pod_id": desk.pod_id, "was_pinned": True}
    assert accepted.stdout == b"ok\n"


def test_shell_is_a_terminal_that_follows_the_window(desk: Desk) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(leader, (30, 100))
    before = termios.tcgetattr(follower)
    process = desk.start(
        ["shell", "train"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        while select.select([leader], [], [], 0)[0]:
            seen += os.read(leader, 65536)
        return text in seen

    try:
        wait_for(
            lambda: shows(b"# ") or shows(b"$ "), timeout_seconds=20, what="the prompt"
        )
        os.write(leader, b"stty size; tty -s && echo is-a-$((1+0))-tty\n")
        wait_for(lambda: shows(b"30 100"), what="the size is known")
        wait_for(lambda: shows(b"is-a-1-tty"), what="it is a terminal")
        termios.tcsetwinsize(leader, (40, 120))
        process.send_signal(signal.SIGWINCH)
        # what is typed may overtake the news of the window
        os.write(leader, b"until stty size | grep '^40 1[2]0'; do sleep 0.1; done\n")
        wait_for(lambda: shows(b"40 120"), what="the new size arrives")
        os.write(leader, b"exit 5\n")

        assert process.wait(timeout=20) == 5
        assert termios.tcgetattr(follower) == before
    finally:
        process.kill()
        process.wait(timeout=20)
        os.close(leader)
        os.close(follower)


def test_help_is_printed_without_loading_asyncssh(desk: Desk) -> None:
    probe = (
        "import sys\n"
        "from runpod_ssh.cli import cli\n"
        "cli.main(['exec', '--help'], standalone_mode=False)\n"
        "print({'asyncssh', 'cryptography', 'requests', 'rich'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=dict(desk.environ),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )

    assert done.stdout.endswith("set()\n")
    assert "\n    runpod-ssh exec train nvidia-smi\n" in done.stdout
