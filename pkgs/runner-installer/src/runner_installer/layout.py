"""Where a runner goes on a pod, whom it runs as, and which pods cannot be one. Pure."""

from dataclasses import dataclass

from runner_installer.errors import InstallError
from runner_installer.model import Download
from runner_installer.pod_model import Account, InstallOptions, PodFacts
from runner_installer.scripts import user_name

# packed, unpacked, and a little for a job to start with
NEEDED_DISK_MB = 1200


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things lie on a pod.

    Attributes:
        root: The folder of all runners, the SSH user's alone.
        home: Of the runner's user; empty where that is the SSH user.
    """

    root: str
    name: str
    home: str = ""

    @property
    def cache(self) -> str:
        """Return the folder of packages that were sent."""
        return f"{self.root}/.cache"

    @property
    def folder(self) -> str:
        """Return this runner's folder: record, console, logs."""
        return f"{self.root}/{self.name}"

    @property
    def app(self) -> str:
        """Return where the package is unpacked, the runner's own folder."""
        if self.home:
            return f"{self.home}/actions-runner/{self.name}"
        return f"{self.folder}/runner"

    def tarball(self, download: Download) -> str:
        """Return where the package is sent to."""
        return f"{self.cache}/{download.filename}"


def layout_of(facts: PodFacts, name: str, account: Account | None = None) -> Layout:
    """Return where a runner's things go on a pod."""
    home = account.home if account is not None and account.way != "same" else ""
    return Layout(root=f"{facts.base}/actions-runner", name=name, home=home)


def check_facts(facts: PodFacts, options: InstallOptions | None = None) -> None:
    """Refuse a pod that cannot be a runner, before anything is done to it.

    Raises:
        InstallError: It lacks programs, space, or a way to run as another user.
    """
    options = options or InstallOptions()
    if facts.missing_programs:
        programs = ", ".join(facts.missing_programs)
        raise InstallError(
            f"the pod lacks {programs}",
            step="probe",
            hint="Install them in the image (packages bash, tar, gzip, util-linux, "
            "coreutils) or rent the pod with another image.",
        )
    if facts.base is None:
        where = options.folder or f"{facts.home}, /workspace and /tmp"
        raise InstallError(
            f"nothing can be written on the pod in {where}",
            step="probe",
            hint="Name a writable folder of the pod with --folder.",
        )
    if facts.free_disk_mb is not None and facts.free_disk_mb < NEEDED_DISK_MB:
        raise InstallError(
            f"the pod has {facts.free_disk_mb} MB free in {facts.base}, a runner "
            f"needs {NEEDED_DISK_MB} MB",
            step="probe",
            hint="Free some space there, name another place with --folder, or rent a "
            "pod with a larger container disk.",
        )
    _check_user(facts, options)


def _check_user(facts: PodFacts, options: InstallOptions) -> None:
    if facts.is_root:
        if options.as_root or (facts.user_way and facts.user_tool):
            return
        if options.user and facts.user_way:
            return
        lack = "setpriv, runuser or su" if not facts.user_way else "useradd or adduser"
        raise InstallError(
            f"the pod has no {lack}, so the runner cannot get a user of its own",
            step="probe",
            hint="Use an image that has it, or --as-root: its jobs then own the pod.",
        )
    if options.user and options.user != facts.user:
        raise InstallError(
            f"we log in as {facts.user}, who cannot run anything as {options.user}",
            step="probe",
            hint="Leave --user out, or log in as root.",
        )


def plan_account(name: str, facts: PodFacts, options: InstallOptions) -> Account:
    """Return whom the runner will run as, as far as that is known before it is made."""
    if not facts.is_root or options.as_root:
        return Account(user=facts.user)
    return Account(
        user=options.user or user_name(name),
        way=facts.user_way,
        is_own=not options.user,
    )
