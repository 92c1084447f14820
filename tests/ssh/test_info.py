"""What `info` and `config` print is run as it stands: by ssh itself, in a clean shell."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from support.agents import list_held, running_agent
from support.sim import SimServer
from support.ssh_desk import RUN_SECONDS, SSHDesk, rent, rent_pod
from support.sshd import make_key


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> SSHDesk:
    """The pod that the tests of this file share, which none of them may harm."""
    return rent(module_sim, tmp_path_factory.mktemp("office"))


def run_clean(command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line in a shell that knows nothing but where programs are."""
    given = {"PATH": os.environ["PATH"], **wrapped_users(), **variables}
    settings = [f"{name}={value}" for name, value in given.items()]
    return subprocess.run(
        ["env", "-i", *settings, "sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def wrapped_users() -> Mapping[str, str]:
    """Return what a build sandbox needs for its user to have a name."""
    names = ("LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")
    return {name: os.environ[name] for name in names if name in os.environ}


def test_printed_command_runs_verbatim_in_a_clean_shell(office: SSHDesk) -> None:
    document = office.json("info", "train")
    command = document["ssh_command"]

    done = run_clean(f"{command} 'echo in $RUNPOD_POD_ID; exit 4'")

    assert (done.returncode, done.stdout) == (4, f"in {office.pod_id}\n"), done.stderr
    assert document["host_key_trust"] == "verified"
    assert f"HostKeyAlias={office.pod_id}" in command
    assert "StrictHostKeyChecking=yes" in command
    assert document["problem"] is None
    assert office.ssh("info", "train", "--for", "ssh").stdout == f"{command}\n"


def test_printed_command_refuses_another_host_key(
    office: SSHDesk, tmp_path: Path
) -> None:
    document = office.json("info", "train")
    make_key(tmp_path / "other", dict(os.environ))
    algorithm, blob = (tmp_path / "other.pub").read_text().split()[:2]
    forged = tmp_path / "known_hosts"
    forged.write_text(f"{office.pod_id} {algorithm} {blob}\n")
    command = document["ssh_command"].replace(document["known_hosts_file"], str(forged))

    done = run_clean(f"{command} true")

    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_printed_command_works_with_the_secret_from_a_file_of_the_user_s(
    module_sim: SimServer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret that somebody keeps elsewhere\n")
    secret.chmod(0o600)
    desk = rent(
        module_sim.with_key("rpa_B" + "0" * 30),
        tmp_path,
        RUNPOD_IDENTITY_SECRET_FILE=str(secret),
    )

    command = desk.ssh("info", "train", "--for", "ssh").stdout
    done = run_clean(f"{command.strip()} echo in")

    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert not desk.secret_file.exists()


def test_scp_and_sftp_take_the_printed_words(office: SSHDesk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0some\xff bytes" * 1000)
    scp = office.ssh("info", "train", "--for", "scp").stdout.strip()
    sftp = office.ssh("info", "train", "--for", "sftp").stdout.strip()

    there = run_clean(f"{scp} {tmp_path}/file train:copied")
    back = run_clean(f"echo get copied {tmp_path}/back | {sftp}")

    assert there.returncode == 0, there.stderr
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


def test_pod_without_an_ssh_port_is_reached_through_the_proxy_as_printed(
    module_sim: SimServer, tmp_path: Path
) -> None:
    desk = rent(module_sim.with_key("rpa_C" + "0" * 30), tmp_path)
    key = tmp_path / ".ssh" / "id_ed25519"
    key.parent.mkdir(mode=0o700)
    make_key(key, dict(os.environ))
    public = key.with_suffix(".pub")
    added = desk.run("runpod-client", "keys", "add", str(public))
    assert added.returncode == 0, added.stderr
    rent_pod(desk, "web", "--port", "8188/http", "--no-wait")

    document = desk.json("info", "web", "-i", str(key))
    command = document["proxy_command"]
    done = subprocess.run(
        ["env", "-i", f"PATH={os.environ['PATH']}", "sh", "-c", command],
        input="echo in-$((40+2))\nexit 5\n",
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert document["ssh_command"] is None
    assert "exposes no SSH port" in document["problem"]
    assert "StrictHostKeyChecking=yes" in command
    assert done.returncode == 5, done.stderr
    assert "in-42" in done.stdout


def test_pod_that_does_not_run_has_no_command_and_says_why(
    module_sim: SimServer, tmp_path: Path
) -> None:
    desk = rent(module_sim.with_key("rpa_D" + "0" * 30), tmp_path)
    assert desk.run("runpod-client", "pods", "stop", "train").returncode == 0

    document = desk.json("info", "train")
    told = desk.ssh("info", "train", "--for", "ssh")

    assert (document["status"], document["ssh_command"]) == ("STOPPED", None)
    assert "pods start" in document["problem"]
    assert (told.returncode, told.stdout) == (1, "")
    assert "pods start" in told.stderr


def test_written_configuration_lets_ssh_in_by_name_with_the_agent(
    office: SSHDesk, tmp_path: Path
) -> None:
    config = tmp_path / "pods.conf"
    written = office.ssh("config", "--to", str(config))
    assert written.returncode == 0, written.stderr
    assert f'Include "{config}"' in written.stderr
    user_config = tmp_path / "config"
    user_config.write_text(
        f'Include "{config}"\nHost other\n  HostName other.example\n'
    )
    ssh = ["ssh", "-F", str(user_config), "-o", "BatchMode=yes"]

    with running_agent() as agent:
        environ = {**office.environ, **agent}
        done = subprocess.run(
            [*ssh, "train", "echo in $RUNPOD_POD_ID"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        held = list_held(agent)

    assert (done.returncode, done.stdout) == (0, f"in {office.pod_id}\n"), done.stderr
    assert len(held) == 1


def test_configuration_of_named_pods_goes_to_stdout_alone(office: SSHDesk) -> None:
    done = office.ssh("config", "train")
    document = office.json("config", office.pod_id)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Host ") == 1
    assert document["config"] == done.stdout
    assert document["path"] is None
    assert document["pods"] == [{"pod_id": office.pod_id, "name": "train"}]
    assert not (office.home / "config" / "runpod" / "ssh_config").exists()


def test_configuration_is_written_beside_the_settings(office: SSHDesk) -> None:
    done = office.ssh("config", "--write")

    path = office.home / "config" / "runpod" / "ssh_config"
    assert done.stdout == f"{path}\n"
    assert f"Host train {office.pod_id}\n" in path.read_text()
    path.unlink()


def test_key_is_lent_to_the_agent_for_a_time(office: SSHDesk) -> None:
    without = office.ssh("keys", "load", "train")
    with running_agent() as agent:
        desk = replace(office, environ={**office.environ, **agent})
        first = desk.json("keys", "load", "train", "--lifetime", "10m")
        again = desk.json("keys", "load", office.pod_id)
        wrong = desk.ssh("keys", "load", "train", "--lifetime", "soon")
        listed = desk.json("keys", "show", "train")
        held = list_held(agent)

    assert without.returncode == 2
    assert "ssh-agent" in without.stderr
    assert (first["was_loaded"], again["was_loaded"]) == (False, True)
    assert (wrong.returncode, "no time span" in wrong.stderr) == (2, True)
    assert listed["fingerprint"] in held
    assert shlex.split(first["public_key"])[0] == "ssh-ed25519"
