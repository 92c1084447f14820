"""Making a pod a runner: applies the plan, and undoes it where it fails.

Running it twice makes one runner. Whatever ends it early - an error, Ctrl-C, a
cancelled task - takes the registration back before it is raised.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner_installer import pod_shell
from runner_installer.errors import InstallError
from runner_installer.facts import render_record
from runner_installer.github import GitHub
from runner_installer.model import (
    ConsoleState,
    Download,
    InstalledRunner,
    PodFacts,
    Registration,
    RunnerSpec,
)
from runner_installer.plan import (
    Layout,
    Stdin,
    Step,
    check_facts,
    plan_preparation,
    plan_runner,
)
from runner_installer.registration import NewName, registered
from runner_installer.remote import Remote
from runner_installer.tarball import TarballCache, choose_download
from runpod_client import Error
from runpod_client.logs import get_logger

log = get_logger(__name__)
_LIVE = {ConsoleState.STARTING, ConsoleState.LISTENING, ConsoleState.BUSY}
_TAIL_LINES = 15
_STOP_GRACE_SECONDS = 10

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """How long one step took; a skipped one was done already."""

    name: str
    elapsed_seconds: float
    is_skipped: bool = False


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The outcome of an installation.

    Attributes:
        is_new: False where a runner was there already and nothing was done.
    """

    runner: InstalledRunner
    is_new: bool
    phases: tuple[Phase, ...]


class Installation:
    """One installation on one pod; `run` carries it out once."""

    def __init__(
        self,
        remote: Remote,
        github: GitHub,
        tarballs: TarballCache,
        *,
        verify_timeout_seconds: float = 120.0,
        poll_seconds: float = 0.5,
        on_phase: Callable[[Phase], None] = lambda _phase: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._remote = remote
        self._github = github
        self._tarballs = tarballs
        self._verify_timeout_seconds = verify_timeout_seconds
        self._poll_seconds = poll_seconds
        self._on_phase = on_phase
        self._clock = clock
        self._sleep = sleep
        self._phases: list[Phase] = []

    async def run(self, spec: RunnerSpec, *, new_name: NewName | None) -> Installed:
        """Make the pod a runner.

        Args:
            new_name: Gives another name where GitHub's answer about the first was
                lost. None insists on the spec's name, and lets a runner of another
                name live beside it.

        Raises:
            InstallError: A step failed; nothing is left at GitHub.
            RegistrationError: GitHub gives no registration.
        """
        with self._phase("probe"):
            facts = await pod_shell.probe(self._remote)
            present = await pod_shell.list_installed(self._remote)
        check_facts(facts)
        existing = _find_live(present, spec, any_name=new_name is not None)
        if existing is not None:
            await self._check_known(existing, spec)
            return Installed(runner=existing, is_new=False, phases=tuple(self._phases))
        download = await self._prepare(spec, facts, present)
        runner = await self._register_and_launch(spec, facts, download, new_name)
        log.info(
            "runner_installed", runner_name=runner.name, repository=str(spec.scope)
        )
        return Installed(runner=runner, is_new=True, phases=tuple(self._phases))

    async def _check_known(self, runner: InstalledRunner, spec: RunnerSpec) -> None:
        """Refuse to call a runner installed that GitHub does not know."""
        with self._phase("github"):
            record = await asyncio.to_thread(
                self._github.find_runner, spec.scope, runner.name
            )
        if record is None:
            raise InstallError(
                f"{runner.name} runs on the pod, but {spec.scope} has no such runner",
                step="github",
                runner_name=runner.name,
                hint="Take it off the pod with `runner-installer remove POD`, repeat.",
            )

    async def _prepare(
        self, spec: RunnerSpec, facts: PodFacts, present: tuple[InstalledRunner, ...]
    ) -> Download:
        """Bring the package onto the pod; GitHub does not know of the runner yet."""
        downloads = await asyncio.to_thread(self._github.list_downloads, spec.scope)
        download = choose_download(downloads, facts)
        for leftover in (r for r in present if r.name == spec.name):
            # a finished runner's folder is no place for another registration
            await pod_shell.stop_processes(
                self._remote, leftover.folder, grace_seconds=_STOP_GRACE_SECONDS
            )
            await pod_shell.delete_folder(self._remote, leftover.folder)
        local = Path()
        for step in plan_preparation(spec, facts, download):
            if step.name == "tarball":
                with self._phase(step.name):
                    local = await asyncio.to_thread(self._tarballs.ensure, download)
            elif step.name == "upload":
                target = Layout(home=facts.home, name=spec.name).tarball(download)
                await self._send(step, local, target)
            else:
                await self._apply(step, b"")
        return download

    async def _register_and_launch(
        self,
        spec: RunnerSpec,
        facts: PodFacts,
        download: Download,
        new_name: NewName | None,
    ) -> InstalledRunner:
        started = self._clock()
        folder = ""
        try:
            async with registered(self._github, spec, new_name) as registration:
                self._note(
                    Phase(name="register", elapsed_seconds=self._clock() - started)
                )
                spec = spec.renamed(registration.name)
                folder = Layout(home=facts.home, name=spec.name).folder
                stdin = _stdin_bytes(spec, registration)
                for step in plan_runner(spec, facts, download):
                    if step.name == "verify":
                        with self._phase(step.name):
                            return await self._verify(spec)
                    if step.command:
                        await self._apply(step, stdin[step.stdin])
        except BaseException:
            # GitHub first, the pod second: a second Ctrl-C may cut this short
            if folder:
                await asyncio.shield(self._clear(folder))
            raise
        raise AssertionError("the last step of a plan is its verification")

    async def _clear(self, folder: str) -> None:
        """Take back what was begun on the pod, as far as it still answers."""
        try:
            await pod_shell.stop_processes(
                self._remote, folder, grace_seconds=_STOP_GRACE_SECONDS
            )
            await pod_shell.delete_folder(self._remote, folder)
        except Error as error:
            # the failure that led here is what the user must read
            log.warning(
                "runner_clear_failed",
                error=type(error).__name__,
                error_detail=str(error),
            )

    async def _send(self, step: Step, local: Path, target: str) -> None:
        """Send the package, unless the very same already lies there."""
        with self._phase(step.name) as skip:
            if await self._holds(step):
                skip()
                return
            await self._remote.upload(local, target)
            if not await self._holds(step):
                raise InstallError(
                    f"{target} arrived on the pod with another hash",
                    step=step.name,
                    hint="Repeat; if it stays so, the pod's disk is failing or full.",
                )

    async def _apply(self, step: Step, stdin: bytes) -> None:
        """Run a step's command, unless its check says that it is done.

        Raises:
            InstallError: The command failed; carries what it said.
        """
        with self._phase(step.name) as skip:
            if await self._holds(step):
                skip()
                return
            answer = await self._remote.run(
                step.command, stdin=stdin, timeout=step.timeout_seconds
            )
            if answer.exit_status != 0:
                said = answer.stderr.decode(errors="replace").strip()
                raise InstallError(
                    f"the step {step.name} failed on the pod with status "
                    f"{answer.exit_status}: {said[-400:] or 'it said nothing'}",
                    step=step.name,
                    hint="Nothing is left at GitHub; mend the pod and repeat.",
                )

    async def _holds(self, step: Step) -> bool:
        if not step.check:
            return False
        answer = await self._remote.run(step.check, timeout=step.timeout_seconds)
        return answer.exit_status == 0

    async def _verify(self, spec: RunnerSpec) -> InstalledRunner:
        """Wait until the console says that the runner listens for jobs."""
        deadline = self._clock() + self._verify_timeout_seconds
        while True:
            runner = await pod_shell.find_installed(self._remote, spec.name)
            if runner is not None and _is_ready(runner):
                return runner
            if runner is None or not runner.is_alive:
                problem = "ended before it listened for jobs"
            elif runner.console.state is ConsoleState.DEAD:
                problem = f"cannot work: {runner.console.reason}"
            elif self._clock() < deadline:
                await self._sleep(self._poll_seconds)
                continue
            else:
                seconds = self._verify_timeout_seconds
                problem = f"did not listen for jobs within {seconds:.0f} s"
            tail = _tail(runner.log_tail if runner else "")
            raise InstallError(
                f"runner {spec.name} {problem}; its console ends: {tail}",
                step="verify",
                runner_name=spec.name,
                hint="Its registration was deleted and its folder removed; "
                "mend what the console names and repeat.",
            )

    @contextmanager
    def _phase(self, name: str) -> Iterator[Callable[[], None]]:
        """Time a phase; the body calls what it gets when there was nothing to do."""
        started = self._clock()
        skipped: list[bool] = []
        yield lambda: skipped.append(True)
        self._note(
            Phase(
                name=name,
                elapsed_seconds=self._clock() - started,
                is_skipped=bool(skipped),
            )
        )

    def _note(self, phase: Phase) -> None:
        self._phases.append(phase)
        self._on_phase(phase)


def _find_live(
    present: tuple[InstalledRunner, ...], spec: RunnerSpec, *, any_name: bool
) -> InstalledRunner | None:
    """Return the runner that makes an installation needless."""
    for runner in present:
        if not (runner.is_alive and runner.console.state in _LIVE):
            continue
        if runner.name == spec.name or (any_name and runner.scope == spec.scope):
            return runner
    return None


def _stdin_bytes(spec: RunnerSpec, registration: Registration) -> dict[Stdin, bytes]:
    return {
        Stdin.NOTHING: b"",
        Stdin.JIT_CONFIG: registration.jit_config.encode() + b"\n",
        Stdin.RECORD: render_record(
            scope=spec.scope, runner_id=registration.runner_id, labels=spec.all_labels
        ),
    }


def _is_ready(runner: InstalledRunner) -> bool:
    """Tell whether it listens, or has been quick and already had its job."""
    state = runner.console.state
    return state is ConsoleState.FINISHED or (
        runner.is_alive and state in {ConsoleState.LISTENING, ConsoleState.BUSY}
    )


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:]) or "(it is empty)"
