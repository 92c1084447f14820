"""A wanted pod as a command line says it: defaults, or a template, and flags over it.

Pure. What is None, or empty, was not given and leaves what the template says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from runpod_client.errors import ConfigError
from runpod_client.model import CloudType, Constraints, PodSpec, Preference

DEFAULT_IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the flags of a create say; see `PodSpec` and `Constraints` for meanings.

    Attributes:
        has_lease: Whether a lease was asked for; `lease` may then be None, for no end.
    """

    name: str = ""
    gpu_types: tuple[str, ...] = ()
    gpu_count: int | None = None
    image: str = ""
    cloud_type: str | None = None
    container_disk_gb: int | None = None
    volume_gb: int | None = None
    network_volume_id: str = ""
    template_id: str = ""
    ports: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    data_center_ids: tuple[str, ...] = ()
    min_memory_gb: int | None = None
    min_cuda: str = ""
    max_price_usd_per_hour: Decimal | None = None
    bid: str = ""
    prefer: str | None = None
    start_command: str | None = None
    has_lease: bool = False
    lease: timedelta | None = None


def make_spec(wish: Wish, *, default_lease: timedelta | None) -> PodSpec:
    """Return the pod that flags alone describe.

    Raises:
        ConfigError: They say too little.
    """
    if not wish.name:
        raise ConfigError("a pod needs a name", setting="name", hint="Say --name NAME.")
    image = "" if wish.template_id else DEFAULT_IMAGE
    plain = PodSpec(
        name=wish.name, image=image, place=Constraints(), lease=default_lease
    )
    return overlay(plain, wish)


def overlay(spec: PodSpec, wish: Wish) -> PodSpec:
    """Return a spec with what the flags say in place of what it said.

    Naming GPUs or a cloud replaces a template's fallbacks as well: they were made for
    what the template names.

    Raises:
        ConfigError: Any GPU at all would do: too much is left open.
    """
    names_place = bool(wish.gpu_types or wish.cloud_type)
    fallbacks = () if names_place else spec.fallbacks
    wanted = replace(
        spec,
        **_given(
            name=wish.name,
            image=wish.image,
            container_disk_gb=wish.container_disk_gb,
            volume_gb=wish.volume_gb,
            network_volume_id=wish.network_volume_id,
            template_id=wish.template_id,
            ports=wish.ports,
            start_command=wish.start_command,
        ),
        env={**spec.env, **wish.env},
        lease=wish.lease if wish.has_lease else spec.lease,
        place=_overlay_place(spec.place, wish),
        fallbacks=tuple(_overlay_place(place, wish) for place in fallbacks),
    )
    for place in (wanted.place, *wanted.fallbacks):
        if not place.gpu_types and not place.min_memory_gb:
            raise ConfigError(
                "it is not said which GPUs would do",
                setting="gpu",
                hint="Say --gpu GPU, or --min-memory GB for the cheapest that has it.",
            )
    return wanted


def _overlay_place(place: Constraints, wish: Wish) -> Constraints:
    cloud = CloudType(wish.cloud_type) if wish.cloud_type else None
    return replace(
        place,
        **_given(
            gpu_types=wish.gpu_types,
            gpu_count=wish.gpu_count,
            cloud_type=cloud,
            data_center_ids=wish.data_center_ids,
            min_memory_gb=wish.min_memory_gb,
            min_cuda=wish.min_cuda,
            max_price_usd_per_hour=wish.max_price_usd_per_hour,
            bid=wish.bid,
            prefer=Preference(wish.prefer) if wish.prefer else None,
        ),
    )


def _given(**values: Any) -> dict[str, Any]:
    """Return the values that were given; 0 is one."""
    return {k: v for k, v in values.items() if v is not None and v not in ("", ())}
