"""Users of a simulated pod's own, made without touching this host."""

import os
import subprocess
from pathlib import Path

import pytest

from runpod_sim.pod_users import (
    FIRST_UID,
    MARK,
    PODS,
    UIDS_PER_POD,
    PodUsers,
    can_separate,
    render_login_defs,
)


@pytest.fixture
def users(tmp_path: Path) -> PodUsers:
    made = PodUsers(tmp_path / "users")
    made.make()
    return made


def uid_range(users: Path) -> range:
    lines = render_login_defs(users).splitlines()
    pairs = dict(line.split() for line in lines if line.startswith("UID_M"))
    return range(int(pairs["UID_MIN"]), int(pairs["UID_MAX"]) + 1)


def test_numbers_of_users_stay_within_their_pods_range(tmp_path: Path) -> None:
    for number in range(50):
        uids = uid_range(tmp_path / str(number))

        assert len(uids) == UIDS_PER_POD
        assert FIRST_UID <= uids.start < FIRST_UID + PODS * UIDS_PER_POD


def test_login_outside_the_pods_namespace_cannot_make_users_here(
    users: PodUsers,
) -> None:
    # elsewhere the rights are missing as it is
    is_guarded = os.geteuid() == 0
    script = f"{users.session_lines()}command -v useradd; echo done"

    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert not Path("/etc", MARK).exists()
    assert (str(users.guard) in done.stdout) is is_guarded


def test_commands_that_would_change_this_host_refuse(users: PodUsers) -> None:
    for name in ("useradd", "userdel", "systemctl"):
        done = subprocess.run(
            [users.guard / name, "intruder"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert done.returncode == 1
        assert f"{name}: a simulated pod cannot do this on this host" in done.stderr


def test_server_is_started_where_the_users_are_or_as_it_is(users: PodUsers) -> None:
    command = users.wrap(["sshd", "-D"])

    assert command[-2:] == ["sshd", "-D"]
    assert (command[0] == "unshare") is can_separate()
