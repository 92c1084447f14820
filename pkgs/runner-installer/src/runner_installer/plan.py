"""What is done to make a pod a runner, in order, as data. Pure but for the scripts' text.

Each step that acts on the pod carries a check: where it holds the step is done already
and skipped, so an interrupted installation can simply be repeated. The order costs
least when something fails: GitHub learns of the runner only when its package lies
ready on the pod.
"""

import enum
import importlib.resources
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from runner_installer.errors import InstallError
from runner_installer.model import Download, PodFacts, RunnerSpec

# packed, unpacked, and a little for a job to start with
NEEDED_DISK_MB = 1200
LOG_TAIL_BYTES = 16_384
_QUICK_SECONDS = 30.0
_UNPACK_SECONDS = 300.0


class Stdin(enum.Enum):
    """What a step's command reads; its bytes are known only while installing."""

    NOTHING = "nothing"
    RECORD = "record"
    JIT_CONFIG = "jit_config"


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
    """

    name: str
    actor: Actor
    summary: str
    command: str = ""
    check: str = ""
    stdin: Stdin = Stdin.NOTHING
    timeout_seconds: float = _QUICK_SECONDS


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things lie on a pod."""

    home: str
    name: str

    @property
    def root(self) -> str:
        """Return the folder of all runners."""
        return f"{self.home}/actions-runner"

    @property
    def cache(self) -> str:
        """Return the folder of packages that were sent."""
        return f"{self.root}/.cache"

    @property
    def folder(self) -> str:
        """Return this runner's folder."""
        return f"{self.root}/{self.name}"

    def tarball(self, download: Download) -> str:
        """Return where the package is sent to."""
        return f"{self.cache}/{download.filename}"


def check_facts(facts: PodFacts) -> None:
    """Refuse a pod that cannot be a runner, before anything is done to it.

    Raises:
        InstallError: It lacks programs or space.
    """
    if facts.missing_programs:
        programs = ", ".join(facts.missing_programs)
        raise InstallError(
            f"the pod lacks {programs}",
            step="probe",
            hint="Install them in the image (packages bash, tar, gzip, util-linux, "
            "coreutils) or rent the pod with another image.",
        )
    if facts.free_disk_mb is not None and facts.free_disk_mb < NEEDED_DISK_MB:
        raise InstallError(
            f"the pod has {facts.free_disk_mb} MB free in {facts.home}, a runner "
            f"needs {NEEDED_DISK_MB} MB",
            step="probe",
            hint="Free some space there or rent a pod with a larger container disk.",
        )


def plan_preparation(
    spec: RunnerSpec, facts: PodFacts, download: Download
) -> tuple[Step, ...]:
    """Return the steps before GitHub learns of the runner."""
    layout = Layout(home=facts.home, name=spec.name)
    tarball = shlex.quote(layout.tarball(download))
    return (
        Step(
            name="tarball",
            actor=Actor.HERE,
            summary=f"have {download.filename} here, verified",
        ),
        Step(
            name="folders",
            actor=Actor.POD,
            summary=f"make {layout.cache}",
            command=f"umask 077; mkdir -p {shlex.quote(layout.cache)}",
            check=f"test -d {shlex.quote(layout.cache)}",
        ),
        Step(
            name="upload",
            actor=Actor.POD,
            summary=f"send the package to {layout.tarball(download)}",
            check=f"echo {download.sha256}'  '{tarball} | sha256sum -c - >/dev/null 2>&1",
            timeout_seconds=_UNPACK_SECONDS,
        ),
    )


def plan_runner(
    spec: RunnerSpec, facts: PodFacts, download: Download
) -> tuple[Step, ...]:
    """Return the steps from the registration on; its last one is the verification."""
    layout = Layout(home=facts.home, name=spec.name)
    folder = shlex.quote(layout.folder)
    marker = shlex.quote(f"{layout.folder}/.unpacked")
    record = shlex.quote(f"{layout.folder}/record.json")
    return (
        Step(
            name="register",
            actor=Actor.GITHUB,
            summary=f"register {spec.name} at {spec.scope} for one job "
            f"with the labels {', '.join(spec.all_labels)}",
        ),
        Step(
            name="unpack",
            actor=Actor.POD,
            summary=f"unpack into {layout.folder}",
            command=f"umask 077; mkdir -p {folder} && umask 022 && "
            f"tar -xozf {shlex.quote(layout.tarball(download))} -C {folder} && "
            # the package's own entry for the folder has opened it to everyone
            f"chmod 700 {folder} && echo {download.sha256} >{marker}.tmp && mv {marker}.tmp {marker}",
            check=f"read -r sum 2>/dev/null <{marker} && "
            f'test "$sum" = {download.sha256}',
            timeout_seconds=_UNPACK_SECONDS,
        ),
        Step(
            name="record",
            actor=Actor.POD,
            summary="note beside it what it is registered for",
            command=f"umask 077; cat >{record}.tmp && mv {record}.tmp {record}",
            stdin=Stdin.RECORD,
        ),
        Step(
            name="launch",
            actor=Actor.POD,
            summary="start it in a session of its own (JIT config on stdin)",
            command=render_script(
                "launch",
                RUNNER_FOLDER=layout.folder,
                INVARIANT_CULTURE="yes" if facts.has_libicu is False else "no",
            ),
            stdin=Stdin.JIT_CONFIG,
        ),
        Step(
            name="verify",
            actor=Actor.POD,
            summary="wait until it listens for jobs",
            command=inspect_command(),
        ),
    )


def plan_steps(
    spec: RunnerSpec, facts: PodFacts, download: Download
) -> tuple[Step, ...]:
    """Return a whole installation, from the probe on."""
    probe = Step(
        name="probe",
        actor=Actor.POD,
        summary="ask the pod what it is and what runners it has",
        command=probe_command(),
    )
    return (
        probe,
        *plan_preparation(spec, facts, download),
        *plan_runner(spec, facts, download),
    )


def probe_command() -> str:
    """Return the command whose output `facts.parse_facts` reads."""
    return render_script("probe")


def inspect_command() -> str:
    """Return the command whose output `facts.parse_runners` reads."""
    return render_script("inspect", LOG_BYTES=str(LOG_TAIL_BYTES))


def stop_command(folder: str, *, grace_seconds: int) -> str:
    """Return the command that ends a runner's processes."""
    return render_script("stop", RUNNER_FOLDER=folder, GRACE_SECONDS=str(grace_seconds))


def delete_command(folder: str) -> str:
    """Return the command that deletes a runner's folder."""
    return render_script("delete", RUNNER_FOLDER=folder)


def render_script(name: str, /, **variables: str) -> str:
    """Return a command line that runs a script with these variables.

    It leaves stdin to the script, and works whatever the user's login shell is: only
    single quotes are used.
    """
    text = _asset("process") + _asset(name)
    return render_command(["sh", "-c", text], variables)


def render_command(argv: list[str], variables: Mapping[str, str]) -> str:
    """Quote a command line with variables in front."""
    pairs = [f"{key}={value}" for key, value in variables.items()]
    return shlex.join([*(["env", *pairs] if pairs else []), *argv])


def _asset(name: str) -> str:
    folder = importlib.resources.files("runner_installer") / "assets"
    return folder.joinpath(f"{name}.sh").read_text()
