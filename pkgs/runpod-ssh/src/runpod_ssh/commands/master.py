"""`runpod-ssh master`: the background process that keeps connections open."""

import functools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from runpod_client import Error
from runpod_client.console import Session, options
from runpod_ssh.commands.arguments import tell
from runpod_ssh.exit_codes import EXIT_CODES

if TYPE_CHECKING:
    from runpod_client.console import Renderable
    from runpod_ssh.background_place import Place

_ANSWER_SECONDS = 2.0
_START_SECONDS = 15.0
_STOP_SECONDS = 15.0
_PAUSE_SECONDS = 0.02


@click.group()
def master() -> None:
    """See, start and stop the background process that keeps connections open.

    The first `exec` starts it; those after it are quick, for the connection stands. It
    ends by itself when it had nothing to do for a while ([ssh] background_idle_seconds).
    RUNPOD_SSH_BACKGROUND=false does without.

    \b
    Examples:
      runpod-ssh master status
      runpod-ssh master stop
    """  # noqa: D301  # click reads \b as: keep these lines


@master.command("status")
@options(codes=EXIT_CODES)
def master_status(session: Session) -> None:
    """Show the background processes of this user and their connections.

    There is one for each account, profile or configuration in use.

    \b
    Examples:
      runpod-ssh master status
      runpod-ssh master status --json | jq '.[].links[].name'
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import background  # noqa: PLC0415  # beside its use

    found = [
        document
        for place in background.list_places(session.environ)
        if (document := _ask(place)) is not None
    ]
    session.emit(found, lambda: _render(found), names=lambda: _names(found))


@master.command("start")
@click.argument("pod", metavar="[POD]", default="")
@options(codes=EXIT_CODES)
def master_start(session: Session, pod: str) -> None:
    """Start the background process of the present settings, and connect to POD.

    \b
    Example:
      runpod-ssh master start train
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import background  # noqa: PLC0415  # beside its use

    place = background.find_own_place(session.environ)
    if place is None:
        raise Error(
            "there can be no background process here",
            hint="It is switched off (RUNPOD_SSH_BACKGROUND), or a path in a RUNPOD_ "
            "variable is relative.",
        )
    running = _ask(place)
    if running is None:
        background.start_for_next_time(session.environ, pod)
        running = _wait_until(lambda: _ask(place), _START_SECONDS)
    if running is None:
        raise Error(
            "the background process did not start",
            hint=f"Its log may say why: {place.log_path}",
        )
    tell(session, running, f"background process {running['pid']} is running")


@master.command("stop")
@click.option(
    "--now", is_flag=True, help="Interrupt the commands that run; else it waits."
)
@options(codes=EXIT_CODES)
def master_stop(session: Session, *, now: bool) -> None:
    """Stop the background processes of this user and close their connections.

    A command that runs goes on to its end, and the background process with it, unless
    --now is given. The next command starts a new one.

    \b
    Examples:
      runpod-ssh master stop
      runpod-ssh master stop --now
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import background  # noqa: PLC0415  # beside its use

    documents = []
    for place in background.list_places(session.environ):
        told = background.ask_to_stop(
            place, at_once=now, within_seconds=_ANSWER_SECONDS
        )
        if told is None:
            continue
        document = json.loads(told)
        waits = document["running"] and not now
        has_ended = not waits and _wait_until(
            functools.partial(background.has_ended, place), _STOP_SECONDS
        )
        documents.append(
            {
                "pid": document["pid"],
                "running": document["running"],
                "has_ended": bool(has_ended),
            }
        )
    tell(session, {"stopped": documents}, _render_stopped(documents))


def _ask(place: "Place") -> dict[str, Any] | None:
    from runpod_ssh import background  # noqa: PLC0415  # beside its use

    told = background.ask_for_status(place, within_seconds=_ANSWER_SECONDS)
    if told is None:
        return None
    document: dict[str, Any] = json.loads(told)
    return document


def _wait_until(probe: Callable[[], Any], seconds: float) -> Any:
    """Return the first answer that says something, None when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return answer or None


def _names(found: list[dict[str, Any]]) -> list[str]:
    return [link["pod_id"] for document in found for link in document["links"]]


def _render(found: list[dict[str, Any]]) -> "Renderable":
    from rich.console import Group  # noqa: PLC0415  # start-up time
    from rich.table import Table  # noqa: PLC0415  # start-up time

    if not found:
        return Group("no background process is running")
    parts: list[Any] = []
    for document in found:
        started_at = datetime.fromisoformat(document["started_at"])
        up = (datetime.now(UTC) - started_at).total_seconds()
        parts.append(
            f"background process {document['pid']}, up {_render_span(up)}: "
            f"{document['running']} running" + _render_end(document)
        )
        table = Table("POD", "ID", "ADDRESS", "CHANNELS", "COMMANDS", "UP", "IDLE")
        for link in document["links"]:
            table.add_row(
                link["name"],
                link["pod_id"],
                link["address"],
                str(link["channels"]),
                str(link["commands"]),
                _render_span(link["connected_seconds"]),
                _render_span(link["idle_seconds"]),
            )
        parts.append(table if document["links"] else "  no connections")
    return Group(*parts)


def _render_end(document: dict[str, Any]) -> str:
    if document["running"]:
        return ", ends with the last of them" if document.get("is_ending") else ""
    ends = document["ends_after_idle_seconds"] - document["idle_seconds"]
    return f", ends in {_render_span(ends)}"


def _render_stopped(documents: list[dict[str, Any]]) -> str:
    if not documents:
        return "no background process is running"
    return "\n".join(map(_render_one_stopped, documents))


def _render_one_stopped(document: dict[str, Any]) -> str:
    name = f"background process {document['pid']}"
    if document["has_ended"]:
        return f"{name} has ended"
    return (
        f"{name} ends with the commands that run in it ({document['running']}); "
        "--now interrupts them"
    )


def _render_span(seconds: float) -> str:
    whole = max(int(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"
