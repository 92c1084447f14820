"""What a command becomes before it is sent to the pod's shell. Pure.

Every call carries a mark in its environment, so that it and all it started can be
found and ended later. Variables given for a call travel ahead of its stdin: in a
command line they would be readable in the process table.
"""

import importlib.resources
import os
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from runpod_client import ConfigError

MARK = "RUNPOD_SSH_CALL"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command as it is sent: the text, and what precedes its stdin."""

    command: str
    preamble: bytes
    mark: str


def prepare(command: str, env: Mapping[str, str]) -> Call:
    """Return the call for a command with these variables.

    Raises:
        ConfigError: A variable's name is none a shell takes, or its value holds NUL.
    """
    if not _is_unicode(command):
        raise ConfigError("the command holds bytes that are no UTF-8 text")
    mark = secrets.token_hex(8)
    lines = [f"export {MARK}={mark}"]
    preamble = render_exports(env)
    if preamble:
        # dd, not head: it takes exactly these bytes and leaves the command its stdin
        lines.append(f'eval "$(dd bs=1 count={len(preamble)} 2>/dev/null)"')
    lines.append(command)
    return Call(command="\n".join(lines), preamble=preamble, mark=mark)


def render_exports(env: Mapping[str, str]) -> bytes:
    """Return shell text that exports the variables, whatever their values hold."""
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name an environment variable")
        if "\0" in value:
            raise ConfigError(f"the value of {name} holds a NUL byte")
    text = "".join(f"export {n}={shlex.quote(v)}\n" for n, v in env.items())
    return text.encode("utf-8", "surrogateescape")


def script_command(name: str, *arguments: str) -> str:
    """Return the command that runs one of our scripts under the pod's `sh`."""
    script = (
        importlib.resources.files("runpod_ssh").joinpath("assets", name).read_text()
    )
    return " ".join(["sh -c", *map(quote, (script, name, *arguments))])


def quote(argument: str) -> str:
    """Return shell text for one argument, also for a file name that is no Unicode.

    SSH carries commands as UTF-8; a byte that is none is made by the pod's printf.
    """
    if _is_unicode(argument):
        return shlex.quote(argument)
    return "".join(
        shlex.quote(part) if _is_unicode(part) else _render_bytes(part)
        for part in re.split("([\udc80-\udcff]+)", argument)
        if part
    )


def _render_bytes(part: str) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in os.fsencode(part))
    return f"\"$(printf '{octal}')\""


def _is_unicode(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)


def interrupt_command() -> str:
    """Return the command that ends the call whose mark it reads from stdin."""
    return script_command("interrupt.sh")
