"""A pod's files: container disk, volume, and the script every SSH login runs.

    <state>/pods/<pod id>/home        the container disk, wiped at every stop, with
                                      .ssh/authorized_keys as images write it
    <state>/pods/<pod id>/tmp         its /tmp, wiped too
    <state>/pods/<pod id>/workspace   the volume, deleted with the pod
    <state>/volumes/<volume id>       a network volume, which outlives its pods
    <state>/pods/<pod id>/etc         host key, session script, sshd's files

It starts nothing and knows no API.
"""

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runpod_sim.model import Pod
from runpod_sim.pod_users import PodUsers

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SSH_PORT = 22


@dataclass(frozen=True)
class PodDirectory:
    """Where one pod's files lie; `shared` is its network volume, if it has one."""

    root: Path
    shared: Path | None = None

    @property
    def home(self) -> Path:
        """Return the container disk."""
        return self.root / "home"

    @property
    def workspace(self) -> Path:
        """Return the volume."""
        return self.shared or self.root / "workspace"

    @property
    def temporary(self) -> Path:
        """Return the pod's place for temporary files."""
        return self.root / "tmp"

    @property
    def etc(self) -> Path:
        """Return where keys and configuration lie."""
        return self.root / "etc"

    @property
    def session_script(self) -> Path:
        """Return the script that every login runs."""
        return self.etc / "session"

    @property
    def host_key(self) -> Path:
        """Return the private host key."""
        return self.etc / "ssh_host_ed25519_key"

    @property
    def authorized_keys(self) -> Path:
        """Return the keys that may log in, where root's keys are in any image."""
        return self.home / ".ssh" / "authorized_keys"

    @property
    def users(self) -> PodUsers:
        """Return the pod's own Unix users."""
        return PodUsers(self.root / "etc" / "users")

    @property
    def sshd_log(self) -> Path:
        """Return where sshd reports."""
        return self.root / "sshd.log"

    def make(self) -> None:
        """Make an empty container disk; a volume that is there stays."""
        self.wipe()
        for folder in (self.home, self.temporary, self.workspace, self.etc):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def wipe(self) -> None:
        """Remove what does not survive a stop."""
        for folder in (self.home, self.temporary, self.etc):
            shutil.rmtree(folder, ignore_errors=True)

    def delete(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def write_access(
        self, pod: Pod, env: Mapping[str, str], host_key: str, bash: str
    ) -> None:
        """Write host key, authorized keys and session script for this start."""
        self.users.make()
        write_private(self.host_key, host_key)
        self.authorized_keys.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(self.authorized_keys, authorized_keys_text(pod))
        write_private(self.session_script, render_session(self, env, bash))
        self.session_script.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, in one step."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def authorized_keys_text(pod: Pod) -> str:
    """Return the pod's PUBLIC_KEY as an authorized_keys file."""
    lines = dict(pod.spec.env).get("PUBLIC_KEY", "").splitlines()
    return "".join(f"{line.strip()}\n" for line in lines if line.strip())


def pod_environment(
    pod: Pod, directory: PodDirectory, public_ports: Mapping[int, int]
) -> dict[str, str]:
    """Return the variables a process in the pod sees."""
    # rule SIM-ENV-1
    env = {name: value for name, value in pod.spec.env if ENV_NAME.fullmatch(name)}
    env.pop("PUBLIC_KEY", None)
    env |= {
        "HOME": str(directory.home),
        "USER": "root",
        "LOGNAME": "root",
        "TMPDIR": str(directory.temporary),
        "TMUX_TMPDIR": str(directory.temporary),
        "WORKSPACE": str(directory.workspace),
        "RUNPOD_POD_ID": pod.id,
        "RUNPOD_DC_ID": pod.data_center_id,
        "RUNPOD_POD_HOSTNAME": pod.host_id,
        "RUNPOD_GPU_COUNT": str(pod.gpu_count),
        "RUNPOD_CPU_COUNT": str(pod.vcpu_count),
        "RUNPOD_PUBLIC_IP": "127.0.0.1",
    }
    env |= {
        f"RUNPOD_TCP_PORT_{private}": str(public)
        for private, public in public_ports.items()
    }
    if pod.spec.network_volume_id:
        env["RUNPOD_VOLUME_ID"] = pod.spec.network_volume_id
    return env


def render_session(directory: PodDirectory, env: Mapping[str, str], bash: str) -> str:
    """Return the script that stands in for the container's login shell."""
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items())
    )
    home = shlex.quote(str(directory.home))
    shell = shlex.quote(bash)
    return (
        f"#!{bash}\n"
        f"{exports}"
        f"export SHELL={shell}\n"
        f"{directory.users.session_lines()}"
        f"cd {home} || exit 1\n"
        'if [ -z "${SSH_ORIGINAL_COMMAND+set}" ]; then\n'
        f"  exec -a -bash {shell}\n"
        "fi\n"
        "command=$SSH_ORIGINAL_COMMAND\n"
        "unset SSH_ORIGINAL_COMMAND\n"
        f'exec {shell} -c "$command"\n'
    )
