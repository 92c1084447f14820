"""Loading the transport without what most users never use, for short-lived processes.

asyncssh loads python-pkcs11 where that is installed, and looks for liboqs and nettle by
running ldconfig, gcc and ld: together a third of a command's time. Tokens are loaded
where the settings or ssh_config may name one; the two libraries only add a key exchange
and MACs that we do not ask for. X.509 certificates, which asyncssh reads where pyOpenSSL
is installed, are never asked for either. asyncio speaks TLS where there is ssl, which
nothing does over its streams here: calls to RunPod's API have their own.
"""

import contextlib
import ctypes.util
import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from runpod_ssh.settings import SSHSettings

_UNUSED = {"oqs", "liboqs", "nettle", "libnettle", "libnettle-6"}
_TOKENS = "pkcs11"
_TLS = "ssl"
_CERTIFICATES = "asyncssh.crypto.x509"


def load_transport(settings: SSHSettings) -> None:
    """Import `runpod_ssh.connection`, unless it is there; have garbage collected."""
    if "asyncssh" in sys.modules:
        gc.enable()
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_collecting())
        stack.enter_context(_without_unused_libraries())
        with _without(_TLS):
            importlib.import_module("asyncio")
        stack.enter_context(_without(_CERTIFICATES))
        if not may_use_tokens(settings):
            stack.enter_context(_without(_TOKENS))
        importlib.import_module("runpod_ssh.connection")


def may_use_tokens(settings: SSHSettings) -> bool:
    """Return whether a login with these settings may need a PKCS#11 token."""
    if settings.pkcs11_provider:
        return True
    # an included file is not looked into: it may name one
    return _says_any(settings.ssh_config, ("pkcs11", "include"))


def may_detour(settings: SSHSettings) -> bool:
    """Return whether the way to a pod may be another than straight to its address."""
    if settings.jump:
        return True
    return _says_any(settings.ssh_config, ("proxy", "hostname", "match", "include"))


def _says_any(ssh_config: str, beginnings: tuple[str, ...]) -> bool:
    """Return whether a line of OpenSSH's configuration begins with one of these."""
    if ssh_config in {"", "none"}:
        return False
    try:
        text = Path(ssh_config).expanduser().read_text(errors="replace")
    except OSError:
        return False
    return any(
        line.strip().startswith(beginnings) for line in text.lower().splitlines()
    )


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Have no garbage looked for while modules load, nor in what they made, ever.

    It is looked for afterwards, also where it was not before.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Have imports of an optional module fail in the block, as if it were not there."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # Python's own way
    try:
        yield
    finally:
        if sys.modules.get(module, sys) is None:
            del sys.modules[module]


@contextlib.contextmanager
def _without_unused_libraries() -> Iterator[None]:
    """Have asyncssh not look for libraries whose functions we never ask for."""
    look = ctypes.util.find_library

    def find_library(name: str) -> str | None:
        return None if name in _UNUSED else look(name)

    ctypes.util.find_library = find_library
    try:
        yield
    finally:
        ctypes.util.find_library = look
