"""`runpod-client volumes`: network volumes, which outlive pods and bill until deleted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from runpod_client import prices
from runpod_client.commands.arguments import YES_OPTION, examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient
    from runpod_client.cloud import Cloud
    from runpod_client.model import DataCenter, NetworkVolume
    from runpod_client.sheets import Sheet

# the OpenAPI of REST v2: NetworkVolume.size
MIN_SIZE_GB = 10
MAX_SIZE_GB = 4096


@click.group()
def volumes() -> None:
    """Keep network volumes: storage that outlives pods.

    A network volume bills every hour until it is deleted, whether a pod uses it or
    not: $0.07 per GB and month up to 1 TB, $0.05 for what is beyond.
    """


@volumes.command(
    "list",
    epilog=examples(
        "  runpod-client volumes list\n"
        "  runpod-client volumes list --json | jq -r '.volumes[].volume_id'\n"
    ),
)
@with_client
def list_volumes(session: Session, client: "RunPodClient") -> None:
    """List the network volumes and what they cost per month."""
    from runpod_client.sheets import names_of  # noqa: PLC0415  # slow

    found = client.cloud.list_network_volumes()
    session.emit(
        {"volumes": [render_volume(volume) for volume in found]},
        lambda: render_sheet(found),
        names=lambda: names_of((v.name, v.volume_id) for v in found),
    )


@volumes.command(
    "create",
    epilog=examples(
        "  runpod-client volumes create datasets --size 200 --data-center EU-RO-1\n"
        "  runpod-client volumes create scratch --size 10 --data-center US-KS-2 --yes\n"
    ),
)
@click.argument("name")
@click.option(
    "--size",
    "size_gb",
    type=click.IntRange(MIN_SIZE_GB, MAX_SIZE_GB),
    required=True,
    metavar="GB",
    help="It can grow later, never shrink.",
)
@click.option(
    "--data-center",
    "data_center_id",
    required=True,
    metavar="ID",
    help="Only pods there can use it; see `runpod-client data-centers list --volumes`.",
)
@YES_OPTION
@with_client
def create_volume(
    session: Session,
    client: "RunPodClient",
    *,
    name: str,
    size_gb: int,
    data_center_id: str,
    yes: bool,
) -> None:
    """Make a network volume. It bills from then on, until it is deleted.

    The price is shown and asked for first.
    """
    from runpod_client.sheets import Lines  # noqa: PLC0415  # slow

    center = select_data_center(client.cloud.list_data_centers(), data_center_id)
    check_name_is_free(name, client.cloud.list_network_volumes())
    price = render_monthly(size_gb)
    session.confirm(
        f"Make the network volume {name!r}, {size_gb} GB in {center}, for {price}?",
        yes=yes,
    )
    made = make_volume(client.cloud, name=name, size_gb=size_gb, data_center_id=center)
    session.emit(
        {"volume": render_volume(made)},
        lambda: Lines(f"{made.name} ({made.volume_id}) made; it bills {price}"),
        names=lambda: [made.volume_id],
    )


@volumes.command(
    "delete",
    epilog=examples(
        "  runpod-client volumes delete datasets\n"
        "  runpod-client volumes delete agv6w2qcg7 --yes\n"
    ),
)
@click.argument("volume", metavar="VOLUME")
@YES_OPTION
@with_client
def delete_volume(
    session: Session, client: "RunPodClient", *, volume: str, yes: bool
) -> None:
    """Destroy a network volume, by id or name, and what is on it. Billing ends."""
    from runpod_client.errors import NotFoundError  # noqa: PLC0415  # slow
    from runpod_client.sheets import Lines  # noqa: PLC0415

    found = select_volume(client.cloud.list_network_volumes(), volume)
    session.confirm(
        f"Destroy the network volume {found.name!r} ({found.volume_id}, "
        f"{found.size_gb} GB) and all that is on it?",
        yes=yes,
    )
    did = True
    try:
        client.cloud.delete_network_volume(found.volume_id)
    except NotFoundError:
        did = False
    outcome = "destroyed" if did else "was gone already"
    session.emit(
        {"volume_id": found.volume_id, "name": found.name, "deleted": did},
        lambda: Lines(f"{found.name} ({found.volume_id}) {outcome}"),
    )


def check_name_is_free(name: str, known: "Sequence[NetworkVolume]") -> None:
    """Do nothing if no network volume has that name.

    RunPod has no idempotency key: the name is what keeps a repeated create from being
    paid for twice.

    Raises:
        RejectedError: One has.
    """
    from runpod_client.errors import RejectedError  # noqa: PLC0415  # slow

    for volume in known:
        if volume.name == name:
            raise RejectedError(
                f"there is already a network volume named {name!r}: "
                f"{volume.volume_id}, {volume.size_gb} GB in {volume.data_center_id}",
                hint="Use that one, or choose another name.",
            )


def make_volume(
    cloud: "Cloud", *, name: str, size_gb: int, data_center_id: str
) -> "NetworkVolume":
    """Make a network volume once; where the answer is lost, see whether it was made.

    Raises:
        TransportError, UnavailableError, ProtocolError: It is not listed, and may
            have been made all the same.
    """
    from runpod_client.errors import (  # noqa: PLC0415  # slow
        ProtocolError,
        TransportError,
        UnavailableError,
    )

    try:
        return cloud.create_network_volume(
            name=name, size_gb=size_gb, data_center_id=data_center_id
        )
    except (TransportError, UnavailableError, ProtocolError) as error:
        made = [v for v in cloud.list_network_volumes() if v.name == name]
        if not made:
            error.hint = (
                "It may have been made and then bills; see: runpod-client volumes list"
            )
            raise
        return made[0]


def render_monthly(size_gb: int) -> str:
    """Return the price for people."""
    return f"${prices.network_volume_usd_per_month(size_gb):,.2f}/month"


def select_volume(known: "Sequence[NetworkVolume]", selector: str) -> "NetworkVolume":
    """Return the volume of that id or, failing that, of that name.

    Raises:
        NotFoundError: None fits.
        ConfigError: Several have that name.
    """
    from runpod_client.errors import ConfigError, NotFoundError  # noqa: PLC0415  # slow
    from runpod_client.nearest import render_nearest  # noqa: PLC0415

    for volume in known:
        if volume.volume_id == selector:
            return volume
    named = [volume for volume in known if volume.name == selector]
    if len(named) > 1:
        ids = ", ".join(volume.volume_id for volume in named)
        raise ConfigError(
            f"{len(named)} network volumes are named {selector!r}: {ids}",
            hint="Name it by one of these ids.",
        )
    if not named:
        names = [volume.name for volume in known] + [v.volume_id for v in known]
        raise NotFoundError(
            f"there is no network volume {selector!r}",
            hint=render_nearest(selector, names) or "The account has none.",
        )
    return named[0]


def select_data_center(known: "Sequence[DataCenter]", wanted: str) -> str:
    """Return the id of a data center that keeps network volumes.

    Raises:
        NotFoundError: There is none of that id.
        RejectedError: It keeps no network volumes.
    """
    from runpod_client.errors import (  # noqa: PLC0415  # slow
        NotFoundError,
        RejectedError,
    )
    from runpod_client.nearest import render_nearest  # noqa: PLC0415

    keeping = [c.data_center_id for c in known if c.has_network_volumes]
    for center in known:
        if center.data_center_id.casefold() != wanted.casefold():
            continue
        if center.has_network_volumes:
            return center.data_center_id
        raise RejectedError(
            f"{center.data_center_id} keeps no network volumes",
            hint=f"These do: {', '.join(keeping)}.",
        )
    raise NotFoundError(
        f"RunPod has no data center {wanted!r}", hint=render_nearest(wanted, keeping)
    )


def render_volume(volume: "NetworkVolume") -> dict[str, Any]:
    """Return a network volume for programs."""
    return {
        "volume_id": volume.volume_id,
        "name": volume.name,
        "size_gb": volume.size_gb,
        "data_center_id": volume.data_center_id,
        "price_usd_per_month": prices.network_volume_usd_per_month(volume.size_gb),
    }


def render_sheet(found: "Sequence[NetworkVolume]") -> "Sheet":
    """Return the network volumes as a table."""
    from runpod_client.sheets import Sheet  # noqa: PLC0415  # slow

    return Sheet(
        headings=("NAME", "ID", ">GB", "DATA CENTER", ">$/MONTH"),
        rows=[
            [
                volume.name,
                volume.volume_id,
                str(volume.size_gb),
                volume.data_center_id,
                f"{prices.network_volume_usd_per_month(volume.size_gb):,.2f}",
            ]
            for volume in found
        ],
        empty="No network volumes. Make one: runpod-client volumes create --help",
    )
