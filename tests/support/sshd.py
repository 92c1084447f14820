"""A real OpenSSH server on the loopback, as close to a pod's own as a test can have.

`sshd` starts one per test: an ephemeral port, an ed25519 host key of its own, one
authorized key, the login name root. In a build sandbox, where the user is no root and
has no shell, RUNPOD_SIM_NSS_WRAPPER names libnss_wrapper.so and maps root to the
present user.
"""

import base64
import contextlib
import functools
import hashlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runpod_client import SSHAddress
from support.waiting import wait_for

START_SECONDS = 10.0
INSTALL = "install it: apt-get install openssh-server (Nix: pkgs.openssh)"


def find_program(name: str) -> str:
    """Return a program's path; a missing one fails the run."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"the tests need {name}; {INSTALL}", pytrace=False)
    return found


def free_port() -> int:
    """Return a port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Sshd:
    """One server: where it is, how to log in, and ways to trouble it."""

    folder: Path
    home: Path
    identity_file: Path
    environ: dict[str, str]
    port: int = 0
    extra_config: str = ""
    max_startups: str = "100"
    path: str = field(default_factory=lambda: os.environ["PATH"])
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> SSHAddress:
        return SSHAddress(host="127.0.0.1", port=self.port)

    @property
    def fingerprint(self) -> str:
        """Return the host key's SHA256 fingerprint, computed from the file."""
        blob = (self.folder / "host_key.pub").read_text().split()[1]
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def log_text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it on its port, or on a free one; return when it greets."""
        wanted = self.port
        for _attempt in range(5):
            self.port = wanted or free_port()
            if self._try_start():
                return
        pytest.fail(f"sshd did not start; it said:\n{self.log_text}", pytrace=False)

    def _try_start(self) -> bool:
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\n"
            f"HostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\n"
            "PidFile none\nPrintMotd no\nPrintLastLog no\nUseDNS no\n"
            f"MaxStartups {self.max_startups}\n"
            f"SetEnv PATH={self.path} HOME={self.home}\n"
            f"{no_penalties()}{self.extra_config}\n"
        )
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [find_program("sshd"), "-D", "-e", "-f", str(config)],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        process = self.process
        state = wait_for(
            lambda: "dead" if process.poll() is not None else self._greets(),
            timeout_seconds=START_SECONDS,
            what=f"sshd greets; it said {self.log_text!r}",
        )
        return state == "up"

    def _greets(self) -> str | None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as probe,
        ):
            return "up" if probe.recv(4) == b"SSH-" else None
        return None

    def new_host_key(self) -> None:
        """Replace the host key; takes effect at the next start."""
        make_key(self.folder / "host_key", self.environ)

    def restart(self, *, with_new_host_key: bool) -> None:
        """Stop it and start it again on the same port."""
        self.stop()
        if with_new_host_key:
            self.new_host_key()
        self.start()

    def pause(self) -> None:
        """Freeze it and its sessions: connections stay, nothing answers."""
        frozen: set[int] = set()
        # one that is frozen forks no more; what it forked before shows by then
        while new := set(self.family()) - frozen:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            frozen |= new

    def stop(self) -> None:
        """End it and every session it has."""
        if self.process is None:
            return
        # parents first: a session that outlives its command would report its end
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=START_SECONDS)
        self.process = None

    def family(self) -> list[int]:
        """Return the server's process and all its descendants."""
        if self.process is None:
            return []
        family = [self.process.pid]
        parents = parents_by_pid()
        for pid in family:
            family.extend(child for child, parent in parents.items() if parent == pid)
        return family


@functools.cache
def no_penalties() -> str:
    """Return what keeps sshd from shutting out a test for what it does on purpose.

    From OpenSSH 9.8 on it refuses an address for a while after refused logins.
    """
    known = subprocess.run(
        [find_program("sshd"), "-T", "-f", "/dev/null", "-o", "PerSourcePenalties=no"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    is_known = b"PerSourcePenalties" not in known.stderr
    return "PerSourcePenalties no\n" if is_known else ""


def parents_by_pid() -> dict[int, int]:
    """Return each living process' parent."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                text = (entry / "stat").read_text()
                parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return parents


def make_key(path: Path, environ: Mapping[str, str]) -> None:
    """Make an ed25519 key pair without passphrase, replacing what is there."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(
        [find_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)],
        check=True,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        timeout=30,
    )


def shimmed_environ(folder: Path, home: Path) -> dict[str, str]:
    """Return the environment sshd, ssh and ssh-keygen need on this machine."""
    environ = dict(os.environ)
    wrapper = os.environ.get("RUNPOD_SIM_NSS_WRAPPER")
    if not wrapper:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        return environ
    uid, gid = os.getuid(), os.getgid()
    shell = find_program("bash")
    (folder / "passwd").write_text(
        f"root:x:{uid}:{gid}::{home}:{shell}\nsshd:x:74:74::/:/bin/false\n"
    )
    (folder / "group").write_text(f"root:x:{gid}:\nsshd:x:74:\n")
    environ.update(
        LD_PRELOAD=wrapper,
        NSS_WRAPPER_PASSWD=str(folder / "passwd"),
        NSS_WRAPPER_GROUP=str(folder / "group"),
    )
    return environ


SshdFactory = Callable[..., Sshd]


@pytest.fixture
def sshd_factory(tmp_path: Path) -> Iterator[SshdFactory]:
    """Make servers; each lives until the test ends."""
    servers: list[Sshd] = []

    def make(
        *,
        extra_config: str = "",
        port: int = 0,
        path: str = os.environ["PATH"],
        max_startups: str = "100",
    ) -> Sshd:
        folder = tmp_path / f"sshd{len(servers)}"
        home = folder / "home"
        home.mkdir(parents=True)
        environ = shimmed_environ(folder, home)
        server = Sshd(
            folder=folder,
            home=home,
            identity_file=folder / "identity",
            environ=environ,
            port=port,
            extra_config=extra_config,
            max_startups=max_startups,
            path=path,
        )
        make_key(server.identity_file, environ)
        shutil.copy(folder / "identity.pub", folder / "authorized_keys")
        server.new_host_key()
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(sshd_factory: SshdFactory) -> Sshd:
    """One server, started."""
    return sshd_factory()
