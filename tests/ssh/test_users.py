"""Logging in as somebody else than root, by the installed commands, on a pod that can.

The pod's sshd knows a second user here. As root that takes a mount namespace with
another list of users; in a build sandbox, whose one user plays all, libnss_wrapper.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agents import running_agent
from support.sim import serving
from support.ssh_desk import RUN_SECONDS, SSHDesk, rent
from support.sshd import find_program

USER = "ubuntu"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHDesk]:
    """A desk whose pod has a user besides root, with the same key."""
    folder = tmp_path_factory.mktemp("users")
    # pytest's folders are closed to anybody else
    with (
        tempfile.TemporaryDirectory(prefix="runpod-user-") as open_folder,
        serving(folder, environ=environ_with_sshd(Path(open_folder))) as simulator,
    ):
        found = rent(simulator, folder)
        keys = found.state.glob("identities/*/id_ed25519.pub")
        (Path(open_folder) / "authorized_keys").write_text(next(keys).read_text())
        yield found


def environ_with_sshd(folder: Path) -> dict[str, str]:
    """Return an environment whose sshd has the user and takes the folder's keys."""
    uid, gid = (1000, 1000) if os.getuid() == 0 else (os.getuid(), os.getgid())
    home = folder / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    folder.chmod(0o755)
    users = folder / "passwd"
    users.write_text(
        f"root:x:{os.getuid()}:{os.getgid()}::{home}:{find_program('bash')}\n"
        f"{USER}:x:{uid}:{gid}::{home}:{find_program('bash')}\n"
        "sshd:x:74:74::/:/bin/false\n"
    )
    sshd = shlex.join(
        [
            find_program("sshd"),
            *("-o", f"AuthorizedKeysFile={folder}/authorized_keys"),
            *("-o", "ForceCommand=none"),
        ]
    )
    if os.getuid() == 0:
        inside = f'mount --bind {users} /etc/passwd && exec {sshd} "$@"'
        start = f'exec unshare --mount sh -c {shlex.quote(inside)} sshd "$@"'
    else:
        start = f'NSS_WRAPPER_PASSWD={users} exec {sshd} "$@"'
    program = folder / "bin" / "sshd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{start}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_command_runs_as_the_user_that_was_named(desk: SSHDesk) -> None:
    as_root = desk.ssh("exec", "train", "--", "echo $USER; id -u")
    as_user = desk.ssh("exec", "--user", USER, "train", "--", "echo $USER ~; id -u")

    assert as_root.stdout == f"root\n{os.getuid()}\n", as_root.stderr
    name, home, uid = as_user.stdout.split()
    assert name == USER
    assert Path(home).stat().st_uid == int(uid)


def test_user_of_the_settings_is_asked_for_everywhere(desk: SSHDesk) -> None:
    environ = {"RUNPOD_SSH_USER": USER}
    words = ("exec", "--all", "--json", "echo $USER")

    one = desk.run("runpod-ssh", "exec", "train", "--", "echo $USER", environ=environ)
    many = desk.run("runpod-ssh", *words, environ=environ)

    assert one.stdout == f"{USER}\n", one.stderr
    assert f'"text": "{USER}"' in many.stdout, many.stderr


def test_user_that_the_pod_does_not_have_is_refused(desk: SSHDesk) -> None:
    done = desk.ssh("exec", "--user", "nobody-here", "train", "--", "true")

    assert (done.returncode, done.stdout) == (255, "")
    assert "nobody-here@" in done.stderr


def test_copy_belongs_to_the_user_who_made_it(desk: SSHDesk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0bytes\xff" * 1000)
    named = ("copy", "--user", USER)

    there = desk.ssh(*named, f"{tmp_path}/file", "train:copied")
    place = desk.ssh("exec", "--user", USER, "train", "--", "echo ~/copied; id -u")
    back = desk.ssh(*named, "train:copied", f"{tmp_path}/back")

    assert there.returncode == 0, there.stderr
    copied, uid = place.stdout.split()
    assert Path(copied).stat().st_uid == int(uid)
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


def test_printed_command_logs_in_as_the_user(desk: SSHDesk) -> None:
    document = desk.json("info", "--user", USER, "train")

    done = run_clean(f"{document['ssh_command']} 'echo $USER'")

    assert document["user"] == USER
    assert (done.returncode, done.stdout) == (0, f"{USER}\n"), done.stderr


def test_written_configuration_logs_in_as_the_user(
    desk: SSHDesk, tmp_path: Path
) -> None:
    config = tmp_path / "pods.conf"
    written = desk.ssh("config", "--user", USER, "--to", str(config))
    assert written.returncode == 0, written.stderr

    with running_agent() as agent:
        ssh = f"ssh -F {config} -o BatchMode=yes train 'echo $USER'"
        done = run_clean(ssh, **{**desk.environ, **agent})

    assert (done.returncode, done.stdout) == (0, f"{USER}\n"), done.stderr


def run_clean(command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line in a shell that knows nothing but where programs are."""
    names = ("PATH", "LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")
    given = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.run(
        ["sh", "-c", command],
        env={**given, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
