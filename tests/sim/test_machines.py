"""The same behaviour is asked of both SSH servers a pod can have."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from support.leftovers import processes_mentioning
from support.pods import Pods, make_identity
from support.sim import serving
from support.waiting import wait_for


@pytest.fixture(scope="module", params=["openssh", "asyncssh"])
def renting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pods]:
    folder = tmp_path_factory.mktemp("machines")
    identity, public_key = make_identity(folder)
    with serving(folder, "--ssh", request.param) as server:
        yield Pods(server, identity, public_key)


def test_command_runs_with_its_output_and_exit_status(renting: Pods) -> None:
    pod = renting.start()

    ended = pod.run("cat; echo to-stderr >&2; exit 3", stdin="given\n")

    assert ended.stdout == "given\n"
    assert ended.stderr == "to-stderr\n"
    assert ended.returncode == 3


def test_session_sees_the_pods_environment(renting: Pods) -> None:
    value = 'a\'b $(touch /tmp/never) "c"'
    pod = renting.start(
        env=[
            {"key": "PUBLIC_KEY", "value": renting.public_key},
            {"key": "ODD", "value": value},
        ]
    )

    lines = pod.run(
        'echo "$RUNPOD_POD_ID"; echo "$RUNPOD_GPU_COUNT"; echo "$RUNPOD_PUBLIC_IP";'
        ' echo "$RUNPOD_TCP_PORT_22"; echo "$ODD"; pwd; echo "$HOME"'
    ).stdout.splitlines()

    home = renting.sim.find_pod(pod.id)["directory"] + "/home"
    assert lines == [pod.id, "1", "127.0.0.1", str(pod.port), value, home, home]


def test_only_the_pods_public_keys_are_let_in(renting: Pods, tmp_path: Path) -> None:
    pod = renting.start()
    stranger, _ = make_identity(tmp_path)

    refused = subprocess.run(
        [part.replace(str(pod.identity), str(stranger)) for part in pod.ssh_command()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_every_key_of_public_key_is_let_in(renting: Pods, tmp_path: Path) -> None:
    other, other_public = make_identity(tmp_path)
    both = f"{other_public}\n\n{renting.public_key}\n"
    pod = renting.start(env=[{"key": "PUBLIC_KEY", "value": both}])

    first = pod.run("echo in").stdout
    second = subprocess.run(
        [
            part.replace(str(pod.identity), str(other))
            for part in pod.ssh_command("echo in")
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    ).stdout

    assert (first, second) == ("in\n", "in\n")


def test_terminal_is_a_terminal(renting: Pods) -> None:
    pod = renting.start()

    command = pod.ssh_command("tty; stty size")
    command.insert(1, "-tt")
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.stdout.startswith("/dev/pts/")
    assert ended.returncode == 0


def test_shell_reads_commands_and_ends_with_its_input(renting: Pods) -> None:
    pod = renting.start()

    ended = subprocess.run(
        pod.ssh_command(),
        input="echo one\necho two\nexit 5\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.stdout == "one\ntwo\n"
    assert ended.returncode == 5


def test_files_go_both_ways_by_sftp(renting: Pods, tmp_path: Path) -> None:
    pod = renting.start()
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 4000)

    command = [
        part.replace("ssh", "sftp", 1) if i == 0 else part.replace("-p", "-P", 1)
        for i, part in enumerate(pod.ssh_command())
    ]
    script = tmp_path / "script"
    script.write_text(f"put {sent} there\nget there {tmp_path}/back\n")
    # sftp looks for ssh where it was built, not on PATH
    command[1:1] = ["-S", str(shutil.which("ssh")), "-b", str(script)]
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "back").read_bytes() == sent.read_bytes()
    assert pod.run("ls").stdout == "there\n"


def test_command_killed_by_a_signal_is_told_as_such(renting: Pods) -> None:
    pod = renting.start()

    assert pod.run("kill -TERM $$").returncode in {143, 255}


def test_detached_process_outlives_its_command_and_dies_with_the_pod(
    renting: Pods,
) -> None:
    pod = renting.start()
    folder = renting.sim.find_pod(pod.id)["directory"]

    started = pod.run("setsid nohup sleep 601 >/dev/null 2>&1 </dev/null & echo $!")
    alive = pod.run(f"kill -0 {started.stdout.strip()}")
    renting.call("podStop", pod.id)

    assert alive.returncode == 0
    wait_for(
        lambda: not processes_mentioning(folder), what="the end of the pod's processes"
    )


def test_killing_process_1_of_a_pod_leaves_nothing_after_its_end(renting: Pods) -> None:
    pod = renting.start()
    known = renting.sim.find_pod(pod.id)
    pod.run("setsid nohup sleep 602 >/dev/null 2>&1 </dev/null &")

    for process_id in renting.sim.find_pod(pod.id)["process_ids"]:
        os.kill(process_id, signal.SIGKILL)
    renting.call("podTerminate", pod.id)

    wait_for(
        lambda: not processes_mentioning(known["directory"]),
        what="the end of the pod's processes",
    )


def test_stop_wipes_the_container_disk_and_keeps_the_volume(renting: Pods) -> None:
    pod = renting.start()
    pod.run("echo disk > file; echo volume > $WORKSPACE/file")

    renting.call("podStop", pod.id)
    renting.wait_until_idle()
    renting.call("podResume", pod.id, gpuCount=1)
    again = renting.wait_until_up(pod.id)

    assert again.run("ls").stdout == ""
    assert again.run("cat $WORKSPACE/file").stdout == "volume\n"


def test_terminate_deletes_the_volume(renting: Pods) -> None:
    pod = renting.start()
    folder = Path(renting.sim.find_pod(pod.id)["directory"])
    pod.run("echo volume > $WORKSPACE/file")

    renting.call("podTerminate", pod.id)

    wait_for(lambda: not folder.exists(), what="the pod's directory to go")


def test_each_start_has_another_port_and_host_key(
    renting: Pods, tmp_path: Path
) -> None:
    pod = renting.start()
    first = host_key(pod.port, tmp_path)

    renting.call("podStop", pod.id)
    renting.wait_until_idle()
    renting.call("podResume", pod.id, gpuCount=1)
    again = renting.wait_until_up(pod.id)

    assert again.port != pod.port
    assert host_key(again.port, tmp_path) != first


def test_log_shows_the_host_keys_fingerprint(renting: Pods, tmp_path: Path) -> None:
    pod = renting.start()
    key = asyncssh.import_public_key(host_key(pod.port, tmp_path))

    path = f"/v2/pods/{pod.id}/logs?source=container"
    log = [event["line"] for event in renting.sim.read_events(path, 3)]

    assert f"256 {key.get_fingerprint('sha256')} root@{pod.id} (ED25519)" in log


def test_local_port_forwarding_reaches_the_pod(renting: Pods) -> None:
    pod = renting.start()
    address = renting.sim.base_url.removeprefix("http://")

    command = pod.ssh_command()
    command[1:1] = ["-W", address]
    request = f"GET /_sim/health HTTP/1.0\r\nHost: {address}\r\n\r\n"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdin is not None
        assert forwarding.stdout is not None
        try:
            forwarding.stdin.write(request)
            forwarding.stdin.flush()
            status = forwarding.stdout.readline()
        finally:
            # who closes a forwarded connection first is the two programs' affair
            forwarding.kill()

    assert status.startswith("HTTP/1.1 200")


def host_key(port: int, folder: Path) -> str:
    """Return the host key a server shows, as ssh-keyscan reads it."""
    scanned = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", "-p", str(port), "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=folder,
    ).stdout
    # newer ones tell the server's version in a comment before the key
    lines = (line for line in scanned.splitlines() if not line.startswith("#"))
    return next(lines).partition(" ")[2]
