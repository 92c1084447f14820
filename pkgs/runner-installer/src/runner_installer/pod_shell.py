"""Asking a pod the questions every operation asks: what are you, whom do you run?"""

from runner_installer.errors import InstallError
from runner_installer.facts import parse_facts, parse_runners
from runner_installer.model import InstalledRunner, PodFacts
from runner_installer.plan import (
    delete_command,
    inspect_command,
    probe_command,
    stop_command,
)
from runner_installer.remote import Remote
from runpod_client.logs import get_logger

log = get_logger(__name__)
_QUICK_SECONDS = 30.0
_DELETE_SECONDS = 120.0


async def probe(remote: Remote) -> PodFacts:
    """Return what an installation must know about the pod.

    Raises:
        InstallError: The pod's shell does not answer as a shell does.
    """
    answer = await remote.run(probe_command(), timeout=_QUICK_SECONDS)
    return parse_facts(answer.text)


async def list_installed(remote: Remote) -> tuple[InstalledRunner, ...]:
    """Return every runner on the pod, running or not.

    Raises:
        InstallError: The pod's answer is incomplete.
    """
    answer = await remote.run(inspect_command(), timeout=_QUICK_SECONDS)
    return parse_runners(answer.text)


async def find_installed(remote: Remote, name: str) -> InstalledRunner | None:
    """Return the runner of that name on the pod, None where there is none."""
    return next((r for r in await list_installed(remote) if r.name == name), None)


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


async def delete_folder(remote: Remote, folder: str) -> bool:
    """Delete a runner's folder; tell whether there was one.

    Raises:
        InstallError: The pod did not carry it out.
    """
    answer = await remote.run(delete_command(folder), timeout=_DELETE_SECONDS)
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
