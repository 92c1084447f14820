"""What is done to make a pod a runner, in order, as data. Pure but for the scripts' text.

Each step that acts on the pod either carries a check - where it holds the step is done
already and skipped - or may be carried out twice, so an interrupted installation can
simply be repeated. GitHub learns of the runner only when its package lies ready on the
pod: that costs least when something fails.
"""

import enum
import shlex
from dataclasses import dataclass

from runner_installer.facts import render_record
from runner_installer.layout import Layout, layout_of, plan_account
from runner_installer.model import Download, RunnerSpec
from runner_installer.pod_model import (
    Account,
    FailurePolicy,
    InstallOptions,
    PodFacts,
    RegistrationKind,
    StepPhase,
    StepSpec,
)
from runner_installer.scripts import (
    custom_command,
    inspect_command,
    probe_command,
    render_script,
    unit_name,
)

QUICK_SECONDS = 30.0
_UNPACK_SECONDS = 300.0
_LIBRARIES_SECONDS = 300.0


class Stdin(enum.Enum):
    """What a step's command reads; its bytes are known only while installing."""

    NOTHING = "nothing"
    FILES = "files"
    HOOKS = "hooks"
    JIT_CONFIG = "jit_config"
    TOKEN = "registration_token"  # noqa: S105  # what it is, not what it says
    COMMAND = "command"


class Actor(enum.StrEnum):
    """Where a step happens."""

    HERE = "here"
    POD = "pod"
    GITHUB = "github"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of an installation.

    Attributes:
        command: Run on the pod by its shell; empty for steps elsewhere.
        check: A command that succeeds where the step is done already.
        custom: The user's own step this one runs.
    """

    name: str
    actor: Actor
    summary: str
    command: str = ""
    check: str = ""
    stdin: Stdin = Stdin.NOTHING
    timeout_seconds: float = QUICK_SECONDS
    custom: StepSpec | None = None


def plan_preparation(
    spec: RunnerSpec,
    facts: PodFacts,
    download: Download,
    options: InstallOptions | None = None,
) -> tuple[Step, ...]:
    """Return the steps before GitHub learns of the runner."""
    options = options or InstallOptions()
    layout = layout_of(facts, spec.name)
    tarball = shlex.quote(layout.tarball(download))
    custom = _custom_steps(layout, options, StepPhase.BEFORE_INSTALL)
    return (
        Step(
            name="tarball",
            actor=Actor.HERE,
            summary=f"have {download.filename} here, verified",
        ),
        plan_folders(spec, facts, options),
        *custom,
        Step(
            name="upload",
            actor=Actor.POD,
            summary=f"send the package to {layout.tarball(download)}",
            check=f"echo {download.sha256}'  '{tarball} | sha256sum -c - >/dev/null 2>&1",
            timeout_seconds=_UNPACK_SECONDS,
        ),
    )


def plan_folders(spec: RunnerSpec, facts: PodFacts, options: InstallOptions) -> Step:
    """Return the step that makes folders and user; what it prints is the account."""
    layout = layout_of(facts, spec.name)
    account = plan_account(spec.name, facts, options)
    record = render_record(scope=spec.scope, runner_id=None, labels=spec.all_labels)
    is_same = account.way == "same"
    who = f"as {account.user or 'the SSH user'}"
    if not is_same:
        who = f"and the user {account.user}"
    if is_same and facts.is_root:
        who = "as root (its jobs own the pod)"
    return Step(
        name="folders",
        actor=Actor.POD,
        summary=f"make {layout.folder} {who}",
        command=render_script(
            "folders",
            RUNNER_FOLDER=layout.folder,
            RUNNER_USER="" if is_same else account.user,
            USER_TOOL=facts.user_tool,
            HOMES=f"{options.folder}/homes" if options.folder else "",
            OWN_USER="yes" if account.is_own else "no",
            RECORD=record.decode().strip(),
        ),
    )


def plan_runner(  # what a runner is made of
    spec: RunnerSpec,
    facts: PodFacts,
    download: Download,
    options: InstallOptions | None = None,
    account: Account | None = None,
    *,
    kind: RegistrationKind = RegistrationKind.JIT,
    web_url: str = "",
) -> tuple[Step, ...]:
    """Return the steps from the registration on; its last ones are the verification.

    Args:
        web_url: Of the scope, for a registration by token.
    """
    options = options or InstallOptions()
    account = account or plan_account(spec.name, facts, options)
    layout = layout_of(facts, spec.name, account)
    steps = [
        Step(
            name="register",
            actor=Actor.GITHUB,
            summary=f"register {spec.name} at {spec.scope} for one job "
            f"with the labels {', '.join(spec.all_labels)}",
        ),
        Step(
            name="record",
            actor=Actor.POD,
            summary="note what it is registered for, and bring its supervisor",
            command=_files(layout, "control"),
            stdin=Stdin.FILES,
        ),
        _unpack(layout, download),
        Step(
            name="hooks",
            actor=Actor.POD,
            summary="bring the hooks that note its job",
            command=_files(layout, "hooks"),
            stdin=Stdin.HOOKS,
        ),
    ]
    if options.install_libraries and facts.is_root and facts.has_libicu is not True:
        steps.append(_libraries(layout))
    if kind is RegistrationKind.TOKEN:
        steps.append(_configure(spec, facts, layout, web_url))
    steps += [_launch(layout, kind), _verify(options)]
    return (*steps, *_custom_steps(layout, options, StepPhase.AFTER_INSTALL))


def plan_steps(
    spec: RunnerSpec,
    facts: PodFacts,
    download: Download,
    options: InstallOptions | None = None,
) -> tuple[Step, ...]:
    """Return a whole installation, from the probe on."""
    options = options or InstallOptions()
    kind = options.registration
    if kind is RegistrationKind.AUTO:
        kind = RegistrationKind.JIT
    account = plan_account(spec.name, facts, options)
    if account.way != "same":
        # where the system puts it is known only once the user is there
        account = Account(
            user=account.user,
            home=f"~{account.user}",
            way=account.way,
            is_own=account.is_own,
        )
    probe = Step(
        name="probe",
        actor=Actor.POD,
        summary="ask the pod what it is and what runners it has",
        command=probe_command(options.folder),
    )
    return (
        probe,
        *plan_preparation(spec, facts, download, options),
        *plan_runner(spec, facts, download, options, account, kind=kind),
    )


def _unpack(layout: Layout, download: Download) -> Step:
    marker = shlex.quote(f"{layout.folder}/.unpacked")
    return Step(
        name="unpack",
        actor=Actor.POD,
        summary=f"unpack into {layout.app}",
        command=render_script(
            "unpack",
            RUNNER_FOLDER=layout.folder,
            TARBALL=layout.tarball(download),
            SHA256=download.sha256,
        ),
        check=f'read -r sum 2>/dev/null <{marker} && test "$sum" = {download.sha256} '
        f"&& test -x {shlex.quote(layout.app)}/run.sh",
        timeout_seconds=_UNPACK_SECONDS,
    )


def _files(layout: Layout, where: str) -> str:
    return render_script("files", RUNNER_FOLDER=layout.folder, WHERE=where)


def _libraries(layout: Layout) -> Step:
    return Step(
        name="libraries",
        actor=Actor.POD,
        summary="install libicu with the package's installdependencies.sh",
        command=render_script("libraries", RUNNER_FOLDER=layout.folder),
        timeout_seconds=_LIBRARIES_SECONDS,
    )


def _configure(spec: RunnerSpec, facts: PodFacts, layout: Layout, web_url: str) -> Step:
    return Step(
        name="configure",
        actor=Actor.POD,
        summary="register it with config.sh (registration token on stdin)",
        command=render_script(
            "configure",
            RUNNER_FOLDER=layout.folder,
            CONFIG_URL=web_url,
            CONFIG_NAME=spec.name,
            CONFIG_LABELS=",".join(spec.all_labels),
            CONFIG_WORK=spec.work_folder,
            INVARIANT_CULTURE="yes" if facts.has_libicu is False else "no",
        ),
        stdin=Stdin.TOKEN,
        timeout_seconds=120.0,
    )


def _launch(layout: Layout, kind: RegistrationKind) -> Step:
    is_jit = kind is not RegistrationKind.TOKEN
    return Step(
        name="launch",
        actor=Actor.POD,
        summary="start it under its supervisor"
        + (" (JIT config on stdin)" if is_jit else ""),
        command=render_script(
            "launch", RUNNER_FOLDER=layout.folder, UNIT=unit_name(layout.name)
        ),
        stdin=Stdin.JIT_CONFIG,
    )


def _verify(options: InstallOptions) -> Step:
    return Step(
        name="verify",
        actor=Actor.POD,
        summary="wait until it listens for jobs",
        command=inspect_command(options.folder),
    )


def _custom_steps(
    layout: Layout, options: InstallOptions, phase: StepPhase
) -> tuple[Step, ...]:
    return tuple(
        Step(
            name=step.name,
            actor=Actor.POD,
            summary=f"{phase}: {step.command.strip().splitlines()[0][:60]} (at most "
            f"{step.timeout_seconds} s; failing it: {_policy(step.on_failure)})",
            command=custom_command(
                layout.folder, name=step.name, timeout_seconds=step.timeout_seconds
            ),
            stdin=Stdin.COMMAND,
            timeout_seconds=step.timeout_seconds + QUICK_SECONDS,
            custom=step,
        )
        for step in options.steps_of(phase)
    )


def _policy(policy: FailurePolicy) -> str:
    return policy.replace("_", " ")
