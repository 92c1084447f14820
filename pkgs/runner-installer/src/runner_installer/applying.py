"""Carrying out a plan's steps on a pod: each timed, logged there, skipped when done.

What a step says on stderr is kept on the pod in the runner's `install.log`, and the
end of it is in the error. It must not know what the steps are for.
"""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner_installer.errors import CustomStepError, InstallError
from runner_installer.plan import Step
from runner_installer.pod_model import FailurePolicy, StepSpec
from runner_installer.remote import Answer, Remote
from runpod_client.logs import get_logger

log = get_logger(__name__)
_HELD = 99
_NO_USER = 8  # of folders.sh
_NO_USER_HINT = (
    "Name a user that the pod has with --user, or let the job own the pod: --as-root."
)
_TIMED_OUT = 124
_SAID_CHARACTERS = 400


@dataclass(frozen=True, kw_only=True)
class Phase:
    """How long one step took; a skipped one was done already."""

    name: str
    elapsed_seconds: float
    is_skipped: bool = False


class Applier:
    """Applies the steps of one runner and keeps how long each took."""

    def __init__(
        self,
        remote: Remote,
        *,
        on_phase: Callable[[Phase], None] = lambda _phase: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = remote
        self._on_phase = on_phase
        self._clock = clock
        self.phases: list[Phase] = []

    async def apply(self, step: Step, folder: str, stdin: bytes) -> str:
        """Run a step's command, unless its check says that it is done.

        Args:
            folder: The runner's; the step's words are kept there.

        Returns:
            What it wrote to stdout, empty where it was skipped.

        Raises:
            InstallError: The command failed; carries what it said.
        """
        with self.phase(step.name) as skip:
            answer = await self._remote.run(
                render_step(step, folder), stdin=stdin, timeout=step.timeout_seconds
            )
            if answer.exit_status == _HELD and step.check:
                skip()
                return ""
            if step.custom is not None:
                _judge(step.custom, answer)
            elif answer.exit_status != 0:
                raise _failure(step, answer)
            return answer.text

    async def send(self, step: Step, local: Path, target: str) -> None:
        """Send a file, unless the very same already lies there.

        Raises:
            InstallError: It cannot be written, or arrives as something else.
        """
        with self.phase(step.name) as skip:
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

    async def _holds(self, step: Step) -> bool:
        answer = await self._remote.run(step.check, timeout=step.timeout_seconds)
        return answer.exit_status == 0

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[], None]]:
        """Time a phase; the body calls what it gets when there was nothing to do."""
        started = self._clock()
        skipped: list[bool] = []
        yield lambda: skipped.append(True)
        self.note(
            Phase(
                name=name,
                elapsed_seconds=self._clock() - started,
                is_skipped=bool(skipped),
            )
        )

    def note(self, phase: Phase) -> None:
        """Keep how long something took."""
        self.phases.append(phase)
        self._on_phase(phase)


def render_step(step: Step, folder: str) -> str:
    """Return one command for check and step, which also writes the install log."""
    check = f"( {step.check} ) </dev/null && exit {_HELD}\n" if step.check else ""
    text = (
        f"umask 077; d={shlex.quote(folder)}; e=$d/.{step.name}.stderr\n{check}"
        'mkdir -p "$d" 2>/dev/null\n'
        # a full disk must not hide what the step has to say
        f'if ! ( : >"$e" ) 2>/dev/null; then ( {step.command} ); exit $?; fi\n'
        f'( {step.command} ) 2>"$e"; s=$?\n'
        '{ printf "%s %s ended with %s\\n" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" '
        f'{shlex.quote(step.name)} "$s"; cat "$e"; }} >>"$d/install.log" 2>/dev/null\n'
        'tail -c 4096 "$e" >&2; rm -f "$e"; exit "$s"'
    )
    return shlex.join(["sh", "-c", text])


def _failure(step: Step, answer: Answer) -> InstallError:
    said = answer.stderr.decode(errors="replace").strip()
    return InstallError(
        f"the step {step.name} failed on the pod with status "
        f"{answer.exit_status}: {said[-_SAID_CHARACTERS:] or 'it said nothing'}",
        step=step.name,
        hint=_NO_USER_HINT
        if answer.exit_status == _NO_USER
        else "Nothing is left at GitHub; mend the pod and repeat. "
        "`runner-installer logs POD` shows the whole log.",
    )


def _judge(custom: StepSpec, answer: Answer) -> None:
    """Act on how a custom step ended.

    Raises:
        CustomStepError: It failed, and that matters.
    """
    if answer.exit_status == 0:
        return
    what = f"ended with status {answer.exit_status}"
    if answer.exit_status == _TIMED_OUT:
        what = f"was not done after {custom.timeout_seconds} s"
    said = " | ".join(line for line in answer.text.splitlines()[-15:] if line.strip())
    if custom.on_failure is FailurePolicy.CONTINUE:
        log.warning("custom_step_failed", step=custom.name, error_detail=what)
        return
    error = CustomStepError(
        f"the step {custom.name} ({custom.phase}) {what}; its log ends: "
        f"{said[-1000:] or '(it is empty)'}",
        step=custom.name,
        on_failure=custom.on_failure,
        hint="Nothing is left at GitHub; mend the step and repeat.",
    )
    error.log = answer.text
    raise error
