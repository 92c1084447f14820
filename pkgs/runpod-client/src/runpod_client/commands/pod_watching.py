"""`pods watch`: the pods as they change, live on a terminal, line by line elsewhere."""

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from runpod_client.commands.arguments import examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runpod_client.changes import Change
    from runpod_client.client import RunPodClient
    from runpod_client.model import Pod
    from runpod_client.sheets import Sheet

    Show = Callable[[list[Pod], tuple[Change, ...], str], None]


@click.command(
    "watch",
    epilog=examples(
        "  runpod-client pods watch\n"
        "  runpod-client pods watch --interval 60 >> pods.log\n"
        "  runpod-client pods watch --json | jq -c 'select(.kind == \"gone\")'\n"
    ),
)
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two listings.",
)
@click.option("--mine", is_flag=True, help="Only pods rented from this machine.")
@click.option(
    "--for",
    "duration",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop watching after this long.",
)
@with_client
def watch_pods(
    session: Session,
    client: "RunPodClient",
    *,
    interval: float,
    mine: bool,
    duration: float | None,
) -> None:
    """Watch the pods until Ctrl-C.

    On a terminal the table is kept current, with what the pods cost together. Into a
    pipe a line is written for each change; with --json a document per line.
    """
    from runpod_client.quota import Priority, reading_as  # noqa: PLC0415  # slow
    from runpod_client.watching import Watch  # noqa: PLC0415

    watch = Watch(
        client, interval_seconds=interval, owner=client.owner if mine else None
    )
    with (
        # watching gives way to whatever changes pods under the same key
        reading_as(Priority.TELEMETRY),
        _display(session, client) as show,
        contextlib.suppress(KeyboardInterrupt),
    ):
        watch.run(show, duration_seconds=duration)


@contextlib.contextmanager
def _display(session: Session, client: "RunPodClient") -> "Iterator[Show]":
    """Yield what shows a listing and its changes, in the way the reader needs."""
    if session.as_json:
        yield _show_documents
    elif sys.stdout.isatty():
        with _live_table(client) as show:
            yield show
    else:
        yield lambda _pods, changes, trouble: _show_lines(client, changes, trouble)


@contextlib.contextmanager
def _live_table(client: "RunPodClient") -> "Iterator[Show]":
    from rich.console import Console, Group  # noqa: PLC0415  # slow
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def show(pods: "list[Pod]", _changes: "tuple[Change, ...]", trouble: str) -> None:
        table = _table(client, pods).render_rich()
        summary = Text(_summary(client, pods), style="dim")
        parts = [table, summary] + [Text(trouble, style="red")] * bool(trouble)
        live.update(Group(*parts), refresh=True)

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        yield show


def _table(client: "RunPodClient", pods: "list[Pod]") -> "Sheet":
    from runpod_client import conditions, tables  # noqa: PLC0415  # slow

    now = client.now()
    return tables.pod_sheet(
        pods, lambda pod: conditions.diagnose(pod, now=now), now=now
    )


def _summary(client: "RunPodClient", pods: "list[Pod]") -> str:
    from decimal import Decimal  # noqa: PLC0415

    from runpod_client.prices import render_price  # noqa: PLC0415  # slow

    billed = [pod for pod in pods if pod.status.is_billed]
    price = sum((pod.price_usd_per_hour for pod in billed), Decimal(0))
    return (
        f"{len(billed)}/{len(pods)} pods billed, {render_price(price)} without disks, "
        f"{client.now():%H:%M:%S} UTC; Ctrl-C ends the watching, not the pods"
    )


def _show_lines(
    client: "RunPodClient", changes: "tuple[Change, ...]", trouble: str
) -> None:
    from runpod_client.changes import render_change  # noqa: PLC0415  # slow

    time = f"{client.now():%Y-%m-%dT%H:%M:%SZ}"
    for change in changes:
        click.echo(f"{time} {render_change(change)}")
    if trouble:
        click.echo(f"{time} {trouble}", err=True)


def _show_documents(
    _pods: "list[Pod]", changes: "tuple[Change, ...]", trouble: str
) -> None:
    import json  # noqa: PLC0415

    for change in changes:
        pod = change.pod
        document = {
            "kind": change.kind,
            "pod_id": pod.pod_id,
            "name": pod.name,
            "status": pod.status,
            "status_reason": pod.status_reason,
            "price_usd_per_hour": str(pod.price_usd_per_hour),
            "fields": change.fields,
        }
        click.echo(json.dumps(document))
    if trouble:
        click.echo(trouble, err=True)
