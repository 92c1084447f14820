"""`runpod-client account`: the account's money."""

from typing import TYPE_CHECKING

import click

from runpod_client.commands.arguments import examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient


@click.group()
def account() -> None:
    """See the account's money."""


@account.command(
    "show",
    epilog=examples(
        "  runpod-client account show\n"
        "  runpod-client account show --json | jq -r .balance_usd\n"
    ),
)
@with_client
def show_account(session: Session, client: "RunPodClient") -> None:
    """Show balance, spending and limit.

    Only GraphQL knows them. Where RunPod has withdrawn it, what the pods cost now is
    told instead, and the command fails.
    """
    from runpod_client import tables  # noqa: PLC0415  # slow
    from runpod_client.errors import CapabilityMissingError  # noqa: PLC0415

    try:
        found = client.get_account()
    except CapabilityMissingError:
        _tell_spending(session, client)
        raise
    session.emit(tables.account_document(found), lambda: tables.account_page(found))


def _tell_spending(session: Session, client: "RunPodClient") -> None:
    """Say what the pods cost, which every wire knows."""
    from decimal import Decimal  # noqa: PLC0415  # not needed by --help

    from runpod_client.errors import APIError  # noqa: PLC0415  # slow
    from runpod_client.prices import render_price  # noqa: PLC0415

    try:
        pods = [pod for pod in client.list_pods() if pod.status.is_billed]
    except APIError:
        return  # the error that is on its way says enough
    total = sum((pod.price_usd_per_hour for pod in pods), Decimal(0))
    count = "1 pod is" if len(pods) == 1 else f"{len(pods)} pods are"
    session.note(f"{count} billed: {render_price(total)} without disks.")
