"""What renting a wanted pod can come to, before anything is asked for; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from runpod_client import marks
from runpod_client.bids import Market, decide_next_bid, parse_bid
from runpod_client.choice import NO_HISTORY, Choice, History, choose
from runpod_client.errors import ConfigError, NotFoundError
from runpod_client.model import (
    CloudType,
    Constraints,
    GPUOffer,
    NetworkVolume,
    Placement,
    Pod,
    PodSpec,
)
from runpod_client.nearest import render_nearest
from runpod_client.placements import get_placements
from runpod_client.selection import select_gpu_types

# what a stopped spot pod is started with where nobody says; see `bids`
DEFAULT_BID = "floor+10%"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A wanted pod and what the catalogue has for it.

    Attributes:
        spec: With GPU types by id.
        choices: One for `spec.place`, then one for each of its fallbacks.
    """

    spec: PodSpec
    offers: tuple[GPUOffer, ...]
    choices: tuple[Choice, ...]
    history: History = field(default_factory=dict, repr=False)

    def get_placements(self) -> tuple[Placement, ...]:
        """Return the ways to rent it, best first, those of fallbacks last.

        Raises:
            NoCapacityError: What fits is out of stock.
            ConfigError: Nothing fits; the message names what stands in the way.
        """
        places = (self.spec.place, *self.spec.fallbacks)
        return get_placements(self.offers, places, history=self.history)


@dataclass(frozen=True, kw_only=True)
class StartPlan:
    """What starting a stopped pod costs.

    Attributes:
        price_usd_per_hour: None where nobody tells.
        bid_usd_per_gpu_hour: For a spot pod; None for any other.
        reason: How the bid comes about, if one was decided on.
    """

    price_usd_per_hour: Decimal | None
    bid_usd_per_gpu_hour: Decimal | None = None
    reason: str = ""


def make_plan(
    spec: PodSpec, offers: Sequence[GPUOffer], history: History = NO_HISTORY
) -> Plan:
    """Return what can be rented for a spec.

    Args:
        history: Floors seen lately, for bids by percentile.

    Raises:
        NotFoundError: RunPod has no such GPU type.
        ConfigError: A bid or a version in the spec cannot be read.
    """
    spec = replace(
        spec,
        place=_with_ids(spec.place, offers),
        fallbacks=tuple(_with_ids(place, offers) for place in spec.fallbacks),
    )
    places = (spec.place, *spec.fallbacks)
    return Plan(
        spec=spec,
        offers=tuple(offers),
        choices=tuple(choose(offers, place, history=history) for place in places),
        history=history,
    )


def bind_to_volume(spec: PodSpec, volumes: Sequence[NetworkVolume]) -> PodSpec:
    """Return a spec that can be placed only where its network volume is.

    Raises:
        NotFoundError: The account has no such volume.
        ConfigError: The spec wants it elsewhere.
    """
    known = {volume.volume_id: volume for volume in volumes}
    volume = known.get(spec.network_volume_id)
    if volume is None:
        raise NotFoundError(
            f"there is no network volume {spec.network_volume_id!r}",
            operation="listNetworkVolumes",
            hint=render_nearest(spec.network_volume_id, known)
            or "Make one: runpod-client volumes create --help",
        )
    return replace(
        spec,
        place=_at(spec.place, volume),
        fallbacks=tuple(_at(place, volume) for place in spec.fallbacks),
    )


def _at(place: Constraints, volume: NetworkVolume) -> Constraints:
    wanted = place.data_center_ids
    if wanted and volume.data_center_id not in wanted:
        raise ConfigError(
            f"the network volume {volume.volume_id} is in {volume.data_center_id}, not "
            f"in {', '.join(wanted)}",
            setting="data_centers",
            hint=f"Say --data-center {volume.data_center_id}, or none.",
        )
    # docs.runpod.io, network volumes: only the Secure Cloud mounts them
    return replace(
        place,
        data_center_ids=(volume.data_center_id,),
        cloud_type=CloudType.SECURE,
    )


def make_start_plan(
    pod: Pod, offers: Sequence[GPUOffer], *, bid_usd_per_gpu_hour: Decimal | None
) -> StartPlan:
    """Return what a stopped pod would cost again.

    Args:
        bid_usd_per_gpu_hour: For a spot pod; None decides on one that can win now.
    """
    offer = next((o for o in offers if _is_of(pod, o)), None)
    if not pod.is_spot:
        return StartPlan(price_usd_per_hour=_on_demand_price(pod, offer))
    bid, reason = bid_usd_per_gpu_hour, ""
    if bid is None:
        bid, reason = _decide_bid(pod, offer)
    return StartPlan(
        price_usd_per_hour=None if bid is None else bid * pod.gpu_count,
        bid_usd_per_gpu_hour=bid,
        reason=reason,
    )


def _decide_bid(pod: Pod, offer: GPUOffer | None) -> tuple[Decimal | None, str]:
    """Return the bid to start a spot pod with, and why; a spot pod needs one."""
    last = marks.parse_marks(pod.name, pod.env).bid_usd_per_gpu_hour
    if last is None and pod.price_usd_per_hour:
        last = pod.price_usd_per_hour / (pod.gpu_count or 1)
    if offer is None or offer.minimum_bid_usd_per_gpu_hour is None:
        return last, "the last bid, since nobody tells the lowest now"
    floor = offer.minimum_bid_usd_per_gpu_hour
    market = Market(floor=floor, on_demand=offer.usd_per_gpu_hour)
    decision = decide_next_bid(
        parse_bid(DEFAULT_BID),
        market,
        last_bid=last or floor,
        outbid_count=int(_was_outbid(pod)),
    )
    return decision.bid_usd_per_gpu_hour or last, decision.reason


def _on_demand_price(pod: Pod, offer: GPUOffer | None) -> Decimal | None:
    if pod.price_usd_per_hour:
        return pod.price_usd_per_hour
    if offer is None or offer.usd_per_gpu_hour is None:
        return None
    return offer.usd_per_gpu_hour * pod.gpu_count


def _is_of(pod: Pod, offer: GPUOffer) -> bool:
    names = {offer.gpu_type, offer.display_name}
    return pod.gpu_type in names and pod.cloud_type in {None, offer.cloud_type}


def _with_ids(place: Constraints, offers: Sequence[GPUOffer]) -> Constraints:
    return replace(place, gpu_types=tuple(select_gpu_types(offers, place.gpu_types)))


def _was_outbid(pod: Pod) -> bool:
    return pod.status_reason.casefold().startswith("outbid")
