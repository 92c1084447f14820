import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from support.sim import SimServer

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]
SECONDS = 60
PROCESSES = 5

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
_numbers = itertools.count()


def environ_for(sim: SimServer, state_dir: Path) -> dict[str, str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(state_dir)}
    return given | dict(sim.env) | {"RUNPOD_STATE_DIR": str(state_dir)}


@pytest.fixture
def sim_account(module_sim: SimServer) -> SimServer:
    return module_sim.with_key(f"rpa_clikeys{next(_numbers):08d}")


@pytest.fixture
def run(sim_account: SimServer, tmp_path: Path) -> Run:
    """Return a way to run `runpod-client keys` against the simulator."""

    def run_command(*arguments: str, stdin: str = "") -> Done:
        return subprocess.run(
            [*COMMAND, "keys", *arguments],
            env=environ_for(sim_account, tmp_path),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run_command


def make_line(comment: str = "") -> str:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return render_line(public, comment)


def render_line(public: ed25519.Ed25519PublicKey | rsa.RSAPublicKey, text: str) -> str:
    line = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return f"{line.decode()} {text}".rstrip()


def read(sim: SimServer) -> list[str]:
    status, answer = sim.rest("GET", "account/ssh-keys")
    assert status == 200, answer
    return list(answer["keys"])


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_added_keys_are_listed_with_their_fingerprints(
    run: Run, sim_account: SimServer, tmp_path: Path
) -> None:
    lines = [make_line("me@laptop"), make_line("me@desk")]
    file = tmp_path / "keys.pub"
    file.write_text("\n".join(lines) + "\n")

    added = document(run("add", str(file), "--json"))
    listed = document(run("list", "--json"))

    assert [key["added"] for key in added["keys"]] == [True, True]
    assert read(sim_account) == lines
    assert [key["public_key"] for key in listed["keys"]] == lines
    first = listed["keys"][0]
    assert first == {
        "fingerprint": added["keys"][0]["fingerprint"],
        "key_type": "ssh-ed25519",
        "bits": 256,
        "comment": "me@laptop",
        "warning": None,
        "public_key": lines[0],
    }


def test_key_from_a_pipe_takes_the_comment_that_is_given_and_is_added_once(
    run: Run, sim_account: SimServer
) -> None:
    line = make_line("as it came")

    first = run("add", "-", "--comment", "ci", stdin=line)
    again = run("add", "-", stdin=line)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "was there already" in again.stdout
    assert [key.split()[2] for key in read(sim_account)] == ["ci"]


def test_weak_key_is_added_with_a_warning(run: Run, sim_account: SimServer) -> None:
    weak = render_line(rsa.generate_private_key(65537, 2048).public_key(), "old")

    done = run("add", "-", stdin=weak)
    table = run("list")

    assert done.returncode == 0, done.stderr
    assert "2048 bits is weak" in done.stderr
    assert "2048 bits is weak" in table.stdout
    assert read(sim_account) == [weak]


def test_private_key_is_refused_and_shown_nowhere(
    run: Run, sim_account: SimServer
) -> None:
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )

    done = run("add", "-", stdin=private.decode())

    assert done.returncode == 2
    assert "this is a private key" in done.stderr
    assert private.decode().splitlines()[1] not in done.stdout + done.stderr
    assert read(sim_account) == []


@pytest.mark.parametrize("stdin", ["", "# nothing\n", "ssh-ed25519 AAAA", "\x00\xff"])
def test_what_is_no_key_is_refused_in_one_sentence(run: Run, stdin: str) -> None:
    done = run("add", "-", stdin=stdin)

    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_removal_asks_first_and_takes_that_key_alone(
    run: Run, sim_account: SimServer
) -> None:
    lines = [make_line("stays"), make_line("goes")]
    run("add", "-", stdin="\n".join(lines))

    unasked = run("remove", "goes")
    before = read(sim_account)
    done = document(run("remove", "goes", "--yes", "--json"))

    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert before == lines
    assert done["removed"] is True
    assert read(sim_account) == lines[:1]


def test_removing_what_is_not_there_is_an_error_of_its_own(run: Run) -> None:
    done = run("remove", "SHA256:nobodynobody", "--yes")

    assert done.returncode == 4
    assert "runpod-client keys list" in done.stderr


def test_account_without_keys_says_how_to_add_one(run: Run) -> None:
    done = run("list")
    names = run("list", "-o", "name")

    assert done.returncode == 0
    assert "keys add" in done.stdout
    assert (names.returncode, names.stdout) == (0, "")


def test_processes_that_add_at_once_lose_nobody_a_key(
    sim_account: SimServer, tmp_path: Path
) -> None:
    lines = [make_line(f"process {number}") for number in range(PROCESSES)]

    started = [
        subprocess.Popen(
            [*COMMAND, "keys", "add", "-"],
            env=environ_for(sim_account, tmp_path / str(number)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    outputs = [
        process.communicate(line, timeout=SECONDS)
        for process, line in zip(started, lines, strict=True)
    ]

    assert [process.returncode for process in started] == [0] * PROCESSES, outputs
    assert sorted(read(sim_account)) == sorted(lines)
