"""What `up` is asked to bring about for a workflow run, and what it brought about.

Pure values: it must know neither wires nor the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from runner_installer.model import Scope
from runner_installer.returning import Giveback
from runner_installer.runs import (
    Run,
    RunPod,
    render_label,
    render_marks,
    render_pod_name,
)
from runpod_client import Constraints, Error, Placement, Pod, PodSpec

# how spot pods are bid for where nobody says; `runpod_client.bids` explains it
DEFAULT_BID = "floor+10%"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `up` is to bring about.

    Attributes:
        spec: Every pod; its name is filled in per slot, its marks are added.
        scope: Where the runners register; None where none are wanted.
        labels: What jobs may ask for beside the run's own label.
        is_all_or_nothing: Give all back where one cannot be had.
        timeout_seconds: For everything.
        ready_seconds: For one runner, from its start to its listening for jobs.
    """

    run: Run
    name: str
    spec: PodSpec
    pod_count: int
    runners_per_pod: int
    scope: Scope | None
    labels: tuple[str, ...] = ()
    prefix: str = "runpod"
    group_id: int = 1
    is_all_or_nothing: bool = True
    timeout_seconds: float = 900.0
    ready_seconds: float = 120.0

    @property
    def label(self) -> str:
        """Return the label that only these runners have."""
        return render_label(self.name, self.run)

    def spec_for(self, slot: int) -> PodSpec:
        """Return the pod of a slot: the same at every repetition."""
        marks = render_marks(self.run, self.name, self.scope)
        return replace(
            self.spec,
            name=render_pod_name(self.name, self.run, slot),
            env={**self.spec.env, **marks},
        )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How long a part of making a pod usable took: rent, boot, install."""

    name: str
    elapsed_seconds: float


@dataclass(frozen=True, kw_only=True)
class Readied:
    """A pod that is as wanted.

    Attributes:
        runners: The names of its runners, which are labels of theirs too.
        is_new: False where an earlier call had rented it.
        attempt: How many pods it took.
    """

    pod: Pod
    slot: int
    runners: tuple[str, ...]
    stages: tuple[Stage, ...]
    is_new: bool
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A slot that could not be filled."""

    slot: int
    error: Error


@dataclass(frozen=True, kw_only=True)
class Rented:
    """What `up` brought about.

    Attributes:
        given_back: What was rented in vain.
    """

    wanted: Wanted
    pods: tuple[Readied, ...]
    failed: tuple[Failed, ...]
    given_back: Giveback
    elapsed_seconds: float

    @property
    def price_usd_per_hour(self) -> Decimal:
        """Return what all the pods cost together."""
        return sum((each.pod.price_usd_per_hour for each in self.pods), Decimal(0))


def find_missing(
    present: Sequence[RunPod], wanted: Wanted
) -> tuple[dict[int, RunPod], tuple[RunPod, ...]]:
    """Return which slots are taken by usable pods, and the pods that are of no use.

    Of no use are stopped and failed ones (a stopped pod's GPU is anybody's), those
    beyond the wanted count, and a second one of a slot.
    """
    taken: dict[int, RunPod] = {}
    useless = []
    for each in present:
        is_wanted = 1 <= each.slot <= wanted.pod_count and each.slot not in taken
        if each.is_usable and is_wanted and each.scope == wanted.scope:
            taken[each.slot] = each
        else:
            useless.append(each)
    return taken, tuple(useless)


def get_most(placements: Sequence[Placement]) -> Decimal:
    """Return the most that one of the ways to rent a pod costs per hour."""
    return max(placement.price_usd_per_hour for placement in placements)


def with_fallback(spec: PodSpec) -> PodSpec:
    """Return a spec that is rented on demand where no spot pod is free.

    A bid that is a price is a limit, and stays one.
    """
    bid = spec.place.bid
    if not bid or bid[0].isdigit() or bid[0] in "$." or spec.fallbacks:
        return spec
    return replace(spec, fallbacks=(replace(spec.place, bid=""),))


def on_demand(spec: PodSpec, most: Decimal) -> PodSpec:
    """Return a spec for after a pod failed: on demand, for no more than agreed to."""

    def firm(place: Constraints) -> Constraints:
        limit = place.max_price_usd_per_hour or most
        return replace(place, bid="", max_price_usd_per_hour=limit)

    places = list(dict.fromkeys(map(firm, (spec.place, *spec.fallbacks))))
    return replace(spec, place=places[0], fallbacks=tuple(places[1:]))


def renamed(planned: PodSpec, spec: PodSpec) -> PodSpec:
    """Return a planned spec, whose GPU types are ids, as the pod of another slot."""
    return replace(planned, name=spec.name, env=spec.env)
