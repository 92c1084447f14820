"""`runpod-client lease`: how long pods may live, and changing it."""

from typing import TYPE_CHECKING, Any

import click

from runpod_client.commands.arguments import (
    POD_ARGUMENT,
    YES_OPTION,
    examples,
    with_client,
)
from runpod_client.console import Session

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from runpod_client.client import RunPodClient
    from runpod_client.leases import Lease, LeaseChange
    from runpod_client.model import Pod
    from runpod_client.sheets import Sheet


@click.group()
def lease() -> None:
    """See and change how long pods may live.

    A lease's end stands behind the pod's name, where every guard reads it; changing it
    restarts nothing. What ends pods whose lease is over is `runpod-client reap`, run
    by a timer.
    """


@lease.command(
    "show",
    epilog=examples(
        "  runpod-client lease show\n  runpod-client lease show trainer --json\n"
    ),
)
@click.argument("pod", metavar="[POD]", required=False)
@with_client
def show_leases(session: Session, client: "RunPodClient", pod: str | None) -> None:
    """Show the lease of a pod, or of all pods this machine's owner rented."""
    if pod is None:
        found = [p for p in client.list_pods() if p.owner == client.owner]
    else:
        found = [client.resolve_pod(pod)]
    rows = [(p, client.leases.show(p)) for p in found]
    session.emit(
        {"leases": [_render_document(p, seen) for p, seen in rows]},
        lambda: _render_sheet(rows),
        names=lambda: [p.name for p in found],
    )


@lease.command(
    "extend",
    epilog=examples(
        "  runpod-client lease extend trainer 2h\n"
        "  runpod-client lease extend trainer 1d12h --yes\n"
    ),
)
@POD_ARGUMENT
@click.argument("length", metavar="LENGTH")
@YES_OPTION
@with_client
def extend_lease(
    session: Session, client: "RunPodClient", pod: str, length: str, *, yes: bool
) -> None:
    """Let a pod live LENGTH longer than it may now; one that is overdue from now on.

    It bills for that time: the price is shown and asked about.
    """
    by, found = _parse_length(length), client.resolve_pod(pod)
    ends_at = client.leases.plan_extension(found, by)
    _confirm_longer(session, client, found, ends_at, yes=yes)
    _emit_change(session, found, client.leases.set_end(found, ends_at))


@lease.command(
    "set",
    epilog=examples(
        "  runpod-client lease set trainer 30m\n"
        "  runpod-client lease set trainer 8h --yes\n"
    ),
)
@POD_ARGUMENT
@click.argument("length", metavar="LENGTH")
@YES_OPTION
@with_client
def set_lease(
    session: Session, client: "RunPodClient", pod: str, length: str, *, yes: bool
) -> None:
    """Let a pod live LENGTH from now on, be that longer or shorter than before."""
    by, found = _parse_length(length), client.resolve_pod(pod)
    ends_at = client.now() + by
    if found.lease_ends_at is not None and ends_at > found.lease_ends_at:
        _confirm_longer(session, client, found, ends_at, yes=yes)
    _emit_change(session, found, client.leases.set_end(found, ends_at))


@lease.command(
    "drop",
    epilog=examples("  runpod-client lease drop trainer\n"),
)
@POD_ARGUMENT
@YES_OPTION
@with_client
def drop_lease(
    session: Session, client: "RunPodClient", pod: str, *, yes: bool
) -> None:
    """Take a pod's lease away: it bills until somebody ends it."""
    from runpod_client.prices import render_price  # noqa: PLC0415  # not for --help

    found = client.resolve_pod(pod)
    price = render_price(found.price_usd_per_hour)
    session.confirm(f"Let {found.name!r} bill {price} without end?", yes=yes)
    _emit_change(session, found, client.leases.drop(found))


def _parse_length(text: str) -> "timedelta":
    from runpod_client.errors import LeaseError  # noqa: PLC0415  # not for --help
    from runpod_client.leases import parse_lease  # noqa: PLC0415

    length = parse_lease(text)
    if length is None:
        raise LeaseError(
            "`none` is no length of time",
            hint="To take a lease away: runpod-client lease drop POD",
        )
    return length


def _confirm_longer(
    session: Session,
    client: "RunPodClient",
    pod: "Pod",
    ends_at: "datetime",
    *,
    yes: bool,
) -> None:
    """Ask about the money that the added time costs."""
    from decimal import Decimal  # noqa: PLC0415  # not for --help

    from runpod_client.leases import render_lease  # noqa: PLC0415
    from runpod_client.prices import render_price, render_usd  # noqa: PLC0415

    begins_at = max(pod.lease_ends_at or client.now(), client.now())
    added = ends_at - begins_at
    hours = Decimal(int(added.total_seconds())) / 3600
    session.confirm(
        f"Let {pod.name!r} live until {_render_time(ends_at)}, {render_lease(added)} "
        f"longer, for ${render_usd(hours * pod.price_usd_per_hour)} more at "
        f"{render_price(pod.price_usd_per_hour)}?",
        yes=yes,
    )


def _emit_change(session: Session, pod: "Pod", change: "LeaseChange") -> None:
    if change.was_restarted:
        session.note(
            f"RunPod restarted {pod.name!r} for it: its files outside the volume are "
            "lost."
        )
    document = _render_document(pod, change.after)
    session.emit(
        {**document, "was_restarted": change.was_restarted},
        lambda: _render_sheet([(pod, change.after)]),
        names=lambda: [pod.name],
    )


def _render_document(pod: "Pod", lease: "Lease") -> dict[str, Any]:
    remaining = lease.remaining
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status,
        "owner": pod.owner,
        "lease_ends_at": lease.ends_at,
        "remaining_seconds": None
        if remaining is None
        else int(remaining.total_seconds()),
        "is_over": lease.is_over,
        "price_usd_per_hour": pod.price_usd_per_hour,
    }


def _render_sheet(rows: "list[tuple[Pod, Lease]]") -> "Sheet":
    from runpod_client.prices import render_usd  # noqa: PLC0415  # not for --help
    from runpod_client.sheets import Cell, Sheet  # noqa: PLC0415

    return Sheet(
        headings=("POD", "STATUS", "ENDS", "LEFT", ">$/H"),
        rows=[
            (
                pod.name,
                pod.status.value,
                _render_time(lease.ends_at),
                Cell(_render_left(lease), "red" if lease.is_over else ""),
                render_usd(pod.price_usd_per_hour),
            )
            for pod, lease in rows
        ],
        empty="No pods of this owner.",
    )


def _render_left(lease: "Lease") -> str:
    from runpod_client.leases import render_lease  # noqa: PLC0415  # not for --help

    if lease.remaining is None:
        return "no end"
    length = render_lease(lease.remaining)
    return f"over for {length}" if lease.is_over else length


def _render_time(moment: "datetime | None") -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
