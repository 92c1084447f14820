"""Finding a usable OpenSSH server on this host, and its configuration for a pod.

It looks on PATH alone, so that hiding sshd there hides it. It starts no server.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runpod_sim.asyncssh_server import generate_host_key
from runpod_sim.pod_directory import PodDirectory, write_private

NSS_WRAPPER_VARIABLE = "RUNPOD_SIM_NSS_WRAPPER"
NSS_WRAPPER_PLACES = (
    "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "/usr/lib/aarch64-linux-gnu/libnss_wrapper.so",
    "/usr/lib64/libnss_wrapper.so",
    "/usr/lib/libnss_wrapper.so",
)
SFTP_PLACES = (
    "/usr/lib/openssh",
    "/usr/libexec/openssh",
    "/usr/lib/ssh",
    "/usr/libexec",
)
INSTALL_HINT = "install it (Debian: apt-get install openssh-server)"
VERSION_SECONDS = 10
PRIVILEGE_SEPARATION_USER = "sshd"
# OpenSSH 9.8 began to punish an address for failed logins; all pods share this one.
FIRST_WITH_PENALTIES = (9, 8)


class OpenSSHUnusableError(Exception):
    """No sshd on this host can serve pods; the message says why and what to do."""


@dataclass(frozen=True)
class OpenSSH:
    """A usable sshd.

    Args:
        nss_wrapper: The library that gives sshd the users it wants: the present one
            as root, its own for privilege separation. None where it needs no help.
    """

    sshd: str
    bash: str
    sftp_server: str | None
    version: tuple[int, int]
    nss_wrapper: str | None = None
    path: str = field(default="", repr=False)

    def environment(self, directory: PodDirectory) -> dict[str, str]:
        """Return sshd's own environment, writing the user database it may need."""
        return self._environment(directory.etc, directory.home)

    def _environment(self, etc: Path, home: Path) -> dict[str, str]:
        env = {"PATH": self.path}
        if self.nss_wrapper is None:
            return env
        user = f"root:x:{os.getuid()}:{os.getgid()}::{home}:{self.bash}\n"
        keeper = f"{PRIVILEGE_SEPARATION_USER}:x:74:74::/:/bin/false\n"
        passwd, group = etc / "passwd", etc / "group"
        write_private(passwd, user + keeper)
        write_private(group, f"root:x:{os.getgid()}:\n")
        return env | {
            "LD_PRELOAD": self.nss_wrapper,
            "NSS_WRAPPER_PASSWD": str(passwd),
            "NSS_WRAPPER_GROUP": str(group),
        }

    def find_complaint(self) -> str:
        """Return what sshd says against being started here, whoever asks it."""
        with tempfile.TemporaryDirectory(prefix="runpod-sim-sshd-") as folder:
            env = self._environment(Path(folder), Path(folder))
            # without a key it stops at that, before it has looked at anything else
            key = Path(folder) / "host_key"
            write_private(key, generate_host_key("trial").private_text)
            return _ask([self.sshd, "-t", "-f", os.devnull, "-h", str(key)], env)

    def write_config(self, directory: PodDirectory, port: int) -> Path:
        """Write the configuration for one pod and return its path."""
        lines = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {directory.host_key}",
            f"AuthorizedKeysFile {directory.authorized_keys}",
            f"ForceCommand {directory.session_script}",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PidFile none",
            "PrintMotd no",
            "AcceptEnv LANG LC_*",
        ]
        if self.sftp_server is not None:
            lines.append(f"Subsystem sftp {self.sftp_server}")
        if self.version >= FIRST_WITH_PENALTIES:
            lines.append("PerSourcePenalties no")
        path = directory.etc / "sshd_config"
        write_private(path, "\n".join(lines) + "\n")
        return path

    def command(self, config: Path) -> list[str]:
        """Return the command that serves a pod; sshd wants its absolute path."""
        return [self.sshd, "-D", "-e", "-f", str(config)]


def find_openssh(search_path: str) -> OpenSSH:
    """Return a usable sshd.

    Raises:
        OpenSSHUnusableError: There is none, with the reason and the cure.
    """
    sshd = shutil.which("sshd", path=search_path)
    bash = shutil.which("bash", path=search_path)
    if bash is None:
        raise OpenSSHUnusableError("bash is not on PATH: install bash")
    if sshd is None:
        raise OpenSSHUnusableError(f"sshd is not on PATH: {INSTALL_HINT}")
    wrapper = None
    lack = find_lack_of_rights()
    if lack is not None:
        wrapper = find_nss_wrapper()
        if wrapper is None:
            raise OpenSSHUnusableError(
                f"{lack}: install libnss-wrapper"
                f" or set {NSS_WRAPPER_VARIABLE} to libnss_wrapper.so"
            )
    sshd = str(Path(sshd).absolute())
    found = OpenSSH(
        sshd=sshd,
        bash=bash,
        sftp_server=find_sftp_server(sshd),
        version=read_version(sshd),
        nss_wrapper=wrapper,
        path=search_path,
    )
    make_privilege_separation_directory(found)
    return found


def find_lack_of_rights() -> str | None:
    """Return why sshd could not serve root here by itself, None where it can."""
    if os.geteuid() != 0:
        return "sshd cannot log root in without being root"
    try:
        # a program from Nix, say, on a host where no sshd was ever set up
        pwd.getpwnam(PRIVILEGE_SEPARATION_USER)
    except KeyError:
        return f"this host has no user {PRIVILEGE_SEPARATION_USER}, which sshd needs"
    return None


def find_nss_wrapper() -> str | None:
    """Return the path of libnss_wrapper.so, None where it is not installed."""
    named = os.environ.get(NSS_WRAPPER_VARIABLE)
    places = (named,) if named else NSS_WRAPPER_PLACES
    return next((place for place in places if place and Path(place).exists()), None)


def find_sftp_server(sshd: str) -> str | None:
    """Return the sftp-server that belongs to this sshd, None where there is none."""
    beside = Path(sshd).resolve().parent.parent / "libexec"
    for place in (beside, *(Path(place) for place in SFTP_PLACES)):
        candidate = place / "sftp-server"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return None


def _ask(command: list[str], env: Mapping[str, str] | None = None) -> str:
    try:
        answer = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpenSSHUnusableError(
            f"{command[0]} does not run ({error}): {INSTALL_HINT}"
        ) from error
    return answer.stdout + answer.stderr


def read_version(sshd: str) -> tuple[int, int]:
    """Return sshd's major and minor version, (0, 0) where it does not say."""
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", _ask([sshd, "-V"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def make_privilege_separation_directory(openssh: OpenSSH) -> None:
    """Make the empty directory a root sshd insists on, where it is missing."""
    if os.geteuid() != 0:
        return
    # The path is compiled in; sshd names it when it misses it.
    found = re.search(
        r"Missing privilege separation directory: (/\S+)", openssh.find_complaint()
    )
    if found:
        try:
            Path(found[1]).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise OpenSSHUnusableError(
                f"sshd needs the directory {found[1]}: make it as root ({error})"
            ) from error
