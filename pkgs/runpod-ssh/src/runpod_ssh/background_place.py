"""Where the background process of these settings listens, and who may listen there.

Its socket's name is a digest over all that decides where commands go and with which
keys, so that another account, profile or changed configuration never meets the wrong
process. Secrets enter the digest alone.

This module is on the way of every `runpod-ssh exec`, whose whole time it shares with
the interpreter's start: it imports os, and knows nothing of settings, click or SSH.
"""

import os
import stat
import sys

try:
    # hashlib itself takes as long to load as all the rest here
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROTOCOL = "1"
_PROJECT_FILE = "runpod.toml"
# what requests and the identities look at beside our own variables
_NAMES = {
    "HOME",
    "SSH_AUTH_SOCK",
    "CREDENTIALS_DIRECTORY",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
}
# it grows with every command
_AUDIT_FILE = "RUNPOD_SSH_AUDIT_FILE"
_PATH_ENDINGS = ("_FILE", "_DIR", "_HOME", "_CONFIG", "_PROVIDER")
# of a unix socket's address, the last byte of which is 0
_MAX_ADDRESS_BYTES = 107
_OFF = {"0", "false", "no", "off"}


class Place:
    """A background process' files; they need not exist."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name

    @property
    def socket_path(self) -> str:
        """Return where it listens."""
        return f"{self.folder}/{self.name}.sock"

    @property
    def lock_path(self) -> str:
        """Return the file that is locked as long as it lives."""
        return f"{self.folder}/{self.name}.lock"

    @property
    def log_path(self) -> str:
        """Return where it writes what it has to tell."""
        return f"{self.folder}/{self.name}.log"


def find_place(environ: "Mapping[str, str]", directory: str) -> Place | None:
    """Return the place of the settings in force, None where there can be none.

    That is: where the background process is switched off, on systems that do not tell
    who is at the other end of a socket, and where a path in the environment means
    something else in every folder.

    Args:
        directory: The working directory, where the search for a project's file starts.
    """
    if environ.get("RUNPOD_SSH_BACKGROUND", "").strip().lower() in _OFF:
        return None
    if not sys.platform.startswith("linux") or _has_relative_path(environ):
        return None
    digest = blake2b(digest_size=10)
    for fact in _facts(environ, directory):
        content = os.fsencode(fact)
        digest.update(len(content).to_bytes(8, "big") + content)
    return Place(find_folder(environ), digest.hexdigest())


def find_folder(environ: "Mapping[str, str]") -> str:
    """Return the folder all background processes of this user have in common."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return f"{runtime.rstrip('/')}/runpod-ssh"
    return f"/tmp/runpod-ssh-{os.geteuid()}"  # noqa: S108  # see is_private


def is_private(folder: str) -> bool:
    """Return whether it is a folder, no link to one, that only we can look into.

    Anybody may have made a folder in /tmp before us.
    """
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & 0o077
    )


def ensure_private(folder: str) -> bool:
    """Make the folder where it is missing; return whether it is ours alone."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102  # pathlib takes too long to load
    except FileExistsError:
        pass
    except OSError:
        return False
    return is_private(folder)


class Address:
    """What to bind or connect to for a socket's path, however long that is.

    A unix socket's address holds 107 bytes; past that the kernel is shown the folder
    as an open descriptor. Use it as a context manager.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _MAX_ADDRESS_BYTES:
            return self._path
        folder, _, name = self._path.rpartition("/")
        self._descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def __exit__(self, *_exception: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def find_project_file(directory: str) -> str:
    """Return the project's file in force, as `config_files` does; empty for none."""
    while True:
        path = os.path.join(directory, _PROJECT_FILE)  # noqa: PTH118  # see above
        if os.path.isfile(path):  # noqa: PTH113
            return path
        parent = os.path.dirname(directory)  # noqa: PTH120
        if parent == directory or os.path.exists(f"{directory}/.git"):  # noqa: PTH110
            return ""
        directory = parent


def find_user_file(environ: "Mapping[str, str]") -> str:
    """Return where the user's own configuration stands, as platformdirs has it."""
    folder = environ.get("XDG_CONFIG_HOME", "").strip()
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return f"{folder or home + '/.config'}/runpod/config.toml"


def _facts(environ: "Mapping[str, str]", directory: str) -> "Iterator[str]":
    yield PROTOCOL
    yield sys.executable
    yield from _code()
    yield str(os.geteuid())
    for name in sorted(filter(_decides, environ)):
        yield f"{name}={environ[name]}"
        is_read = name.startswith("RUNPOD_") and name.endswith("_FILE")
        if is_read and name != _AUDIT_FILE:
            yield _state_of(environ[name])
    yield _state_of(find_user_file(environ))
    yield _state_of(find_project_file(directory))


def _decides(name: str) -> bool:
    return (
        name.startswith("RUNPOD_") or name in _NAMES or name.lower().endswith("_proxy")
    )


def _code() -> "Iterator[str]":
    """Yield what tells one version of this package from another, upgraded in place."""
    folder = os.path.dirname(__file__)  # noqa: PTH120
    yield folder
    with os.scandir(folder) as entries:
        files = [e for e in entries if e.name.endswith(".py")]
    yield str(sorted((e.name, e.stat().st_mtime_ns) for e in files))


def _state_of(path: str) -> str:
    if not path:
        return "none"
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return f"{path} absent"
    return f"{path} {status.st_mtime_ns} {status.st_size} {status.st_ino}"


def _has_relative_path(environ: "Mapping[str, str]") -> bool:
    return any(
        value and not value.startswith(("/", "~"))
        for name, value in environ.items()
        if _decides(name) and name.endswith(_PATH_ENDINGS) and value != "none"
    )
