"""One runner in the making: what it has on the pod so far, and how to take it back.

It knows the pod's side alone; whoever uses it gives GitHub's side back first.
"""

from dataclasses import dataclass
from pathlib import Path

from runner_installer import pod_shell
from runner_installer.applying import Applier
from runner_installer.enrolling import Enrolment
from runner_installer.errors import InstallError
from runner_installer.facts import parse_account, render_record
from runner_installer.hooks import render_hooks
from runner_installer.layout import Layout, layout_of, plan_account
from runner_installer.model import Download, RunnerSpec
from runner_installer.plan import Stdin, Step
from runner_installer.pod_model import (
    Account,
    InstallOptions,
    PodFacts,
    PodRunner,
    RegistrationKind,
)
from runner_installer.remote import Remote
from runner_installer.scripts import (
    pack,
    render_settings,
    script_text,
    supervision_settings,
)
from runpod_client import Error
from runpod_client.logs import get_logger

log = get_logger(__name__)
STOP_GRACE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Site:
    """A pod that has been looked at, and the package for it."""

    facts: PodFacts
    present: tuple[PodRunner, ...]
    download: Download
    local: Path


class Attempt:
    """One runner in the making: what it has on the pod, and how to take it back."""

    def __init__(
        self, remote: Remote, applier: Applier, site: Site, options: InstallOptions
    ) -> None:
        self._remote = remote
        self._options = options
        self._folders: list[str] = []
        self.applier = applier
        self.site = site
        self.account = Account()
        self.layout = Layout(root="", name="")

    async def make_folders(self, step: Step, spec: RunnerSpec) -> None:
        """Make folders and user, and remember them."""
        facts = self.site.facts
        self.layout = layout_of(facts, spec.name)
        self._folders.append(self.layout.folder)
        said = await self.apply(step, b"")
        planned = plan_account(spec.name, facts, self._options)
        self.account = parse_account(said, planned)
        self.layout = layout_of(facts, spec.name, self.account)

    async def apply(self, step: Step, stdin: bytes) -> str:
        """Carry out a step."""
        return await self.applier.apply(step, self.layout.folder, stdin)

    def stdin_for(self, step: Step, spec: RunnerSpec, enrolment: Enrolment) -> bytes:
        """Return what a step reads."""
        if step.stdin is Stdin.FILES:
            return pack(self._control_files(spec, enrolment))
        if step.stdin is Stdin.HOOKS:
            return pack(render_hooks(self._options))
        if step.stdin is Stdin.COMMAND and step.custom is not None:
            return step.custom.command.encode()
        if step.stdin is Stdin.TOKEN:
            return enrolment.secret.encode() + b"\n"
        if step.stdin is Stdin.JIT_CONFIG:
            # a runner that has registered itself is started without a secret
            is_jit = enrolment.kind is RegistrationKind.JIT
            return (enrolment.secret.encode() if is_jit else b"") + b"\n"
        return b""

    def _control_files(
        self, spec: RunnerSpec, enrolment: Enrolment
    ) -> dict[str, bytes]:
        account = self.account
        is_same = account.way == "same"
        settings = {
            "USER_WAY": account.way,
            "RUNNER_USER": "" if is_same else account.user,
            "RUNNER_UID": "" if account.uid is None else str(account.uid),
            "RUNNER_GID": "" if account.gid is None else str(account.gid),
            "RUNNER_HOME": account.home,
            "OWN_USER": "yes" if account.is_own else "no",
            "APP": self.layout.app,
            "INVARIANT_CULTURE": self._culture(),
            **supervision_settings(),
        }
        return {
            "settings": render_settings(settings),
            "supervise.sh": script_text("supervise").encode(),
            "record.json": render_record(
                scope=spec.scope,
                runner_id=enrolment.runner_id,
                labels=spec.all_labels,
            ),
        }

    def _culture(self) -> str:
        if self.site.facts.has_libicu is not False:
            return "no"
        return "ask" if self._options.install_libraries else "yes"

    async def clear(self, error: BaseException) -> None:
        """Take back what was begun on the pod, as far as it still answers."""
        for folder in self._folders:
            try:
                await pod_shell.stop_processes(
                    self._remote, folder, grace_seconds=STOP_GRACE_SECONDS
                )
                await pod_shell.delete_folder(self._remote, folder, keeps_log=True)
                if isinstance(error, InstallError) and not error.log:
                    error.log = await pod_shell.fetch_logs(self._remote, folder)
            except Error as trouble:
                # the failure that led here is what the user must read
                log.warning(
                    "runner_clear_failed",
                    error=type(trouble).__name__,
                    error_detail=str(trouble),
                )
