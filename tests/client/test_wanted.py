from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from runpod_client import CloudType, ConfigError, Constraints, PodSpec, Preference
from runpod_client.wanted import DEFAULT_IMAGE, Wish, make_spec, overlay

HOURS = timedelta(hours=8)
TEMPLATE = PodSpec(
    name="train",
    image="my/image:1",
    place=Constraints(gpu_types=("L4",), gpu_count=2, data_center_ids=("EU-RO-1",)),
    fallbacks=(Constraints(gpu_types=("A40",)),),
    env={"A": "1", "B": "2"},
    volume_gb=50,
    lease=timedelta(hours=2),
)


def test_flags_alone_make_a_pod_with_the_defaults() -> None:
    spec = make_spec(Wish(name="x", gpu_types=("L4",)), default_lease=HOURS)

    assert spec == PodSpec(
        name="x", image=DEFAULT_IMAGE, place=Constraints(gpu_types=("L4",)), lease=HOURS
    )


def test_memory_alone_says_which_gpus_would_do() -> None:
    spec = make_spec(Wish(name="x", min_memory_gb=48), default_lease=None)

    assert spec.place == Constraints(min_memory_gb=48)


@pytest.mark.parametrize("wish", [Wish(gpu_types=("L4",)), Wish(name="x")])
def test_flags_that_say_too_little_are_refused(wish: Wish) -> None:
    with pytest.raises(ConfigError) as caught:
        make_spec(wish, default_lease=None)

    assert "--" in caught.value.hint


def test_lease_of_none_is_an_answer_and_no_gap() -> None:
    wish = Wish(name="x", gpu_types=("L4",), has_lease=True, lease=None)

    assert make_spec(wish, default_lease=HOURS).lease is None


def test_template_keeps_what_no_flag_says() -> None:
    assert overlay(TEMPLATE, Wish()) == TEMPLATE


def test_flags_go_before_the_template_in_every_place() -> None:
    wish = Wish(
        name="mine",
        env={"B": "3"},
        volume_gb=0,
        max_price_usd_per_hour=Decimal("0.5"),
        prefer="price",
    )

    spec = overlay(TEMPLATE, wish)

    assert (spec.name, spec.volume_gb, spec.env) == ("mine", 0, {"A": "1", "B": "3"})
    for place, before in zip(
        (spec.place, *spec.fallbacks),
        (TEMPLATE.place, *TEMPLATE.fallbacks),
        strict=True,
    ):
        assert place == replace(
            before,
            max_price_usd_per_hour=Decimal("0.5"),
            prefer=Preference.PRICE,
        )


def test_naming_gpus_drops_the_fallbacks_made_for_others() -> None:
    spec = overlay(TEMPLATE, Wish(gpu_types=("H100 SXM",), cloud_type="secure"))

    assert spec.fallbacks == ()
    assert spec.place == replace(
        TEMPLATE.place, gpu_types=("H100 SXM",), cloud_type=CloudType.SECURE
    )
