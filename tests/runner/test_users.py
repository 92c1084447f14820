"""Runners of one pod are users of their own: what the job of one can do to the rest.

Collected only where users can be made without touching this host: see conftest.py.
"""

import asyncio
import subprocess
from pathlib import Path

import pytest

from runner_installer import (
    GitHub,
    Installation,
    InstallError,
    RunnerSpec,
    TarballCache,
    list_installed,
    remove_runner,
)
from runner_installer.pod_model import InstallOptions
from runner_installer.remote import SSHRemote
from runpod_sim.pod_users import PodUsers
from support.forge import ServedForge
from support.waiting import wait_for

from .conftest import Pod

# each line tries something a job must not be able to do, and says so where it can
PROBES = """
cannot() {{ name=$1; shift; if "$@" >/dev/null 2>&1; then echo "CAN $name"; fi; }}
finds() {{ name=$1; shift; if "$@" 2>/dev/null | grep -q .; then echo "CAN $name"; fi; }}
cannot enter-other-home ls {other_home}
cannot read-other-credentials cat {other_app}/.credentials
cannot read-other-key cat {other_app}/.credentials_rsaparams
cannot read-other-work ls {other_app}/_work
cannot write-other-home touch {other_home}/x
cannot replace-other-home mv {other_home} {other_home}.old
cannot enter-login-home ls {login_home}
cannot read-login-keys cat {login_home}/.ssh/authorized_keys
cannot read-other-console cat {root}/{other_name}/run.log
cannot read-own-record cat {root}/{own_name}/record.json
cannot write-own-supervisor sh -c 'echo >>{root}/{own_name}/supervise.sh'
cannot read-packages ls {root}/.cache
finds other-environment cat /proc/{other_pid}/environ
finds login-environment cat /proc/{supervisor_pid}/environ
finds other-folder readlink /proc/{other_pid}/cwd
finds other-files ls -l /proc/{other_pid}/fd
finds other-memory head -c 1 /proc/{other_pid}/mem
cannot signal-other kill -0 {other_pid}
cannot signal-supervisor kill -0 {supervisor_pid}
cannot stop-other kill -STOP {other_pid}
cannot become-root setpriv --reuid 0 true
cannot become-other setpriv --reuid {other_uid} --clear-groups true
cannot make-a-user useradd intruder
cannot change-passwords sh -c 'echo x >>/etc/shadow'
cannot read-passwords cat /etc/shadow
finds sees-api-key printenv RUNPOD_API_KEY
finds sees-jit-config printenv ACTIONS_RUNNER_INPUT_JITCONFIG
cannot is-root test "$(id -u)" = 0
echo "PROBES DONE"
"""


def pid_of(pod: Pod, *, name: str, program: str) -> int:
    """Return the process of a runner that runs a program."""
    for pid in pod.pids():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        if program in command and name in command:
            return pid
    pytest.fail(f"no process of {name} runs {program}")


async def test_job_gets_at_nothing_of_another_runner_nor_of_the_login(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    pod.home.chmod(0o700)
    victim = spec.renamed("runpod-pod1-victim")
    installation = Installation(remote, github, tarballs, verify_timeout_seconds=20)
    batch = await installation.run_many([spec, victim])
    assert batch.failures == ()
    own, other = (done.runner for done in batch.installed)
    assert own.user != other.user
    homes = {home.name: home.stat().st_uid for home in pod.users.homes.iterdir()}
    script = PROBES.format(
        other_home=f"/home/{other.user}",
        other_app=f"/home/{other.user}/actions-runner/{other.name}",
        other_name=other.name,
        own_name=own.name,
        root=pod.root,
        login_home=pod.home,
        other_pid=pid_of(pod, name=other.name, program="Runner.Listener"),
        other_uid=homes[other.user],
        supervisor_pid=own.pid,
    )

    job_id = await asyncio.to_thread(forge.queue, script, labels=(own.name,))
    job = await asyncio.to_thread(forge.finished, job_id)

    assert "PROBES DONE" in job["log"]
    assert [x for x in job["log"].splitlines() if x.startswith("CAN ")] == []
    assert script.count("\ncannot ") + script.count("\nfinds ") >= 20


async def test_what_a_job_leaves_running_ends_with_its_runner(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    await Installation(remote, github, tarballs).run(spec, new_name=None)
    # without its mark in the environment the runner itself does not find it
    daemon = (
        "RUNNER_TRACKING_ID= setsid sleep 300 >/dev/null 2>&1 </dev/null & sleep 0.2"
    )

    job_id = await asyncio.to_thread(forge.queue, daemon)
    await asyncio.to_thread(forge.finished, job_id)

    wait_for(lambda: pod.pids() == [], timeout_seconds=20, what="all of it ended")


async def test_removed_runners_user_is_gone_with_all_it_owned(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    done = await Installation(remote, github, tarballs).run(spec, new_name=None)

    await remove_runner(remote, github, done.runner, scope=spec.scope, force=False)

    assert list(pod.users.homes.iterdir()) == []
    known = await remote.run(f"id {done.runner.user}", timeout=10)
    assert known.exit_status != 0
    assert pod.pids() == []


async def test_runner_of_a_named_user_leaves_that_user_be(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    await remote.run("useradd --create-home builder", timeout=10)
    installation = Installation(
        remote, github, tarballs, options=InstallOptions(user="builder")
    )
    done = await installation.run(spec, new_name=None)
    assert done.runner.user == "builder"
    assert pod.app(spec.name).joinpath("run.sh").exists()

    await remove_runner(remote, github, done.runner, scope=spec.scope, force=False)

    assert (await remote.run("id builder", timeout=10)).exit_status == 0
    assert not pod.app(spec.name).exists()
    assert pod.pids() == []


async def test_runner_as_root_is_root(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    installation = Installation(
        remote, github, tarballs, options=InstallOptions(as_root=True)
    )

    done = await installation.run(spec, new_name=None)

    assert done.runner.user == ""
    job_id = await asyncio.to_thread(forge.queue, "echo I am $(id -u)")
    job = await asyncio.to_thread(forge.finished, job_id)
    assert "I am 0" in job["log"]


async def test_user_that_cannot_be_made_is_an_error_that_says_so(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await remote.run("mount -o remount,ro,bind /home", timeout=10)

    with pytest.raises(InstallError) as caught:
        await Installation(remote, github, tarballs).run(spec, new_name=None)

    assert caught.value.step == "folders"
    assert "could not be made" in str(caught.value)
    assert "folders ended with 8" in caught.value.log
    assert forge.forge.runners == {}


def users_of_this_host() -> tuple[bytes, list[Path]]:
    """Return what would change if a user were made here."""
    return Path("/etc/passwd").read_bytes(), sorted(Path("/home").iterdir())


async def test_users_of_this_host_are_not_touched(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    before = users_of_this_host()

    done = await Installation(remote, github, tarballs).run(spec, new_name=None)

    assert (await list_installed(remote))[0].user == done.runner.user
    assert done.runner.user
    assert users_of_this_host() == before


def run(users: PodUsers, script: str) -> str:
    """Run a script where the pod's users are and return what it printed."""
    done = subprocess.run(
        users.wrap(["sh", "-ec", script]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_user_made_in_a_pod_is_there_in_all_its_sessions_and_nowhere_else(
    tmp_path: Path,
) -> None:
    users = PodUsers(tmp_path / "users")
    users.make()
    before = Path("/etc/passwd").read_bytes()

    said = run(
        users,
        "useradd --create-home tenant; id -u tenant; "
        "setpriv --reuid tenant --regid tenant --init-groups touch ~tenant/mine",
    )

    uid = int(said)
    assert (users.homes / "tenant" / "mine").stat().st_uid == uid
    assert run(users, "id -u tenant") == said
    assert Path("/etc/passwd").read_bytes() == before
    assert not Path("/home/tenant").exists()


def test_pods_number_their_users_apart(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        users = PodUsers(tmp_path / name)
        users.make()
        found.append(int(run(users, "useradd tenant; id -u tenant")))

    assert found[0] != found[1]
