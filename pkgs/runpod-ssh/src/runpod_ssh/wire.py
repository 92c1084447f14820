"""What a command becomes before it is sent to the pod's shell. Pure.

Every call carries a mark in its environment, so that it and all it started can be
found and ended later. Variables given for a call travel ahead of its stdin: in a
command line they would be readable in the process table.
"""

import functools
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


# what a standby answers at its start, to a sign of life and to a command
STANDBY_ANSWER = b"+\n"
# asks a standby for a sign of life
STANDBY_PING = b"0\n"
# A standby is a shell started by sshd that starts a shell itself. The command must not
# see that: its variables must be those sshd gave (but for what every shell sets), its
# shell's name the same, and nobody may be listening in on what sshd was asked to run.
_IS_TRANSPARENT = (
    "v() { grep -Ev '^(_|PWD|OLDPWD|SHLVL)=' | sort; } && "
    'e=$(tr "\\0" "\\n" </proc/$$/environ | v) && [ -n "$e" ] && '
    '[ "$e" = "$(env | v)" ] && [ -z "$SSH_ORIGINAL_COMMAND" ] && '
    '[ "$(command -v "${SHELL##*/}")" -ef "$SHELL" ]'
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command as it is sent: the text, and what precedes its stdin."""

    command: str
    preamble: bytes
    mark: str


def make_mark() -> str:
    """Return what tells one call from all others."""
    return secrets.token_hex(8)


def prepare(command: str, env: Mapping[str, str], *, mark: str = "") -> Call:
    """Return the call for a command with these variables.

    Args:
        mark: Where the command is given to a process that has one already.

    Raises:
        ConfigError: A variable's name is none a shell takes, or its value holds NUL.
    """
    if not _is_unicode(command):
        raise ConfigError("the command holds bytes that are no UTF-8 text")
    mark = mark or make_mark()
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
    return " ".join(["sh -c", *map(quote, (script_text(name), name, *arguments))])


@functools.cache
def script_text(name: str) -> str:
    """Return one of the scripts for the pod."""
    folder = importlib.resources.files("runpod_ssh").joinpath("assets")
    return folder.joinpath(name).read_text()


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


def standby_command(mark: str, *, is_first: bool) -> str:
    """Return the command that waits to become another.

    Args:
        is_first: Ends at once where a command could tell the difference.
    """
    waiting = "exec " + script_command("standby.sh", f"{MARK}={mark}")
    return f"{_IS_TRANSPARENT} && {waiting}" if is_first else waiting


def render_handover(command: str) -> bytes:
    """Return what tells a standby to become the command."""
    count = command.count("\n") + 1
    return f"{count}\n{command}\n".encode()


def interrupt_command() -> str:
    """Return the command that ends the call whose mark it reads from stdin."""
    return script_command("interrupt.sh")
