"""Terminals on a pod that outlive connections: durable sessions, on tmux.

A session is known by its name. All calls are one command on a connection; what they
send and read is in `tmux`. Sessions die with the pod: a restart begins without any.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from runpod_ssh import tmux
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SessionError
from runpod_ssh.model import ExecResult
from runpod_ssh.tmux import PodSession, SessionPlan

CALL_SECONDS = 30.0
INSTALL_SECONDS = 600.0
MOST_AGENTS = 702
_LIST_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class StartedSession:
    """A session after it was asked for.

    Attributes:
        is_new: False where it was there already and was left as it is.
    """

    session: PodSession
    is_new: bool


def agent_names(count: int) -> tuple[str, ...]:
    """Return agent-a, agent-b, ...; after agent-z comes agent-aa.

    Args:
        count: From 1 to `MOST_AGENTS`, where the names get a third letter.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [*letters, *(first + second for first in letters for second in letters)]
    if not 1 <= count <= len(names):
        raise ValueError(f"{count} agents: there are names for 1 to {len(names)}")
    return tuple(f"agent-{name}" for name in names[:count])


async def list_sessions(connection: Connection) -> tuple[PodSession, ...]:
    """Return the pod's sessions by name; none where none was ever started.

    Raises:
        SessionError: The pod has no tmux, or it failed.
        SSHUnreachableError: The connection was lost.
    """
    found: tuple[PodSession, ...] = ()
    for attempt in range(_LIST_ATTEMPTS):
        command = tmux.list_command(nudge=attempt > 0)
        result = await connection.run(command, timeout=CALL_SECONDS)
        if result.exit_status != 0 and tmux.says_absent(_stderr(result)):
            return ()
        _check(connection, result)
        found = tmux.parse_list(_stdout(result))
        if not any(session.is_unsettled for session in found):
            break
    return found


async def find_session(connection: Connection, name: str) -> PodSession | None:
    """Return a session of that name; raises like `list_sessions`."""
    tmux.check_name(name)
    found = await list_sessions(connection)
    return next((session for session in found if session.name == name), None)


async def get_session(connection: Connection, name: str) -> PodSession:
    """Return a session of that name.

    Raises:
        SessionError: There is none.
    """
    found = await find_session(connection, name)
    if found is None:
        raise _absent(connection, name)
    return found


async def start_sessions(
    connection: Connection,
    plans: Sequence[SessionPlan],
    *,
    folder: str = "",
    restart_ended: bool = False,
) -> tuple[StartedSession, ...]:
    """Make sure that sessions exist, all in one round trip.

    Variables travel by stdin and appear in no command line. A session that is there
    keeps running as it is, whatever the plan says.

    Args:
        folder: Where they start, on the pod; empty for the home folder.
        restart_ended: Start those anew whose command has ended.

    Raises:
        ConfigError: A plan holds what cannot be a name or a variable.
        SessionError: The pod has no tmux or no such folder, or tmux failed.
    """
    command = tmux.start_command(folder)
    text = tmux.render_start(plans, restart_ended=restart_ended)
    result = await connection.run(command, stdin=text, timeout=CALL_SECONDS)
    if tmux.says_server_left(_stderr(result)):
        result = await connection.run(command, stdin=text, timeout=CALL_SECONDS)
    stderr = _stderr(result)
    there_before = tmux.find_duplicates(stderr)
    if tmux.find_complaint(stderr) or not (result.exit_status == 0 or there_before):
        raise _failure(connection, result)
    there = tmux.parse_list(_stdout(result))
    if any(session.is_unsettled for session in there):
        there = await list_sessions(connection)
    found = {session.name: session for session in there}
    if missing := [plan.name for plan in plans if plan.name not in found]:
        raise SessionError(
            f"{', '.join(missing)} on {connection.address} ended at once",
            address=connection.address,
            hint="Does the pod's login shell start? Try: runpod-ssh shell POD",
        )
    return tuple(
        StartedSession(session=found[plan.name], is_new=plan.name not in there_before)
        for plan in plans
    )


async def send_text(
    connection: Connection, name: str, text: bytes, *, enter: bool = True
) -> None:
    """Type a text into a session, lines and all; it appears in no command line.

    Raises:
        SessionError: There is no such session, or its command has ended.
    """
    if not text:
        if enter:
            await send_keys(connection, name, ["Enter"])
        return
    buffer = f"runpod-{secrets.token_hex(6)}"
    command = tmux.paste_command(name, buffer, enter=enter)
    result = await connection.run(command, stdin=text, timeout=CALL_SECONDS)
    _check_taken(connection, name, result)


async def send_keys(connection: Connection, name: str, keys: Sequence[str]) -> None:
    """Press keys in a session, as tmux names them: C-c, Escape, Up.

    Raises:
        ConfigError: One of them is no key.
        SessionError: As for `send_text`.
    """
    command = tmux.keys_command(name, keys)
    result = await connection.run(command, timeout=CALL_SECONDS)
    _check_taken(connection, name, result)


async def capture(
    connection: Connection,
    name: str,
    *,
    line_count: int | None = None,
    join: bool = False,
    with_style: bool = False,
) -> str:
    """Return what a session shows, without the empty lines below it.

    Args:
        line_count: The last lines of it, history included; None for the screen.
        join: Whether a line that the terminal's edge broke comes as one.
        with_style: Whether colours come as escape sequences.

    Raises:
        SessionError: There is no such session.
    """
    command = tmux.capture_command(
        name, line_count=line_count, join=join, with_style=with_style
    )
    result = await connection.run(command, timeout=CALL_SECONDS)
    _check(connection, result, name)
    lines = [line.rstrip() for line in _stdout(result).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if line_count is not None:
        lines = lines[-line_count:]
    return "\n".join(lines)


async def kill_session(connection: Connection, name: str) -> bool:
    """End a session and what runs in it; return whether there was one.

    Raises:
        SessionError: The pod has no tmux, or it failed.
    """
    result = await connection.run(tmux.kill_command(name), timeout=CALL_SECONDS)
    if result.exit_status != 0 and tmux.says_absent(_stderr(result)):
        return False
    _check(connection, result, name)
    return True


async def install_tmux(connection: Connection) -> None:
    """Install tmux on the pod where it is missing.

    Raises:
        SessionError: The pod's package manager failed, or none is known there.
    """
    result = await connection.run(tmux.install_command(), timeout=INSTALL_SECONDS)
    if result.exit_status != 0:
        lines = _stderr(result).strip().splitlines()
        raise SessionError(
            f"tmux could not be installed on {connection.address}"
            + (f": {lines[-1]}" if lines else ""),
            address=connection.address,
            hint="Install it by hand, or use an image that has it.",
        )


def _check_taken(connection: Connection, name: str, result: ExecResult) -> None:
    _check(connection, result, name)
    if _stdout(result).startswith("1"):
        raise SessionError(
            f"what ran in session {name} on {connection.address} has ended",
            address=connection.address,
            hint=f"Start it anew: runpod-ssh sessions start POD {name} --restart -- ...",
        )


def _check(connection: Connection, result: ExecResult, name: str = "") -> None:
    if result.exit_status == 0:
        return
    if name and tmux.says_absent(_stderr(result)):
        raise _absent(connection, name)
    raise _failure(connection, result)


def _absent(connection: Connection, name: str) -> SessionError:
    return SessionError(
        f"there is no session {name} on {connection.address}",
        address=connection.address,
        hint="See which there are: runpod-ssh sessions list POD",
    )


def _failure(connection: Connection, result: ExecResult) -> SessionError:
    """Return what a failed call means."""
    complaint = tmux.find_complaint(_stderr(result))
    hint = "Sessions need tmux 3.2 or later; see: runpod-ssh exec POD -- tmux -V"
    if result.exit_status == tmux.MISSING_STATUS:
        return SessionError(
            f"tmux is not installed on {connection.address}",
            address=connection.address,
            hint="Let `sessions start --install` do it, or install it by hand: "
            'runpod-ssh exec POD -- "apt-get update && apt-get install -y tmux"',
        )
    if result.exit_status == tmux.NO_FOLDER_STATUS:
        hint = "Name a folder of the pod with --cwd, or make it first."
    return SessionError(
        f"tmux on {connection.address} failed: {complaint or 'no reason given'}",
        address=connection.address,
        hint=hint,
    )


def _stdout(result: ExecResult) -> str:
    return result.stdout.decode("utf-8", "replace")


def _stderr(result: ExecResult) -> str:
    return result.stderr.decode("utf-8", "replace")
