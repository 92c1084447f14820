"""Asking a pod the questions every operation asks: what are you, whom do you run?"""

from runner_installer.errors import InstallError
from runner_installer.facts import parse_facts, parse_runners
from runner_installer.pod_model import PodFacts, PodRunner
from runner_installer.remote import Remote
from runner_installer.scripts import (
    delete_command,
    diagnostics_command,
    inspect_command,
    logs_command,
    probe_command,
    stop_command,
)
from runpod_client.logs import get_logger

log = get_logger(__name__)
_QUICK_SECONDS = 30.0
_DELETE_SECONDS = 120.0


async def probe(remote: Remote, *, folder: str = "") -> PodFacts:
    """Return what an installation must know about the pod.

    Raises:
        InstallError: The pod's shell does not answer as a shell does.
    """
    answer = await remote.run(probe_command(folder), timeout=_QUICK_SECONDS)
    return parse_facts(answer.text)


async def list_installed(remote: Remote, *, folder: str = "") -> tuple[PodRunner, ...]:
    """Return every runner on the pod, running or not.

    Args:
        folder: Where a person had them installed; the usual places are searched too.

    Raises:
        InstallError: The pod's answer is incomplete.
    """
    answer = await remote.run(inspect_command(folder), timeout=_QUICK_SECONDS)
    return parse_runners(answer.text)


async def find_installed(
    remote: Remote, name: str, *, folder: str = ""
) -> PodRunner | None:
    """Return the runner of that name on the pod, None where there is none."""
    command = inspect_command(folder, only=name)
    runners = parse_runners((await remote.run(command, timeout=_QUICK_SECONDS)).text)
    return next((runner for runner in runners if runner.name == name), None)


async def fetch_log(remote: Remote, name: str) -> str:
    """Return the end of a runner's console, empty where it has none yet."""
    runner = await find_installed(remote, name)
    return runner.log_tail if runner else ""


async def stop_processes(remote: Remote, folder: str, *, grace_seconds: int) -> str:
    """End a runner's processes and say how: asked, killed, already-ended, never-started.

    Raises:
        InstallError: The pod did not carry it out.
    """
    answer = await remote.run(
        stop_command(folder, grace_seconds=grace_seconds),
        timeout=grace_seconds + _QUICK_SECONDS,
    )
    return _said(answer.text, "stopped", step="stop")


async def fetch_logs(remote: Remote, folder: str) -> str:
    """Return what a runner's installation and the runner wrote, the end of each.

    It is also there after a failed installation, when the runner is not.
    """
    answer = await remote.run(logs_command(folder), timeout=_QUICK_SECONDS)
    return answer.text


async def fetch_diagnostics(remote: Remote, folder: str) -> bytes:
    """Return a gzipped tar archive of a runner's console, install log and `_diag`.

    Raises:
        InstallError: The pod did not make one.
    """
    answer = await remote.run(diagnostics_command(folder), timeout=_DELETE_SECONDS)
    if answer.exit_status != 0 or not answer.stdout:
        raise InstallError(
            f"the pod gave no logs of {folder.rsplit('/', 1)[-1]}",
            step="logs",
            hint="Is its disk full? Remove the runner without --keep-logs.",
        )
    return answer.stdout


async def delete_folder(
    remote: Remote, folder: str, *, keeps_log: bool = False
) -> bool:
    """Delete a runner's folder and its own user; tell whether there was one.

    Args:
        keeps_log: Leave what the installation wrote, for `fetch_logs`.

    Raises:
        InstallError: The pod did not carry it out.
    """
    answer = await remote.run(
        delete_command(folder, keeps_log=keeps_log), timeout=_DELETE_SECONDS
    )
    return _said(answer.text, "deleted", step="delete") == "yes"


def _said(text: str, key: str, *, step: str) -> str:
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value
    raise InstallError(
        f"the pod did not say that it {key} the runner",
        step=step,
        hint="Look at it with `runpod-ssh shell`, and repeat.",
    )
