"""Unix users of a pod's own, although all simulated pods share this host.

Where the simulator is root and the kernel lets it, a pod's sshd runs in a mount
namespace in which /etc is a copy that is written apart and /home is the pod's own
folder: `useradd` there works for real and touches nothing of this host. Users of
different pods get different numbers, since all pods share one list of processes.

Everywhere else a pod has no users of its own; so that nothing in a root pod can make
one on this host by mistake, the commands that would are covered by ones that refuse.
"""

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# within the range every login.defs allows, far from what hosts give out
FIRST_UID = 200_000
UIDS_PER_POD = 200
PODS = 20_000
TRIAL_SECONDS = 10
# names a file that only the pod's own /etc has
MARK = "simulated-pod"
REFUSED = (
    *("useradd", "adduser", "userdel", "deluser", "usermod"),
    *("groupadd", "groupdel", "systemctl", "systemd-run"),
)
REFUSAL = """#!/bin/sh
echo "${0##*/}: a simulated pod cannot do this on this host" >&2
exit 1
"""


class PodUsers:
    """The users of one pod; `folder` is this class's own below the pod's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def guard(self) -> Path:
        """Return the folder of commands that refuse."""
        return self._folder / "guard"

    @property
    def homes(self) -> Path:
        """Return what the pod sees as /home."""
        return self._folder / "homes"

    def make(self) -> None:
        """Write everything; needed before `wrap`."""
        self.guard.mkdir(parents=True, exist_ok=True)
        for name in REFUSED:
            path = self.guard / name
            path.write_text(REFUSAL)
            path.chmod(0o755)
        upper, work = self._folder / "etc", self._folder / "work"
        for folder in (self.homes, upper, upper / "default", work):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        (upper / MARK).write_text("")
        (upper / "login.defs").write_text(render_login_defs(self._folder))
        (upper / "default" / "useradd").write_text("CREATE_MAIL_SPOOL=no\n")
        self._enter.write_text(self._render_enter())

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs this one where the pod's users are."""
        if not can_separate():
            return list(command)
        return [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", str(self._enter), *command),
        ]

    def session_lines(self) -> str:
        """Return what a login's script must do before anything else.

        A login that did not come through a wrapped server sees this host's own /etc.
        """
        if os.geteuid() != 0:
            return ""
        guard = shlex.quote(str(self.guard))
        return f"[ -e /etc/{MARK} ] || export PATH={guard}:$PATH\n"

    @property
    def _enter(self) -> Path:
        return self._folder / "enter"

    def _render_enter(self) -> str:
        upper, work = self._folder / "etc", self._folder / "work"
        options = shlex.quote(f"lowerdir=/etc,upperdir={upper},workdir={work}")
        return (
            # what cannot be mounted leaves the guard in force, which looks for MARK
            f"if mount --bind {shlex.quote(str(self.homes))} /home; then\n"
            f"  mount -t overlay overlay -o {options} /etc\n"
            "fi 2>/dev/null\n"
            "[ -d /run/systemd ] && mount -t tmpfs tmpfs /run/systemd 2>/dev/null\n"
            'exec "$@"\n'
        )


def render_login_defs(folder: Path) -> str:
    """Return the host's login.defs with numbers that are this pod's alone."""
    try:
        text = Path("/etc/login.defs").read_text(errors="replace")
    except OSError:
        text = ""
    kept = [
        line
        for line in text.splitlines()
        if not re.match(r"\s*(?:SYS_)?[UG]ID_M|\s*(?:SUB_[UG]ID|CREATE_HOME)", line)
    ]
    digest = hashlib.sha256(str(folder).encode()).digest()
    first = FIRST_UID + int.from_bytes(digest[:4], "big") % PODS * UIDS_PER_POD
    last = first + UIDS_PER_POD - 1
    own = [
        *(f"{kind}ID_MIN {first}" for kind in "UG"),
        *(f"{kind}ID_MAX {last}" for kind in "UG"),
        *(f"SUB_{kind}ID_COUNT 0" for kind in "UG"),
    ]
    return "\n".join((*kept, *own)) + "\n"


@functools.cache
def can_separate() -> bool:
    """Say whether this process may give a pod an /etc and a /home of its own."""
    if os.geteuid() != 0 or not Path("/home").is_dir():
        return False
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        upper, work = Path(folder) / "upper", Path(folder) / "work"
        upper.mkdir()
        work.mkdir()
        options = shlex.quote(f"lowerdir=/etc,upperdir={upper},workdir={work}")
        trial = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
                f"mount --bind {shlex.quote(folder)} /home && "
                f"mount -t overlay overlay -o {options} /etc",
            ],
            capture_output=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    return trial.returncode == 0
