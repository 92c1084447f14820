"""RunPod's SSH proxy as OpenSSH's client meets it: a shell behind a terminal, no more."""

import subprocess
from pathlib import Path

import pytest

from support.pods import Pods, make_identity
from support.waiting import wait_for

SSH_SECONDS = 30


def host_id(pods: Pods, pod_id: str) -> str:
    """Return the user name the proxy knows the pod by."""
    answer = pods.sim.graphql(
        "query($id: String!) { pod(input: {podId: $id}) { machine { podHostId } } }",
        id=pod_id,
    )
    return str(answer["data"]["pod"]["machine"]["podHostId"])


def proxied_ssh(pods: Pods, user: str, identity: Path, *flags: str) -> list[str]:
    host, _, port = pods.sim.env["RUNPOD_SSH_PROXY"].partition(":")
    options = (
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
    )
    words = [part for option in options for part in ("-o", option)]
    return [
        "ssh", "-F", "none", *words, *flags, "-p", port, "-i", str(identity),
        f"{user}@{host}",
    ]  # fmt: skip


def talk(command: list[str], typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        timeout=SSH_SECONDS,
        check=False,
    )


@pytest.fixture
def portless(pods: Pods) -> str:
    """Rent a pod without a port and return its id once its container runs."""
    pods.sim.rest("PUT", "account/ssh-keys", {"keys": [pods.public_key]})
    pod_id = pods.deploy(ports="8188/http", env=[])
    wait_for(lambda: pods.get(pod_id)["runtime"], what="the pod's container")
    return pod_id


def test_account_gets_a_shell_in_a_pod_without_a_port(
    pods: Pods, portless: str
) -> None:
    user = host_id(pods, portless)

    ended = talk(
        proxied_ssh(pods, user, pods.identity, "-tt"),
        "echo in-$RUNPOD_POD_ID; exit 5\n",
    )

    assert f"in-{portless}" in ended.stdout
    assert ended.returncode == 5


def test_client_without_a_terminal_is_sent_away(pods: Pods, portless: str) -> None:
    user = host_id(pods, portless)

    ended = talk(proxied_ssh(pods, user, pods.identity, "-T"), "echo never\n")

    assert ended.stdout == "Error: Your SSH client doesn't support PTY\n"
    assert ended.returncode == 1


def test_keys_that_are_not_the_accounts_are_refused(
    pods: Pods, portless: str, tmp_path: Path
) -> None:
    folder = tmp_path / "stranger"
    folder.mkdir()
    stranger, _ = make_identity(folder)

    ended = talk(proxied_ssh(pods, host_id(pods, portless), stranger, "-tt"), "")

    assert ended.returncode == 255
    assert "Permission denied" in ended.stderr


def test_proxied_shell_ends_with_its_pod(pods: Pods, portless: str) -> None:
    command = proxied_ssh(pods, host_id(pods, portless), pods.identity, "-tt")
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write("echo up-$((20 + 3))\n")
        shell.stdin.flush()
        while "up-23" not in shell.stdout.readline():
            pass

        pods.call("podTerminate", portless)

        assert shell.wait(SSH_SECONDS) != 0
    pods.wait_until_idle()
    assert portless not in pods.sim.world().get("processes", {})
