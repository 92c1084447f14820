"""Installing, asking and removing on a real sshd, with the simulated GitHub."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from runner_installer import (
    ConsoleState,
    GitHub,
    Installation,
    Installed,
    InstallError,
    Phase,
    RegistrationError,
    RunnerBusyError,
    RunnerError,
    RunnerSpec,
    TarballCache,
    fetch_log,
    find_installed,
    list_installed,
    list_statuses,
    parse_scope,
    remove_runner,
    sweep,
    trusted_scope,
    wait_until_finished,
)
from runner_installer.model import InstalledRunner, Registration
from runner_installer.remote import SSHRemote
from runpod_client import AuthenticationError, DeadlineError, Secret
from runpod_sim.runner_tarball import VERSION as RUNNER_VERSION
from runpod_ssh import SSHError
from support.forge import TOKEN, ServedForge
from support.leftovers import processes_mentioning
from support.waiting import wait_for

from .conftest import Pod, open_forge


async def install(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    *,
    is_name_given: bool = True,
) -> Installed:
    installation = Installation(
        remote, github, tarballs, verify_timeout_seconds=20, poll_seconds=0.1
    )
    return await installation.run(
        spec, new_name=None if is_name_given else lambda: "runpod-pod1-other"
    )


async def only(remote: SSHRemote) -> InstalledRunner:
    (runner,) = await list_installed(remote)
    return runner


async def test_installed_runner_is_online_runs_a_job_and_is_used_up(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    done = await install(remote, github, tarballs, spec)

    assert done.is_new
    assert done.runner.console.state is ConsoleState.LISTENING
    await asyncio.to_thread(forge.wait_for_status, spec.name, status="online")
    job_id = await asyncio.to_thread(
        forge.queue, "echo real output of $RUNNER_NAME", labels=("gpu",)
    )
    finished = await wait_until_finished(
        remote, spec.name, timeout=20, poll_seconds=0.1
    )
    job = await asyncio.to_thread(forge.finished, job_id)
    assert job["conclusion"] == "success"
    assert f"real output of {spec.name}" in job["log"]
    assert finished.console.result == "Succeeded"
    assert "Job train completed" in await fetch_log(remote, spec.name)
    forge.clock.advance(5)  # the record outlives the process by a moment
    assert await asyncio.to_thread(forge.runner, spec.name) is None


async def test_installing_twice_makes_one_runner(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await install(remote, github, tarballs, spec, is_name_given=False)

    again = await install(
        remote,
        github,
        tarballs,
        spec.renamed("runpod-pod1-second"),
        is_name_given=False,
    )

    assert not again.is_new
    assert again.runner.name == spec.name
    assert len(await list_installed(remote)) == 1
    assert [r.name for r in forge.forge.runners.values()] == [spec.name]


async def test_package_is_sent_to_a_pod_once(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await install(remote, github, tarballs, spec)

    second = await install(remote, github, tarballs, spec.renamed("runpod-pod1-second"))

    upload = next(p for p in second.phases if p.name == "upload")
    assert upload.is_skipped


async def test_finished_runners_name_can_be_installed_again(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await install(remote, github, tarballs, spec)
    await asyncio.to_thread(forge.queue, "true")
    await wait_until_finished(remote, spec.name, timeout=20, poll_seconds=0.1)
    forge.clock.advance(5)

    again = await install(remote, github, tarballs, spec)

    assert again.is_new
    assert again.runner.console.state is ConsoleState.LISTENING


def jit_config_of(pod: Pod) -> str:
    """Return the JIT config, which run.sh gets in its environment alone."""
    variable = "ACTIONS_RUNNER_INPUT_JITCONFIG"
    return next(e[variable] for e in map(environment_of, pod.pids()) if variable in e)


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def command_line(pid: int) -> Path:
    return Path(f"/proc/{pid}/cmdline")


def all_arguments() -> bytes:
    """Return the command lines of all processes of this machine."""
    return b"".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


async def test_secrets_stand_in_no_argument_no_log_and_no_file_of_ours(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
    capfd: pytest.CaptureFixture[str],
) -> None:
    done = await install(remote, github, tarballs, spec)

    jit_config = jit_config_of(pod)
    arguments = all_arguments()
    shown = "".join(capfd.readouterr())
    files = pod.files()
    assert len(files) > 5
    assert done.runner.pid is not None
    for secret in (jit_config, TOKEN):
        assert secret.encode() not in arguments
        assert secret not in shown
        assert [path for path in files if secret.encode() in read(path)] == []
    assert TOKEN not in environment_of(done.runner.pid).values()


async def test_files_of_a_runner_are_closed_to_other_users(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    await install(remote, github, tarballs, spec)

    folder = pod.root / spec.name
    assert pod.app(spec.name).stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "run.log").stat().st_mode & 0o077 == 0
    assert (folder / "record.json").stat().st_mode & 0o077 == 0


async def test_interrupt_reaches_the_listener_although_started_in_background(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    done = await install(remote, github, tarballs, spec)

    listeners = [
        pid for pid in pod.pids() if b"Runner.Listener" in read(command_line(pid))
    ]
    assert len(listeners) == 1
    assert done.runner.pid != listeners[0]
    status = read(Path(f"/proc/{listeners[0]}/status")).decode()
    ignored = next(x for x in status.splitlines() if x.startswith("SigIgn:"))
    assert int(ignored.split()[1], 16) & 0b10 == 0  # signal 2, counted from 1


async def test_wrong_token_installs_nothing(
    remote: SSHRemote,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    with open_forge(forge, token="wrong") as github, pytest.raises(AuthenticationError):
        await install(remote, github, tarballs, spec)

    assert not pod.root.exists()


async def test_altered_package_is_never_sent(
    remote: SSHRemote,
    github: GitHub,
    spec: RunnerSpec,
    forge: ServedForge,
    tmp_path: Path,
    pod: Pod,
) -> None:
    altered = TarballCache(tmp_path / "other", lambda _download: [b"something else"])

    with pytest.raises(InstallError, match="GitHub names"):
        await install(remote, github, altered, spec)

    assert forge.forge.runners == {}
    assert pod.files() == []


async def test_taken_name_leaves_the_pod_without_a_runner(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await asyncio.to_thread(forge.jit, spec.name)

    with pytest.raises(RegistrationError):
        await install(remote, github, tarballs, spec)

    assert await list_installed(remote) == ()


async def test_runner_that_does_not_start_is_shown_with_its_console_and_undone(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    await asyncio.to_thread(
        forge.order,
        "/deprecations",
        {
            "version": RUNNER_VERSION,
            "registration_deprecates_at": "2020-01-01T00:00:00Z",
            "runtime_deprecates_at": "2020-01-01T00:00:00Z",
        },
    )

    with pytest.raises(InstallError, match="deprecated") as caught:
        await install(remote, github, tarballs, spec)

    assert caught.value.step == "verify"
    assert forge.forge.runners == {}
    assert not (pod.root / spec.name).exists()
    assert pod.pids() == []


@pytest.mark.parametrize("phase", ["folders", "upload", "register", "unpack", "launch"])
async def test_interrupted_installation_leaves_nothing_and_can_be_repeated(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
    phase: str,
) -> None:
    task: asyncio.Task[Installed]

    def interrupt(done: Phase) -> None:
        if done.name == phase:
            task.cancel()

    installation = Installation(
        remote, github, tarballs, verify_timeout_seconds=20, on_phase=interrupt
    )
    task = asyncio.create_task(installation.run(spec, new_name=None))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert forge.forge.runners == {}
    assert pod.pids() == []
    assert await list_installed(remote) == ()
    again = await install(remote, github, tarballs, spec)
    assert again.runner.console.state is ConsoleState.LISTENING


async def test_lost_connection_takes_the_registration_back(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    def cut(done: Phase) -> None:
        if done.name == "register":
            assert len(forge.forge.runners) == 1
            pod.sshd.stop()

    installation = Installation(remote, github, tarballs, on_phase=cut)
    with pytest.raises(SSHError):
        await installation.run(spec, new_name=None)

    assert forge.forge.runners == {}


async def test_interrupt_while_github_answers_takes_the_registration_back(
    remote: SSHRemote,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(GitHub):
        """GitHub as it is, on a slow line: the answer comes after the interrupt."""

        def generate_jit_config(self, spec: RunnerSpec) -> Registration:
            loop.call_soon_threadsafe(asked.set)
            return super().generate_jit_config(spec)

    with Slow(api_url=f"{forge.base_url}/api/v3", token=Secret(TOKEN)) as github:
        installing = asyncio.create_task(install(remote, github, tarballs, spec))
        await asyncio.wait_for(asked.wait(), timeout=30)
        installing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await installing

    assert forge.forge.runners == {}


async def test_status_joins_process_console_and_github(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await install(remote, github, tarballs, spec)
    await asyncio.to_thread(forge.wait_for_status, spec.name, status="online")

    (status,) = await list_statuses(remote, github)

    assert status.runner.is_alive
    assert status.runner.scope == spec.scope
    assert status.record is not None
    assert status.record.is_online
    assert status.disagreements == ()


async def test_status_names_a_process_that_died(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    await install(remote, github, tarballs, spec)
    for pid in pod.pids():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not pod.pids(), what="the runner's processes are gone")

    (status,) = await list_statuses(remote, github)

    assert not status.runner.is_alive
    assert "its console says listening, but its process is gone" in status.disagreements


async def test_runner_of_another_name_can_live_beside(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await install(remote, github, tarballs, spec)

    await install(remote, github, tarballs, spec.renamed("runpod-pod1-second"))

    assert len(await list_statuses(remote, github)) == 2


async def test_removed_runner_is_gone_everywhere(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    await install(remote, github, tarballs, spec)

    removal = await remove_runner(
        remote, github, await only(remote), scope=spec.scope, force=False
    )

    assert [a.removeprefix(f"{spec.name}: ") for a in removal.actions] == [
        "deleted at acme/widgets",
        "its process stopped",
        "its folder deleted",
    ]
    assert forge.forge.runners == {}
    assert pod.pids() == []
    assert not pod.root.exists()
    assert processes_mentioning(str(pod.root)) == []


async def test_removing_again_says_that_nothing_was_there(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await install(remote, github, tarballs, spec)
    runner = await only(remote)
    await remove_runner(remote, github, runner, scope=spec.scope, force=False)

    again = await remove_runner(remote, github, runner, scope=spec.scope, force=False)

    assert [a.removeprefix(f"{spec.name}: ") for a in again.actions] == [
        "acme/widgets lists it no longer",
        "its process had never been started",
        "its folder had been deleted already",
    ]


async def test_runner_on_a_job_is_left_alone_unless_forced(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    pod: Pod,
) -> None:
    await install(remote, github, tarballs, spec)
    await asyncio.to_thread(forge.queue, "sleep 300")
    await asyncio.to_thread(
        forge.wait_for_status, spec.name, status="online", busy=True
    )
    runner = await only(remote)

    with pytest.raises(RunnerBusyError):
        await remove_runner(remote, github, runner, scope=spec.scope, force=False)

    assert (await only(remote)).is_alive

    async def a_minute_at_github(_seconds: float) -> None:
        forge.clock.advance(60)

    await remove_runner(
        remote,
        github,
        runner,
        scope=spec.scope,
        force=True,
        sleep=a_minute_at_github,
    )
    assert forge.forge.runners == {}
    assert pod.pids() == []
    assert not pod.root.exists()


async def test_registrations_without_a_pod_are_swept_by_its_id_alone(
    github: GitHub, forge: ServedForge, spec: RunnerSpec
) -> None:
    for name in ("runpod-pod1-aa", "runpod-pod2-bb", "somebody-else"):
        await asyncio.to_thread(forge.jit, name)

    removals = await sweep(github, spec.scope, "pod1")

    assert [removal.name for removal in removals] == ["runpod-pod1-aa"]
    assert sorted(r.name for r in forge.forge.runners.values()) == [
        "runpod-pod2-bb",
        "somebody-else",
    ]


async def test_pod_cannot_make_us_delete_a_runner_that_is_not_its_own(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await install(remote, github, tarballs, spec)
    mine = await only(remote)
    foreign = replace(mine, name="runpod-pod2-aa")

    assert trusted_scope(mine, "pod1", None) == spec.scope
    assert trusted_scope(foreign, "pod1", parse_scope("a/b")) == parse_scope("a/b")
    with pytest.raises(RunnerError, match="not bound to this pod"):
        trusted_scope(foreign, "pod1", None)


async def test_waiting_for_a_runner_that_is_not_there_ends_at_once(
    remote: SSHRemote,
) -> None:
    assert await find_installed(remote, "nobody") is None
    with pytest.raises(RunnerError, match="no runner nobody"):
        await wait_until_finished(remote, "nobody", timeout=30)


async def test_waiting_for_a_job_that_never_comes_ends_at_its_deadline(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await install(remote, github, tarballs, spec)

    with pytest.raises(DeadlineError) as caught:
        await wait_until_finished(remote, spec.name, timeout=0.5, poll_seconds=0.1)

    assert caught.value.last_status == "listening"
