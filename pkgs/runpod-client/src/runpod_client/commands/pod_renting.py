"""What makes pods bill: `pods create` and `pods start`. Both show the price and ask."""

from typing import TYPE_CHECKING, Any

import click

from runpod_client import pod_options
from runpod_client.commands.arguments import (
    POD_ARGUMENT,
    TIMEOUT_OPTION,
    USD,
    WAIT_OPTION,
    YES_OPTION,
    examples,
    load_settings,
    with_client,
)
from runpod_client.commands.pod_reading import await_ready, emit_pod
from runpod_client.console import Session

if TYPE_CHECKING:
    from datetime import timedelta
    from decimal import Decimal

    from runpod_client.client import RunPodClient
    from runpod_client.model import Placement, Pod
    from runpod_client.plans import Plan


@click.command(
    "create",
    epilog=examples(
        '  runpod-client pods create --name trainer --gpu "RTX 4090" --lease 2h\n'
        '  runpod-client pods create --name big --gpu "H100 SXM" --gpu "H100 PCIe" \\\n'
        "      --gpu-count 2 --volume 100 --cloud secure --yes\n"
        "  runpod-client pods create --name any --min-memory 48 --max-price 0.80\n"
        '  runpod-client pods create --name cheap --gpu "RTX 3090" --bid floor+10%\n'
        "  runpod-client pods create --template train --set size=100 --explain\n"
    ),
)
@click.option("--name", help="The pod's name, unique among your pods.")
@pod_options.spec_options
@click.option(
    "--allow-duplicate-name",
    is_flag=True,
    help="Rent it even if a live pod has that name.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Only show what could be rented, in which order, and why nothing else.",
)
@WAIT_OPTION
@TIMEOUT_OPTION
@YES_OPTION
@with_client
def create_pod(
    session: Session,
    client: "RunPodClient",
    *,
    allow_duplicate_name: bool,
    explain: bool,
    wait: bool,
    timeout: float,
    yes: bool,
    **wanted: Any,
) -> None:
    """Rent a pod. It bills from the moment it is made, until its lease ends.

    The price is shown and asked for first. Where one way to rent it is out of stock
    the next is tried. An interrupted create can be repeated: it takes over what was
    made.
    """
    spec = pod_options.read_spec(
        session, default_lease=_default_lease(session), **wanted
    )
    plan = client.plan(spec)
    if explain:
        _explain(session, plan)
        return
    _confirm_price(session, plan, yes=yes)
    with session.status(spec.name) as on_status:
        try:
            pod = client.create_pod(
                spec,
                plan=plan,
                allow_duplicate_name=allow_duplicate_name,
                on_status=on_status,
            )
        except KeyboardInterrupt:
            session.note(
                f"{spec.name!r} may have been rented all the same, and then it bills."
                " See: runpod-client pods list"
            )
            raise
        # said before the waiting, which may be interrupted
        session.note(f"Rented {pod.name!r} ({pod.pod_id}); {_render_end(pod)}.")
        if wait:
            goal = "ssh" if "22/tcp" in spec.ports else "running"
            pod = await_ready(
                client, pod, goal=goal, timeout=timeout, on_status=on_status
            )
    emit_pod(session, client, pod)


@click.command(
    "start",
    epilog=examples(
        "  runpod-client pods start trainer\n"
        "  runpod-client pods start trainer --yes --no-wait\n"
        "  runpod-client pods start cheap --bid 0.21\n"
        "  runpod-client pods start trainer --without-gpus   # to save its data\n"
    ),
)
@POD_ARGUMENT
@click.option("--bid", type=USD(), help="For spot pods: per GPU-hour.")
@click.option(
    "--without-gpus",
    is_flag=True,
    help="With CPUs alone, to reach its volume when its GPUs are taken.",
)
@WAIT_OPTION
@TIMEOUT_OPTION
@YES_OPTION
@with_client
def start_pod(
    session: Session,
    client: "RunPodClient",
    pod: str,
    *,
    bid: "Decimal | None",
    without_gpus: bool,
    wait: bool,
    timeout: float,
    yes: bool,
) -> None:
    """Start a stopped pod on the machine it was on. It bills again.

    Its public ports and host keys are new, its volume is as it was. A spot pod that
    was outbid is started with a higher bid, unless --bid says which.
    """
    found = client.resolve_pod(pod, with_reason=True)
    if found.status.is_billed:
        session.note(f"{found.name!r} is {found.status.lower()} already.")
    else:
        bid = _confirm_start(session, client, found, bid, without_gpus, yes=yes)
    with session.status(found.name) as on_status:
        started = client.start_pod(
            found.pod_id,
            wait=wait,
            timeout=timeout,
            bid_usd_per_gpu_hour=bid,
            without_gpus=without_gpus,
            on_status=on_status,
        )
    emit_pod(session, client, started)


def _confirm_start(
    session: Session,
    client: "RunPodClient",
    pod: "Pod",
    bid: "Decimal | None",
    without_gpus: bool,  # noqa: FBT001  # the command's own flag
    *,
    yes: bool,
) -> "Decimal | None":
    """Say what a stopped pod would cost, have it agreed to, and return its bid."""
    from runpod_client.prices import render_price  # noqa: PLC0415

    if without_gpus:
        session.confirm(f"Start {pod.name!r} for the price of its CPUs?", yes=yes)
        return None
    plan = client.plan_start(pod, bid_usd_per_gpu_hour=bid)
    price = "a price that RunPod does not tell"
    if plan.price_usd_per_hour is not None:
        price = render_price(plan.price_usd_per_hour)
    why = f" ({plan.reason})" if plan.reason else ""
    session.confirm(f"Start {pod.name!r} for {price}{why}?", yes=yes)
    return plan.bid_usd_per_gpu_hour


def _default_lease(session: Session) -> "timedelta | None":
    from runpod_client.leases import parse_lease  # noqa: PLC0415  # slow

    return parse_lease(load_settings(session).default_lease)


def _explain(session: Session, plan: "Plan") -> None:
    """Show the choice, for the place wanted and for each fallback."""
    from runpod_client import explanations  # noqa: PLC0415  # not needed by --help

    session.emit(
        {"choices": [explanations.choice_document(c) for c in plan.choices]},
        lambda: explanations.choices_sheet(plan.choices),
    )


def _confirm_price(session: Session, plan: "Plan", *, yes: bool) -> None:
    """Say what the pod would cost and have it agreed to.

    Raises:
        NoCapacityError: What fits is out of stock.
        ConfigError: Nothing fits.
        ConfirmationRequiredError: It was not agreed to.
    """
    from runpod_client import leases, prices  # noqa: PLC0415  # not needed by --help

    placements = plan.get_placements()
    for placement in placements[:5]:
        session.note(_render_placement(placement))
    if len(placements) > 5:
        session.note(f"and {len(placements) - 5} more ways; see --explain")
    spec = plan.spec
    most = max(p.price_usd_per_hour for p in placements)
    at_most = " at most" * (len(placements) > 1)
    disks = prices.render_usd(prices.disk_usd_per_hour(spec))
    lease = leases.render_lease(spec.lease)
    end = f"for {lease}" if spec.lease else "WITHOUT AN END"
    session.confirm(
        f"Rent {spec.name!r} {end} at {prices.render_price(most)}{at_most}, "
        f"and about ${disks}/hour for its disks?",
        yes=yes,
    )


def _render_placement(placement: "Placement") -> str:
    from runpod_client.prices import render_price  # noqa: PLC0415

    bid = placement.bid_usd_per_gpu_hour
    how = "on demand" if bid is None else f"spot, bid {bid}"
    return (
        f"{placement.gpu_type} x {placement.gpu_count}, {placement.cloud_type} cloud, "
        f"{how}: {render_price(placement.price_usd_per_hour)}"
    )


def _render_end(pod: "Pod") -> str:
    if pod.lease_ends_at is None:
        return "it bills from now on, and has no end"
    return f"it bills from now on, and its lease ends {pod.lease_ends_at:%Y-%m-%d %H:%M} UTC"
