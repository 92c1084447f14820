"""`runpod-ssh sessions`: terminals on pods that outlive connections."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    POLICY_OPTION,
    run_async,
    way_options,
)
from runpod_ssh.exit_codes import EXIT_CODES

if TYPE_CHECKING:
    from runpod_client.sheets import Sheet
    from runpod_ssh.connection import Connection
    from runpod_ssh.sessions import StartedSession
    from runpod_ssh.tmux import PodSession, SessionPlan

Result = TypeVar("Result")

NAME_ARGUMENT = click.argument("name", metavar="NAME")


def _connects(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what is said about connecting."""
    for option in (
        CONNECT_TIMEOUT_OPTION,
        POLICY_OPTION,
        way_options,
        IDENTITY_OPTION,
    ):
        function = option(function)
    return function


@click.group()
def sessions() -> None:
    """Keep terminals on pods that outlive connections, on tmux.

    A session goes on when the link is lost or this machine sleeps; it ends with its
    command, with `kill`, or with the pod: a restarted pod begins without sessions. On
    the pod itself `tmux -L runpod attach` shows the same ones.
    """


@sessions.command("list")
@POD_ARGUMENT
@_connects
@options(codes=EXIT_CODES)
def list_(
    session: Session,
    pod: str,
    *,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """List the sessions of POD, those included whose command has ended.

    \b
    Examples:
      runpod-ssh sessions list train
      runpod-ssh sessions list train -o name
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.sessions import list_sessions  # noqa: PLC0415  # start-up time

    pod_id, found = _visit(
        session, pod, identity, policy, connect_timeout, list_sessions
    )
    session.emit(
        {"pod_id": pod_id, "sessions": [_document(one) for one in found]},
        lambda: _sheet(found, pod),
        names=lambda: [one.name for one in found],
    )


@sessions.command("start")
@POD_ARGUMENT
@click.argument("words", metavar="[NAME] [-- COMMAND...]", nargs=-1)
@click.option(
    "--agents",
    type=click.IntRange(1, 702),
    metavar="N",
    help="Start N sessions instead of NAME: agent-a, agent-b, ...",
)
@click.option(
    "--command",
    metavar="TEXT",
    help="What runs in the session, in place of COMMAND.  [default: a login shell]",
)
@click.option("--cwd", default="", metavar="DIR", help="Folder of the pod to start in.")
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the session; without =VALUE it is taken from here.",
)
@click.option(
    "--restart", is_flag=True, help="Start a session anew whose command has ended."
)
@click.option(
    "--install", is_flag=True, help="Install tmux on the pod if it is missing."
)
@_connects
@options(codes=EXIT_CODES)
def start(
    session: Session,
    pod: str,
    words: tuple[str, ...],
    *,
    agents: int | None,
    command: str | None,
    cwd: str,
    env: tuple[str, ...],
    restart: bool,
    install: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Start the session NAME on POD; one that is there already is left as it is.

    COMMAND is run by your shell there, its words joined by spaces. When it ends, the
    session keeps its last screen and its status until it is killed or restarted.

    \b
    Examples:
      runpod-ssh sessions start train build --cwd /workspace -- make -j8
      runpod-ssh sessions start train --agents 4 --command claude
      HF_TOKEN=... runpod-ssh sessions start train fetch --env HF_TOKEN -- ./fetch
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.sessions import (  # noqa: PLC0415  # start-up time
        install_tmux,
        start_sessions,
    )

    plans = _plan(words, agents, command, arguments.parse_env(env, session.environ))

    async def work(link: "Connection") -> "tuple[StartedSession, ...]":
        if install:
            with session.status(f"looking for tmux on {pod}"):
                await install_tmux(link)
        return await start_sessions(link, plans, folder=cwd, restart_ended=restart)

    pod_id, started = _visit(session, pod, identity, policy, connect_timeout, work)
    documents = [{**_document(s.session), "is_new": s.is_new} for s in started]
    text = "\n".join(map(_describe_start, started))
    if session.output == "name":
        text = "\n".join(one.session.name for one in started)
    arguments.tell(session, {"pod_id": pod_id, "sessions": documents}, text)


@sessions.command("attach")
@POD_ARGUMENT
@NAME_ARGUMENT
@click.option(
    "--read-only", is_flag=True, help="Look on: nothing that is typed gets through."
)
@_connects
@options(codes=EXIT_CODES)
def attach(
    session: Session,
    pod: str,
    name: str,
    *,
    read_only: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Show the session NAME of POD in this terminal; leave it with Ctrl-B D.

    When the link is lost the session goes on, and this command connects to it again.

    \b
    Examples:
      runpod-ssh sessions attach train agent-a
      runpod-ssh sessions attach train agent-a --read-only
    """  # noqa: D301  # click reads \b as: keep these lines
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(
            "attach needs a terminal; without one use `sessions capture` and "
            "`sessions send`"
        )
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh import attachments  # noqa: PLC0415  # start-up time
    from runpod_ssh.audit import AuditLog, AuditSettings  # noqa: PLC0415
    from runpod_ssh.commands.pod_links import PodLinks  # noqa: PLC0415
    from runpod_ssh.exec import exit_status_of  # noqa: PLC0415
    from runpod_ssh.terminal import LocalTerminal  # noqa: PLC0415

    kind = session.environ.get("TERM") or "xterm-256color"

    async def work() -> int:
        links = PodLinks(access, pod, identity, target)
        result = await attachments.attach(
            links.open,
            name,
            LocalTerminal(stdin=0, stdout=1, kind=kind),
            read_only=read_only,
            on_status=lambda status: session.note(f"{pod}: {status}"),
        )
        return exit_status_of(result)

    audit = AuditLog(session.load(AuditSettings, "audit"))
    with audit.recording("attach", target, name) as outcome:
        outcome.status = run_async(work())
    return outcome.status


@sessions.command("send")
@POD_ARGUMENT
@NAME_ARGUMENT
@click.argument("text", required=False)
@click.option(
    "--enter/--no-enter",
    default=True,
    show_default=True,
    help="Press Enter after TEXT.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Press a key after TEXT, as tmux names it: C-c, Escape, Up. Repeatable.",
)
@_connects
@options(codes=EXIT_CODES)
def send(
    session: Session,
    pod: str,
    name: str,
    text: str | None,
    *,
    enter: bool,
    keys: tuple[str, ...],
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Type TEXT into the session NAME of POD; `-` takes it from stdin.

    TEXT arrives as it is, as one paste where the program there knows pastes. It is in
    no command line of the pod.

    \b
    Examples:
      runpod-ssh sessions send train agent-a "run the tests"
      runpod-ssh sessions send train agent-a --key C-c
      runpod-ssh sessions send train agent-a - < prompt.md
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import tmux  # noqa: PLC0415  # start-up time
    from runpod_ssh.sessions import send_keys, send_text  # noqa: PLC0415

    if text is None and not keys:
        raise click.UsageError("give TEXT, or --key, or both")
    for key in keys:
        tmux.check_key(key)
    typed = None if text is None else _read_text(text)

    async def work(link: "Connection") -> None:
        if typed is not None:
            await send_text(link, name, typed, enter=enter)
        if keys:
            await send_keys(link, name, keys)

    pod_id, _ = _visit(session, pod, identity, policy, connect_timeout, work)
    if session.as_json:
        size_bytes = len(typed or b"")
        document = {"pod_id": pod_id, "name": name, "size_bytes": size_bytes}
        arguments.tell(session, {**document, "keys": list(keys)}, "")


@sessions.command("capture")
@POD_ARGUMENT
@NAME_ARGUMENT
@click.option(
    "--lines",
    "line_count",
    type=click.IntRange(min=1),
    metavar="N",
    help="The last N lines, history included.  [default: the screen]",
)
@click.option(
    "--join", is_flag=True, help="Give a line that the screen's edge broke as one."
)
@click.option("--colour", is_flag=True, help="Keep colours, as escape sequences.")
@_connects
@options(codes=EXIT_CODES)
def capture(
    session: Session,
    pod: str,
    name: str,
    *,
    line_count: int | None,
    join: bool,
    colour: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Print what the session NAME of POD shows.

    \b
    Examples:
      runpod-ssh sessions capture train agent-a
      runpod-ssh sessions capture train build --lines 2000 --join | grep error
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import sessions as operations  # noqa: PLC0415  # start-up time

    async def work(link: "Connection") -> str:
        return await operations.capture(
            link, name, line_count=line_count, join=join, with_style=colour
        )

    pod_id, text = _visit(session, pod, identity, policy, connect_timeout, work)
    document = {"pod_id": pod_id, "name": name, "lines": text.split("\n")}
    arguments.tell(session, document, text)


@sessions.command("kill")
@POD_ARGUMENT
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_connects
@options(codes=EXIT_CODES)
def kill(
    session: Session,
    pod: str,
    names: tuple[str, ...],
    *,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """End sessions of POD and what runs in them; one that is gone already is fine.

    \b
    Examples:
      runpod-ssh sessions kill train build
      runpod-ssh sessions list train -o name | xargs runpod-ssh sessions kill train
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import tmux  # noqa: PLC0415  # start-up time
    from runpod_ssh.sessions import kill_session  # noqa: PLC0415

    for name in names:
        tmux.check_name(name)

    async def work(link: "Connection") -> dict[str, bool]:
        return {name: await kill_session(link, name) for name in dict.fromkeys(names)}

    pod_id, killed = _visit(session, pod, identity, policy, connect_timeout, work)
    documents = [{"name": name, "was_there": was} for name, was in killed.items()]
    text = "\n".join(
        f"{name} killed" if was else f"{name} was not there"
        for name, was in killed.items()
    )
    arguments.tell(session, {"pod_id": pod_id, "sessions": documents}, text)


def _visit(
    session: Session,
    pod: str,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
    work: "Callable[[Connection], Awaitable[Result]]",
) -> tuple[str, Result]:
    """Do something over a connection to a pod; return the pod's id as well."""
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)

    async def visit() -> Result:
        async with access.connect(target) as link:
            return await work(link)

    return target.pod.pod_id, run_async(visit())


def _plan(
    words: tuple[str, ...],
    agents: int | None,
    command: str | None,
    env: dict[str, str],
) -> "list[SessionPlan]":
    from runpod_ssh.sessions import agent_names  # noqa: PLC0415  # start-up time
    from runpod_ssh.tmux import SessionPlan, check_name  # noqa: PLC0415

    if agents is None and not words:
        raise click.UsageError("give a NAME, or --agents N")
    names = agent_names(agents) if agents is not None else words[:1]
    rest = words if agents is not None else words[1:]
    if rest and command is not None:
        raise click.UsageError("give COMMAND after -- or as --command, not both")
    chosen = " ".join(rest) or command
    return [
        SessionPlan(name=check_name(name), command=chosen or None, env=env)
        for name in names
    ]


def _read_text(text: str) -> bytes:
    if text != "-":
        return text.encode("utf-8", "surrogateescape")
    given = sys.stdin.buffer.read()
    # the last line's end is what Enter is for
    return given.removesuffix(b"\n")


def _document(one: "PodSession") -> dict[str, Any]:
    return {
        "name": one.name,
        "state": "ended" if one.is_ended else "running",
        "exit_status": one.exit_status,
        "exit_signal": one.exit_signal,
        "command": one.command or None,
        "current_command": one.current_command,
        "attached_count": one.attached_count,
        "columns": one.columns,
        "rows": one.rows,
        "created_at": one.created_at,
        "last_activity_at": one.last_activity_at,
        "idle_seconds": one.idle_seconds,
    }


def _describe_start(one: "StartedSession") -> str:
    name = one.session.name
    if one.is_new:
        return f"{name} started"
    if one.session.is_ended:
        return (
            f"{name} was there already, {one.session.state}; --restart starts it anew"
        )
    return f"{name} was there already, {one.session.state}"


def _sheet(found: "tuple[PodSession, ...]", pod: str) -> "Sheet":
    from runpod_client.sheets import Cell, Sheet  # noqa: PLC0415  # start-up time

    rows: list[list[str | Cell]] = [
        [
            Cell(one.name, "bold"),
            one.command or one.current_command,
            Cell(one.state, "yellow" if one.is_ended else "green"),
            str(one.attached_count or "-"),
            _span(one.idle_seconds),
            f"{one.created_at:%Y-%m-%d %H:%M} UTC",
        ]
        for one in found
    ]
    headings = ["NAME", "COMMAND", "STATE", ">ATTACHED", ">IDLE", "CREATED"]
    return Sheet(headings=headings, rows=rows, empty=f"no sessions on {pod}")


def _span(seconds: float) -> str:
    """Return a span in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
