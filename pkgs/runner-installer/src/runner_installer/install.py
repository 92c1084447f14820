"""Making a pod a runner, or several: applies the plan, and undoes it where it fails.

Running it twice makes one runner. Whatever ends it early - an error, Ctrl-C, a
cancelled task - takes the registration back before it is raised.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from runner_installer import pod_shell
from runner_installer.applying import Applier, Phase
from runner_installer.attempt import STOP_GRACE_SECONDS, Attempt, Site
from runner_installer.enrolling import Enrolment, RegistrationTokens, enrolled
from runner_installer.errors import InstallError, RunnerBusyError
from runner_installer.github import GitHub
from runner_installer.layout import check_facts
from runner_installer.model import ConsoleState, RunnerSpec, Scope
from runner_installer.plan import (
    Stdin,
    plan_folders,
    plan_preparation,
    plan_runner,
)
from runner_installer.pod_model import (
    InstallOptions,
    PodFacts,
    PodRunner,
)
from runner_installer.registration import NewName
from runner_installer.remote import Remote
from runner_installer.tarball import TarballCache, choose_download
from runpod_client import Error
from runpod_client.logs import get_logger

__all__ = ["Batch", "Installation", "Installed", "Phase"]
log = get_logger(__name__)
_LIVE = {ConsoleState.STARTING, ConsoleState.LISTENING, ConsoleState.BUSY}
_TAIL_LINES = 15
# an installation that did nothing for so long is not under way any more
_STALE_SECONDS = 1800
# each takes a channel, of which a server with stock settings gives ten
_AT_ONCE = 4

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The outcome of an installation.

    Attributes:
        is_new: False where a runner was there already and nothing was done.
    """

    runner: PodRunner
    is_new: bool
    phases: tuple[Phase, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The outcome of installing several runners on one pod.

    Attributes:
        failures: What kept runners from being made, by the name each was to have;
            nothing of those is left.
    """

    installed: tuple[Installed, ...]
    failures: tuple[tuple[str, Error], ...] = ()


class Installation:
    """Installations on one pod over one connection."""

    def __init__(
        self,
        remote: Remote,
        github: GitHub,
        tarballs: TarballCache,
        *,
        options: InstallOptions | None = None,
        verify_timeout_seconds: float = 120.0,
        poll_seconds: float = 0.25,
        on_phase: Callable[[Phase], None] = lambda _phase: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._remote = remote
        self._github = github
        self._tarballs = tarballs
        self._options = options or InstallOptions()
        self._verify_timeout_seconds = verify_timeout_seconds
        self._poll_seconds = poll_seconds
        self._on_phase = on_phase
        self._clock = clock
        self._sleep = sleep
        self._tokens = RegistrationTokens(github)
        self._sending = asyncio.Lock()
        self._is_sent = False

    async def run(self, spec: RunnerSpec, *, new_name: NewName | None) -> Installed:
        """Make the pod a runner.

        Args:
            new_name: Gives another name where GitHub's answer about the first was
                lost. None insists on the spec's name, and lets a runner of another
                name live beside it.

        Raises:
            InstallError: A step failed; nothing is left at GitHub.
            CustomStepError: A step of the user's own failed.
            RegistrationError: GitHub gives no registration.
        """
        applier = self._applier()
        facts, present = await self._look(applier)
        existing = _find_live(present, spec, any_name=new_name is not None)
        if existing is not None:
            await self._check_known(applier, existing, spec)
            phases = tuple(applier.phases)
            return Installed(runner=existing, is_new=False, phases=phases)
        site = await self._open_site(applier, facts, present, spec)
        return await self._install(applier, site, spec, new_name)

    async def run_many(
        self, specs: Sequence[RunnerSpec], *, new_name: NewName | None = None
    ) -> Batch:
        """Make the pod several runners, some at once; it is asked what it is once.

        A runner whose name lives there already is taken as it is.

        Raises:
            InstallError: The pod cannot be a runner at all.
        """
        if not specs:
            return Batch(installed=())
        applier = self._applier()
        facts, present = await self._look(applier)
        site = await self._open_site(applier, facts, present, specs[0])
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(spec: RunnerSpec) -> Installed | Error:
            async with limit:
                existing = _find_live(present, spec, any_name=False)
                if existing is not None:
                    return Installed(runner=existing, is_new=False, phases=())
                try:
                    return await self._install(self._applier(), site, spec, new_name)
                except Error as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(spec)) for spec in specs]
        outcomes = list(zip(specs, (task.result() for task in tasks), strict=True))
        return Batch(
            installed=tuple(o for _, o in outcomes if isinstance(o, Installed)),
            failures=tuple((s.name, o) for s, o in outcomes if isinstance(o, Error)),
        )

    async def list_live(self, scope: Scope) -> tuple[str, ...]:
        """Return the names of this scope's runners that live on the pod."""
        present = await pod_shell.list_installed(
            self._remote, folder=self._options.folder
        )
        return tuple(r.name for r in present if r.scope == scope and _is_live(r))

    def _applier(self) -> Applier:
        return Applier(self._remote, on_phase=self._on_phase, clock=self._clock)

    async def _look(self, applier: Applier) -> tuple[PodFacts, tuple[PodRunner, ...]]:
        folder = self._options.folder
        with applier.phase("probe"):
            facts = await pod_shell.probe(self._remote, folder=folder)
            present = await pod_shell.list_installed(self._remote, folder=folder)
        check_facts(facts, self._options)
        if facts.is_root and facts.is_home_open and not self._options.as_root:
            log.warning(
                "login_home_open",
                error_detail=f"jobs can read {facts.home}; chmod 700 it on the pod",
            )
        return facts, present

    async def _check_known(
        self, applier: Applier, runner: PodRunner, spec: RunnerSpec
    ) -> None:
        """Refuse to call a runner installed that GitHub does not know."""
        with applier.phase("github"):
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

    async def _open_site(
        self,
        applier: Applier,
        facts: PodFacts,
        present: tuple[PodRunner, ...],
        spec: RunnerSpec,
    ) -> Site:
        """Have the package here, and the pod rid of installations that never ended."""
        downloads = await asyncio.to_thread(self._github.list_downloads, spec.scope)
        download = choose_download(downloads, facts)
        for runner in present:
            if _is_abandoned(runner):
                await self._clear_leftover(runner, spec)
        with applier.phase("tarball"):
            local = await asyncio.to_thread(self._tarballs.ensure, download)
        return Site(facts=facts, present=present, download=download, local=local)

    async def _clear_leftover(self, runner: PodRunner, spec: RunnerSpec) -> None:
        if runner.name != spec.name and runner.scope in {None, spec.scope}:
            ghost = await asyncio.to_thread(
                self._github.find_runner, spec.scope, runner.name
            )
            if ghost is not None and not ghost.is_busy and not ghost.is_online:
                try:
                    await asyncio.to_thread(
                        self._github.delete_runner, spec.scope, ghost.runner_id
                    )
                except RunnerBusyError:
                    return
        await pod_shell.stop_processes(
            self._remote, runner.folder, grace_seconds=STOP_GRACE_SECONDS
        )
        await pod_shell.delete_folder(self._remote, runner.folder)

    async def _install(
        self, applier: Applier, site: Site, spec: RunnerSpec, new_name: NewName | None
    ) -> Installed:
        attempt = Attempt(self._remote, applier, site, self._options)
        for runner in site.present:
            if runner.name == spec.name:
                # a finished runner's folder is no place for another registration
                await self._clear_leftover(runner, spec)
        try:
            await self._prepare(attempt, spec)
            runner = await self._register_and_launch(attempt, spec, new_name)
        except BaseException as error:
            # GitHub was first, the pod is second: another Ctrl-C may cut this short
            await asyncio.shield(attempt.clear(error))
            raise
        log.info(
            "runner_installed", runner_name=runner.name, repository=str(spec.scope)
        )
        return Installed(runner=runner, is_new=True, phases=tuple(applier.phases))

    async def _prepare(self, attempt: Attempt, spec: RunnerSpec) -> None:
        """Bring the package onto the pod; GitHub does not know of the runner yet."""
        site = attempt.site
        steps = plan_preparation(spec, site.facts, site.download, self._options)
        for step in steps:
            if step.name == "folders":
                await attempt.make_folders(step, spec)
            elif step.name == "upload":
                async with self._sending:
                    if not self._is_sent:
                        target = attempt.layout.tarball(site.download)
                        await attempt.applier.send(step, site.local, target)
                        self._is_sent = True
            elif step.custom is not None:
                await attempt.apply(step, step.custom.command.encode())

    async def _register_and_launch(
        self, attempt: Attempt, spec: RunnerSpec, new_name: NewName | None
    ) -> PodRunner:
        started = self._clock()
        async with enrolled(
            self._github,
            spec,
            new_name,
            kind=self._options.registration,
            tokens=self._tokens,
        ) as enrolment:
            elapsed = self._clock() - started
            attempt.applier.note(Phase(name="register", elapsed_seconds=elapsed))
            if enrolment.name != spec.name:
                spec = spec.renamed(enrolment.name)
                facts = attempt.site.facts
                await attempt.make_folders(
                    plan_folders(spec, facts, self._options), spec
                )
            runner = await self._carry_out(attempt, spec, enrolment)
        if runner is None:
            raise AssertionError("a plan verifies what it made")
        return runner

    async def _carry_out(
        self, attempt: Attempt, spec: RunnerSpec, enrolment: Enrolment
    ) -> PodRunner | None:
        """Apply the steps from the registration on."""
        runner = None
        steps = plan_runner(
            spec,
            attempt.site.facts,
            attempt.site.download,
            self._options,
            attempt.account,
            kind=enrolment.kind,
            web_url=self._github.bases.render_runner_url(spec.scope),
        )
        for step in steps:
            if step.name == "verify" and step.custom is None:
                with attempt.applier.phase(step.name):
                    runner = await self._verify(spec)
            elif step.name == "configure":
                await attempt.apply(step, attempt.stdin_for(step, spec, enrolment))
                enrolment = await self._found(spec, enrolment)
                record = next(s for s in steps if s.stdin is Stdin.FILES)
                await attempt.apply(record, attempt.stdin_for(record, spec, enrolment))
            elif step.command:
                said = await attempt.apply(
                    step, attempt.stdin_for(step, spec, enrolment)
                )
                if step.name == "launch":
                    _warn(spec.name, said)
        return runner

    async def _found(self, spec: RunnerSpec, enrolment: Enrolment) -> Enrolment:
        """Return the enrolment with the id that the pod's own registration got."""
        record = await asyncio.to_thread(
            self._github.find_runner, spec.scope, spec.name
        )
        if record is None:
            raise InstallError(
                f"config.sh ended well, but {spec.scope} has no runner {spec.name}",
                step="configure",
                runner_name=spec.name,
                hint="Repeat; if it stays so, ask GitHub's status page.",
            )
        return replace(enrolment, runner_id=record.runner_id)

    async def _verify(self, spec: RunnerSpec) -> PodRunner:
        """Wait until the console says that the runner listens for jobs."""
        deadline = self._clock() + self._verify_timeout_seconds
        while True:
            runner = await pod_shell.find_installed(
                self._remote, spec.name, folder=self._options.folder
            )
            if runner is not None and _is_ready(runner):
                return runner
            if runner is None or not runner.is_alive:
                problem = "ended before it listened for jobs"
                if runner is not None and runner.console.state is ConsoleState.DEAD:
                    problem = f"cannot work: {runner.console.reason}"
            elif self._clock() < deadline:
                # what looks dead may be about to be started again
                await self._sleep(self._poll_seconds)
                continue
            else:
                seconds = self._verify_timeout_seconds
                problem = f"did not listen for jobs within {seconds:.0f} s"
            raise _not_verified(spec, problem, runner)


def _warn(name: str, said: str) -> None:
    """Tell where systemd was there but of no use."""
    for line in said.splitlines():
        if line.startswith("warning="):
            detail = line.removeprefix("warning=").strip()[:400]
            log.warning("runner_unit_failed", runner_name=name, error_detail=detail)


def _find_live(
    present: tuple[PodRunner, ...], spec: RunnerSpec, *, any_name: bool
) -> PodRunner | None:
    """Return the runner that makes an installation needless."""
    for runner in present:
        if not _is_live(runner):
            continue
        if runner.name == spec.name or (any_name and runner.scope == spec.scope):
            return runner
    return None


def _is_live(runner: PodRunner) -> bool:
    return runner.is_alive and runner.console.state in _LIVE


def _is_abandoned(runner: PodRunner) -> bool:
    """Tell whether its installation was killed long ago, before it ever listened."""
    return (
        not runner.is_alive
        and runner.pid is None
        and runner.age_seconds is not None
        and runner.age_seconds > _STALE_SECONDS
    )


def _is_ready(runner: PodRunner) -> bool:
    """Tell whether it listens, or has been quick and already had its job."""
    state = runner.console.state
    return state is ConsoleState.FINISHED or (
        runner.is_alive and state in {ConsoleState.LISTENING, ConsoleState.BUSY}
    )


def _not_verified(
    spec: RunnerSpec, problem: str, runner: PodRunner | None
) -> InstallError:
    text = runner.log_tail if runner else ""
    lines = [line for line in text.splitlines() if line.strip()]
    tail = " | ".join(lines[-_TAIL_LINES:]) or "(it is empty)"
    return InstallError(
        f"runner {spec.name} {problem}; its console ends: {tail}",
        step="verify",
        runner_name=spec.name,
        hint="Its registration was deleted and its folder removed; "
        "mend what the console names and repeat.",
    )
