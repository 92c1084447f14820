"""Lending a pod's key to the user's ssh-agent, through OpenSSH's own ssh-add.

The key goes to ssh-add through a pipe: in the clear it stands in memory alone.
"""

import re
import subprocess
from collections.abc import Mapping

from runpod_client import ConfigError

_SECONDS = 15.0
_LIFETIME = re.compile(r"(?:\d{1,6}[smhdwSMHDW]?){1,5}")


def check_lifetime(text: str) -> None:
    """Return if this is a time span as ssh-add takes it, for instance `8h`.

    Raises:
        ConfigError: It is none.
    """
    if not _LIFETIME.fullmatch(text):
        raise ConfigError(f"{text!r} is no time span", hint="For instance: 8h, 30m")


def is_loaded(public_key: str, environ: Mapping[str, str]) -> bool:
    """Return whether the agent holds the key.

    Raises:
        ConfigError: There is no agent.
    """
    listed = _run(["ssh-add", "-L"], b"", environ)
    return public_key.split()[1].encode() in listed.stdout.split()


def load(key: bytes, *, lifetime: str, environ: Mapping[str, str]) -> None:
    """Have the agent hold a private key for a time.

    Args:
        key: In the clear.
        lifetime: A text that `check_lifetime` lets pass.

    Raises:
        ConfigError: There is no agent, or it refuses.
    """
    done = _run(["ssh-add", "-q", "-t", lifetime, "-"], key, environ)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(f"ssh-agent does not take the key: {said}")


def _run(
    command: list[str], stdin: bytes, environ: Mapping[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    if not environ.get("SSH_AUTH_SOCK"):
        raise _no_agent("SSH_AUTH_SOCK is not set")
    try:
        done = subprocess.run(
            command,
            input=stdin,
            env=dict(environ),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError(
            "there is no ssh-add", hint="Install OpenSSH's client."
        ) from None
    except subprocess.TimeoutExpired:
        raise _no_agent(f"it did not answer within {_SECONDS:.0f} s") from None
    if done.returncode == 2:  # ssh-add's word for: no agent could be asked
        raise _no_agent(done.stderr.decode(errors="replace").strip())
    return done


def _no_agent(reason: str) -> ConfigError:
    return ConfigError(
        f"there is no ssh-agent to ask: {reason}",
        hint='Start one: eval "$(ssh-agent)"',
    )
