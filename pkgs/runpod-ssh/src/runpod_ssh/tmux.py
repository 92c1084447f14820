"""The words of tmux: the commands that are sent to a pod and what it answers. Pure.

Sessions live on a tmux server of their own (`-L runpod`), so that nothing of what the
pod's user runs in tmux is touched. Commands that carry a user's text travel by stdin in
tmux's configuration language: an argument could be read in the pod's process table.
It must not know of connections.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runpod_client import ConfigError
from runpod_ssh import wire

SOCKET = "runpod"
MISSING_STATUS = 127
NO_FOLDER_STATUS = 66
HISTORY_LINES = 50_000
_TMUX = f"tmux -u -L {SOCKET}"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_PLAIN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=./:@%,"
)
_NAMED_KEYS = (
    "BSpace", "BTab", "DC", "Down", "End", "Enter", "Escape", "Home", "IC", "Left",
    "PageDown", "PageUp", "Right", "Space", "Tab", "Up",
)  # fmt: skip
_KEY = re.compile(
    rf"(?:[CMS]-){{0,3}}(?:[!-~]|F(?:1[0-2]|[1-9])|{'|'.join(_NAMED_KEYS)})"
)
# The user's own shell runs the command, as one that a person types in, so that it finds
# what that person would find. No login shell: Debian's clears the screen as it leaves,
# and with it the last words of the command.
_LAUNCHER = 'exec "${SHELL:-/bin/sh}" -ic "$0"'
_COMMAND_SHOWN = 200
# tmux takes colons out of session names; the two texts at the end may hold what they
# like, and the length of the first stands before them
_FIELDS = (
    "session_created",
    "session_activity",
    "window_activity",
    "session_attached",
    "window_width",
    "window_height",
    "pane_dead",
    "pane_dead_status",
    "pane_dead_signal",
    "session_name",
    "n:pane_current_command",
)
_FORMAT = (
    ":".join(f"#{{{name}}}" for name in _FIELDS)
    + ":#{pane_current_command}#{@runpod_command}"
)
# the settings that sessions rely on; those for windows and sessions made from now on
_SETTINGS = (
    f"set-option -g history-limit {HISTORY_LINES}",
    "set-option -g destroy-unattached off",
    "set-option -s escape-time 20",
    "set-option -s focus-events on",
    "set-option -wg window-size latest",
    "set-option -wg remain-on-exit on",
)
# the last session ended while the server was being asked
_SERVER_LEFT = ("server exited", "lost server")
_ABSENT = (
    "no server running on ",
    "error connecting to ",
    "can't find ",
    *_SERVER_LEFT,
)
_DUPLICATE = re.compile(r"(?:.*: )?duplicate session: (.+)")


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """A session that is to exist.

    Attributes:
        command: Run by the user's shell on the pod; None for a login shell.
        env: Variables of the session, beside what the login shell sets.
    """

    name: str
    command: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class PodSession:
    """A session as tmux tells of it.

    Attributes:
        command: What it was started with, on one line; empty for a login shell.
        current_command: The program in the foreground at this moment.
        is_ended: Whether its command has ended; its last screen can still be read.
        exit_status: Of an ended command; None where a signal ended it, and for the
            moment until tmux knows.
        exit_signal: The number of the signal that ended it.
        attached_count: Terminals that show it now.
        created_at: By the pod's clock, as all times here.
        idle_seconds: Since the last output or key; by the pod's clock.
    """

    name: str
    command: str
    current_command: str
    is_ended: bool
    exit_status: int | None
    exit_signal: int | None
    attached_count: int
    columns: int
    rows: int
    created_at: datetime
    last_activity_at: datetime
    idle_seconds: float

    @property
    def is_unsettled(self) -> bool:
        """Return whether it has ended and tmux does not know how, yet."""
        return self.is_ended and self.exit_status is None and self.exit_signal is None

    @property
    def state(self) -> str:
        """Return `running`, or `ended` with the status, or the signal."""
        if not self.is_ended:
            return "running"
        if self.exit_signal is not None:
            return f"ended (signal {self.exit_signal})"
        return "ended" if self.exit_status is None else f"ended ({self.exit_status})"


def check_name(name: str) -> str:
    """Return a session's name.

    Raises:
        ConfigError: It is none; the pattern keeps tmux's own punctuation out.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a session",
            hint="Use 1 to 32 letters, digits, - and _.",
        )
    return name


def check_key(key: str) -> str:
    """Return a key's name as tmux takes it; an unknown one would be typed as text."""
    if not _KEY.fullmatch(key):
        raise ConfigError(
            f"{key!r} is no key",
            hint="Keys are single characters, F1 to F12 and "
            f"{', '.join(_NAMED_KEYS)}; with C-, M- or S- in front: C-c.",
        )
    return key


def start_command(folder: str = "") -> str:
    """Return the command that runs what `render_start` made, which it reads by stdin.

    Args:
        folder: Where the sessions start, on the pod; empty for the home folder.
    """
    return wire.script_command("start_sessions.sh", SOCKET, folder)


def render_start(plans: Iterable[SessionPlan], *, restart_ended: bool = False) -> bytes:
    """Return what makes sessions that do not exist yet, and then lists all.

    tmux drops the rest of a line whose first command fails, and goes on with the next
    line: one request makes any number of sessions and tells which were there.

    Raises:
        ConfigError: A name or a variable is none tmux or the shell could take.
    """
    lines = [*_SETTINGS]
    for plan in plans:
        if restart_ended:
            lines.append(_render_removal_of_ended(plan.name))
        lines.append(_render_plan(plan))
    lines.append(f'list-sessions -F "{_FORMAT}"')
    return "\n".join([*lines, ""]).encode()


def _render_removal_of_ended(name: str) -> str:
    target = f'"={check_name(name)}:"'
    return f'if-shell -F -t {target} "#{{pane_dead}}" {{ kill-session -t {target} }}'


def _render_plan(plan: SessionPlan) -> str:
    name = check_name(plan.name)
    wire.render_exports(plan.env)  # refuses what no shell could hold
    words = ["new-session", "-d", "-s", name, "-x", "200", "-y", "50"]
    for key, value in plan.env.items():
        words += ["-e", f"{key}={value}"]
    if plan.command is None:
        # a shell that was left has nothing more to show
        after = f'set-option -w -t "={name}:" remain-on-exit off'
    else:
        words += ["--", "sh", "-c", _LAUNCHER, plan.command]
        shown = render_word(summarize(plan.command))
        after = f'set-option -t "={name}:" @runpod_command {shown}'
    return f"{' '.join(map(render_word, words))} ; {after}"


def summarize(command: str) -> str:
    """Return a command on one line, shortened."""
    line = " ".join(command.split())
    return line if len(line) <= _COMMAND_SHOWN else f"{line[: _COMMAND_SHOWN - 1]}…"


def render_word(text: str) -> str:
    """Return one word of tmux's configuration language, whatever the text holds.

    Raises:
        ConfigError: It holds NUL.
    """
    if "\0" in text:
        raise ConfigError("a text for tmux holds a NUL byte")
    return (
        '"' + "".join(map(_render_byte, text.encode("utf-8", "surrogateescape"))) + '"'
    )


def _render_byte(byte: int) -> str:
    return chr(byte) if byte in _PLAIN else f"\\{byte:03o}"


def list_command(*, nudge: bool = False) -> str:
    """Return the command whose answer `parse_list` reads.

    Args:
        nudge: Whether to remind tmux of commands that have ended: 3.3 overlooks one
            now and then, and does not know its status until another child ends.
    """
    remind = "run-shell -b true" if nudge else ""
    ask = f"list-sessions -F '{_FORMAT}'"
    return f"date +%s; {_TMUX} {_chain(*filter(None, (remind, ask)))}"


def parse_list(text: str, *, now: datetime | None = None) -> tuple[PodSession, ...]:
    """Read the answer to `list_command`, or that of `start_command`.

    Args:
        now: The pod's time where the answer does not begin with it; None takes the
            latest activity instead.
    """
    lines = text.splitlines()
    if lines and lines[0].isdigit():
        now = datetime.fromtimestamp(int(lines.pop(0)), UTC)
    rows = [line.split(":", len(_FIELDS)) for line in lines]
    found = [row for row in rows if len(row) > len(_FIELDS)]
    latest = now or max(map(_last_activity, found), default=datetime.now(UTC))
    return tuple(
        sorted((_parse_session(row, latest) for row in found), key=lambda s: s.name)
    )


def _parse_session(row: Sequence[str], now: datetime) -> PodSession:
    facts = dict(zip(_FIELDS, row, strict=False))
    last = _last_activity(row)
    texts = row[-1].encode("utf-8", "surrogateescape")
    length = _number(facts["n:pane_current_command"]) or 0
    return PodSession(
        name=facts["session_name"],
        command=_printable(texts[length:]),
        current_command=_printable(texts[:length]),
        is_ended=facts["pane_dead"] == "1",
        exit_status=_number(facts["pane_dead_status"]),
        exit_signal=_number(facts["pane_dead_signal"]),
        attached_count=_number(facts["session_attached"]) or 0,
        columns=_number(facts["window_width"]) or 0,
        rows=_number(facts["window_height"]) or 0,
        created_at=_moment(facts["session_created"]),
        last_activity_at=last,
        idle_seconds=max((now - last).total_seconds(), 0.0),
    )


def _printable(text: bytes) -> str:
    # a program names itself as it likes; the name must not steer the user's terminal
    shown = text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)


def _last_activity(row: Sequence[str]) -> datetime:
    # tmux counts a key as the session's activity and output as the window's
    return max(_moment(row[1]), _moment(row[2]))


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(_number(text) or 0, UTC)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def paste_command(name: str, buffer: str, *, enter: bool) -> str:
    """Return the command that types its stdin into a session.

    It answers 1 where the session has ended, which then takes nothing.

    Args:
        buffer: A name for tmux's clipboard entry, which exists for this moment only.
        enter: Whether the Enter key follows.
    """
    target = _target(name)
    # -p: a program that tells a paste from typing gets all lines as one paste
    paste = f"paste-buffer -d -p -b {buffer} -t {target}"
    if enter:
        paste += f" ; send-keys -t {target} Enter"
    # tmux 3.3 crashes, and all its sessions with it, where it pastes into a dead pane
    refuse = f"delete-buffer -b {buffer} ; display-message -p 1"
    return _chain(
        f"{_TMUX} has-session -t '{target}'",
        f"load-buffer -b {buffer} -",
        f"if-shell -F -t '{target}' '#{{pane_dead}}' '{refuse}' '{paste}'",
    )


def keys_command(name: str, keys: Sequence[str]) -> str:
    """Return the command that presses keys in a session.

    It answers 1 where the session has ended, which then takes nothing.

    Raises:
        ConfigError: One of them is no key.
    """
    words = " ".join(wire.quote(_escape_end(check_key(key))) for key in keys)
    target = _target(name)
    return _chain(
        f"{_TMUX} has-session -t '{target}'",
        f"display-message -p -t '{target}' '#{{pane_dead}}'",
        f"send-keys -t '{target}' {words}",
    )


def _chain(*commands: str) -> str:
    # tmux drops what comes after a command that fails
    return r" \; ".join(commands)


def _escape_end(key: str) -> str:
    # a word that ends in ; ends a command of tmux
    return rf"{key[:-1]}\;" if key.endswith(";") else key


def capture_command(
    name: str, *, line_count: int | None, join: bool, with_style: bool
) -> str:
    """Return the command that prints a session's screen and what scrolled off it.

    Args:
        line_count: Lines of history before the screen; None for the screen alone.
    """
    flags = [flag for flag, wanted in (("-J", join), ("-e", with_style)) if wanted]
    target = _target(name)
    words = ["capture-pane -p", *flags, f'-t "{target}"']
    if line_count is not None:
        return f"{_TMUX} {shlex.join(shlex.split(' '.join(words)))} -S -{line_count}"
    # tmux tells of a command's end in a line that pushes the screen's first one off
    ended = " ".join([*words, "-S -1"])
    shown = " ".join(words)
    choice = ["if-shell", "-F", "-t", target, "#{pane_dead}", ended, shown]
    return f"{_TMUX} {shlex.join(choice)}"


def kill_command(name: str) -> str:
    """Return the command that ends a session and what runs in it."""
    return f"{_TMUX} kill-session -t '{_target(name)}'"


def attach_command(name: str, *, read_only: bool) -> str:
    """Return the command that shows a session in the terminal it is run in."""
    # -E: the session's variables are its own, not those of who looks at it;
    # -r also leaves the size to those who type
    flags = ["-E", *(["-r"] if read_only else [])]
    return wire.script_command("attach_session.sh", SOCKET, check_name(name), *flags)


def install_command() -> str:
    """Return the command that installs tmux on the pod."""
    return wire.script_command("install_tmux.sh")


def find_duplicates(stderr: str) -> frozenset[str]:
    """Return the sessions that tmux says were there already."""
    matches = map(_DUPLICATE.fullmatch, stderr.splitlines())
    return frozenset(match[1] for match in matches if match)


def find_complaint(stderr: str) -> str:
    """Return what else tmux complains of, without its line numbers; empty if nothing."""
    rest = (line for line in stderr.splitlines() if not _DUPLICATE.fullmatch(line))
    return re.sub(r"^-:\d+: ", "", next(rest, "")).strip()


def says_absent(stderr: str) -> bool:
    """Return whether tmux says that there is no such session, or none at all."""
    return any(line.startswith(_ABSENT) for line in stderr.splitlines())


def says_server_left(stderr: str) -> bool:
    """Return whether tmux's server ended, with its last session, while it was asked."""
    return any(line.startswith(_SERVER_LEFT) for line in stderr.splitlines())


def _target(name: str) -> str:
    # the = makes tmux take the name as it is, not as the beginning of one; in a command
    # line it needs quotes, for zsh would look for a program of that name
    return f"={check_name(name)}:"
