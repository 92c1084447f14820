"""Every kind of bad input, met by the installed commands: one sentence, what to do next, the right status."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.sim import SimServer

RENT = (
    "runpod-client", "pods", "create",
    "--gpu", "NVIDIA RTX A4000", "--image", "runpod/base:0.0.0", "--yes", "--name",
)  # fmt: skip


@dataclass(frozen=True)
class User:
    """Somebody at a terminal, with a state folder of their own."""

    env: Mapping[str, str]

    def run(self, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in {**self.env, **changes}.items() if v}
        return subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fail(self, status: int, *command: str, **changes: str) -> str:
        """Run a command that must fail with `status`, and return what it said."""
        result = self.run(*command, **changes)
        said = result.stderr
        assert result.returncode == status, (result.stdout, said)
        assert "Traceback" not in said
        assert result.stdout == ""
        # prices and retries may be told before; the error is last, with its hint
        lines = said.splitlines()
        first = next(n for n, line in enumerate(lines) if line.startswith("Error: "))
        assert lines[first + 1 :], f"no hint follows: {lines[first]}"
        return said


@pytest.fixture
def user(sim: SimServer, tmp_path: Path) -> User:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("RUNPOD", "GITHUB"))
    }
    folders = {
        "HOME": str(tmp_path),
        "RUNPOD_STATE_DIR": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    return User({**kept, **sim.env, **folders})


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port of loopback that is held but not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def assert_nothing_half_made(user: User, sim: SimServer) -> None:
    assert sim.world()["pods"] == []
    assert not list(Path(user.env["RUNPOD_STATE_DIR"]).glob("identities/*"))


@pytest.mark.parametrize(
    "command",
    [
        ("runpod-client", "pods", "list"),
        ("runpod-ssh", "exec", "test-pod", "true"),
        ("runner-installer", "status", "test-pod"),
        ("runpod-hub", "serve", "--port", "0"),
    ],
    ids=lambda command: command[0],
)
def test_a_missing_key_says_where_a_key_goes(
    command: tuple[str, ...], user: User
) -> None:
    # ssh(1)'s status belongs to exec: whatever keeps it from the pod is 255
    status = 255 if command[0] == "runpod-ssh" else 2

    said = user.fail(status, *command, RUNPOD_API_KEY="")

    assert "RUNPOD_API_KEY_FILE" in said


def test_a_wrong_key_is_refused_and_not_shown(user: User, sim: SimServer) -> None:
    key = "notakey_secretpart"

    said = user.fail(3, *RENT, "test-pod", RUNPOD_API_KEY=key)

    assert "key" in said
    assert key not in said
    assert_nothing_half_made(user, sim)


@pytest.mark.parametrize("verb", ["show", "start", "stop", "wait"])
def test_an_unknown_pod_is_not_found(verb: str, user: User) -> None:
    said = user.fail(4, "runpod-client", "pods", verb, "nosuchpod")

    assert "nosuchpod" in said


def test_an_ambiguous_name_asks_for_an_id(user: User) -> None:
    for _ in range(2):
        made = user.run(*RENT, "twin", "--allow-duplicate-name")
        assert made.returncode == 0, made.stderr

    said = user.fail(2, "runpod-client", "pods", "stop", "twin")

    assert "2 pods are named 'twin'" in said


def test_an_unreachable_api_is_named_with_its_address(
    user: User, closed_port: int
) -> None:
    url = f"http://127.0.0.1:{closed_port}"

    said = user.fail(7, *RENT, "test-pod", RUNPOD_API_BASE_URL=url)

    assert url.removeprefix("http://") in said


def test_no_capacity_rents_nothing(user: User, sim: SimServer) -> None:
    sim.add_fault("no_capacity", times=5)

    said = user.fail(5, *RENT, "test-pod")

    assert "NVIDIA RTX A4000" in said
    assert "free now" in said
    assert_nothing_half_made(user, sim)


def test_refused_ssh_says_what_to_look_at(user: User, sim: SimServer) -> None:
    # a pod made by other means, without a key: its port is mapped, no sshd runs
    made = sim.graphql(
        "mutation Deploy($input: PodFindAndDeployOnDemandInput)"
        " { podFindAndDeployOnDemand(input: $input) { id } }",
        input={
            "name": "test-pod",
            "gpuTypeId": "NVIDIA RTX A4000",
            "gpuCount": 1,
            "cloudType": "SECURE",
            "imageName": "runpod/base:0.0.0",
            "containerDiskInGb": 5,
            "ports": "22/tcp",
        },
    )
    assert "errors" not in made
    wait = ("runpod-client", "pods", "wait", "test-pod", "--for", "running")
    assert user.run(*wait).returncode == 0
    sim.advance(10)  # its ports are mapped by then

    said = user.fail(255, "runpod-ssh", "exec", "test-pod", "true")

    assert "refused" in said
    assert "127.0.0.1" in said


def test_a_changed_host_key_is_refused(user: User, sim: SimServer) -> None:
    assert user.run(*RENT, "test-pod", "--wait").returncode == 0
    assert user.run(*RENT, "other-pod", "--wait").returncode == 0
    for name in ("test-pod", "other-pod"):
        assert user.run("runpod-ssh", "exec", name, "true").returncode == 0
    pins = Path(user.env["RUNPOD_STATE_DIR"]) / "host_keys"
    # in the simulator, as in RunPod's console, a mark stands behind the name
    pods = sim.world()["pods"]
    ids = {pod["name"].partition(" [")[0]: pod["id"] for pod in pods}
    pin = json.loads((pins / f"{ids['test-pod']}.json").read_text())
    other = json.loads((pins / f"{ids['other-pod']}.json").read_text())
    # as if another machine answered in the pod's place during the same start
    pin |= {name: other[name] for name in ("blob", "fingerprint")}
    (pins / f"{ids['test-pod']}.json").write_text(json.dumps(pin))

    said = user.fail(255, "runpod-ssh", "exec", "test-pod", "true")

    assert said.count("SHA256:") == 2
    assert "keys forget" in said


@pytest.mark.unwrapped
def test_a_missing_sshd_is_said_with_what_to_install(user: User) -> None:
    program, bash = shutil.which("runpod-sim"), shutil.which("bash")
    assert program is not None
    assert bash is not None
    folder = str(Path(bash).parent)

    result = user.run(program, "serve", "--ssh", "openssh", PATH=folder)

    assert result.returncode == 1
    assert "sshd is not on PATH" in result.stderr
    assert "apt-get install openssh-server" in result.stderr
    assert "Traceback" not in result.stderr
