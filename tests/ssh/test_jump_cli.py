"""Jump hosts by the installed commands, and by OpenSSH with what these print.

Two hosts in a row, named on the command line or in the user's ssh_config with what
people write there: Include, Match, ProxyJump, ProxyCommand and its tokens.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.agents import running_agent
from support.sim import SimServer
from support.ssh_desk import RUN_SECONDS, SSHDesk, rent
from support.sshd import Sshd, SshdFactory, find_program


@dataclass(frozen=True)
class Hops:
    """Two jump hosts that know the user's key, and the user's ~/.ssh."""

    near: Sshd
    far: Sshd
    folder: Path

    @property
    def named(self) -> str:
        """Return both as `--jump` takes them."""
        return ",".join(f"root@127.0.0.1:{hop.port}" for hop in (self.near, self.far))

    @property
    def config(self) -> str:
        """Return what a user writes to give both a name."""
        return "".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {hop.port}\n  User root\n"
            f"  IdentityFile {self.folder}/id_ed25519\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n"
            for name, hop in (("near", self.near), ("far", self.far))
        )

    def count_logins(self) -> tuple[int, int]:
        """Return how often anybody logged in, for both."""
        near, far = (
            hop.log_text.count("Accepted publickey") for hop in (self.near, self.far)
        )
        return near, far


@pytest.fixture(scope="module")
def desk(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> SSHDesk:
    """The pod that the tests of this file share."""
    found = rent(module_sim, tmp_path_factory.mktemp("desk"))
    # its host key is learnt without a detour
    assert found.ssh("exec", "train", "--", "true").returncode == 0
    return found


@pytest.fixture
def hops(desk: SSHDesk, sshd_factory: SshdFactory) -> Iterator[Hops]:
    folder = desk.home / ".ssh"
    folder.mkdir(mode=0o700)
    near, far = sshd_factory(), sshd_factory()
    shutil.copy(near.identity_file, folder / "id_ed25519")
    shutil.copy(near.folder / "authorized_keys", far.folder / "authorized_keys")
    with (folder / "known_hosts").open("w") as known:
        for hop in (near, far):
            words = (hop.folder / "host_key.pub").read_text().split()[:2]
            known.write(f"[127.0.0.1]:{hop.port} {' '.join(words)}\n")
    yield Hops(near, far, folder)
    shutil.rmtree(folder)


def ask_where(desk: SSHDesk, *options: str) -> "subprocess.CompletedProcess[str]":
    """Have the pod say its id, over a way that the options name."""
    return desk.ssh("exec", *options, "train", "--", "echo in $RUNPOD_POD_ID")


def test_hosts_of_the_command_line_are_gone_through_in_their_order(
    desk: SSHDesk, hops: Hops
) -> None:
    done = ask_where(desk, "--jump", hops.named)

    assert done.stdout == f"in {desk.pod_id}\n", done.stderr
    assert hops.count_logins() == (1, 1)
    assert f"port {hops.far.port}" not in hops.near.log_text


@pytest.mark.parametrize(
    "way",
    [
        "Host 127.0.0.*\n  ProxyJump near,far\n",
        # the farther one says itself what lies before it
        "Match originalhost far\n  ProxyJump near\nHost 127.*\n  ProxyJump far\n",
        f"Match host 127.0.0.1 exec {shlex.quote('test -n yes')}\n"
        "  ProxyCommand ssh -F {config} -J near -W %h:%p far\n",
    ],
    ids=["jump", "jump-of-jump", "command"],
)
def test_hosts_of_the_users_configuration_are_gone_through(
    desk: SSHDesk, hops: Hops, way: str
) -> None:
    named = hops.folder / "hops"
    named.write_text(hops.config)
    (hops.folder / "config").write_text(
        f"Include {named}\n{way.replace('{config}', str(named))}"
    )

    done = ask_where(desk)

    assert done.stdout == f"in {desk.pod_id}\n", done.stderr
    assert hops.count_logins() == (1, 1)


def test_way_of_the_configuration_can_be_left_for_the_straight_one(
    desk: SSHDesk, hops: Hops
) -> None:
    (hops.folder / "config").write_text(
        f"{hops.config}Host 127.0.0.1\n  ProxyJump near\n  ProxyCommand false\n"
    )

    done = ask_where(desk, "--jump", "none")

    assert done.stdout == f"in {desk.pod_id}\n", done.stderr
    assert hops.count_logins() == (0, 0)


def test_openssh_takes_the_same_way_by_the_printed_command(
    desk: SSHDesk, hops: Hops, tmp_path: Path
) -> None:
    command = desk.ssh("info", "--jump", "near,far", "train", "--for", "ssh").stdout
    (hops.folder / "config").write_text(hops.config)

    done = run_with_config(
        f"{command.strip()} 'echo in $RUNPOD_POD_ID'", hops.folder / "config", tmp_path
    )

    assert (done.returncode, done.stdout) == (0, f"in {desk.pod_id}\n"), done.stderr
    assert hops.count_logins() == (1, 1)


def test_openssh_takes_the_same_way_by_the_written_configuration(
    desk: SSHDesk, hops: Hops, tmp_path: Path
) -> None:
    written = desk.ssh("config", "--jump", "near,far", "train")
    config = tmp_path / "config"
    config.write_text(hops.config + written.stdout)

    with running_agent() as agent:
        done = subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "train", "echo in"],
            env={**desk.environ, **agent},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    assert written.returncode == 0, written.stderr
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert hops.count_logins() == (1, 1)


def run_with_config(
    command: str, config: Path, folder: Path
) -> "subprocess.CompletedProcess[str]":
    """Run a command line in a clean shell of a user with this ssh_config.

    ssh looks for it in the home of the password database, which no variable moves.
    """
    shim = folder / "bin" / "ssh"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {find_program("ssh")} -F {config} "$@"\n')
    shim.chmod(0o755)
    names = ("LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.run(
        ["sh", "-c", command],
        env={**kept, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
