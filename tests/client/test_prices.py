from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import Constraints, PodSpec
from runpod_client.prices import (
    HOURS_PER_MONTH,
    disk_usd_per_hour,
    render_price,
    render_usd,
)

SPEC = PodSpec(name="x", image="i", place=Constraints())

amounts = st.decimals(min_value=0, max_value=1_000_000, places=6)


@given(amount=amounts)
def test_shown_amount_is_the_amount_to_the_digits_shown(amount: Decimal) -> None:
    shown = render_usd(amount)

    digits = shown.partition(".")[2]
    error = abs(Decimal(shown.replace(",", "")) - amount)
    assert len(digits) >= 2
    assert error <= Decimal(1).scaleb(-len(digits)) / 2


@given(cents=st.integers(0, 100_000_000))
def test_whole_cents_are_shown_with_two_digits_and_exactly(cents: int) -> None:
    shown = render_usd(Decimal(cents) / 100)

    assert int(shown.replace(",", "").replace(".", "")) == cents
    assert shown[-3] == "."


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (None, "not offered now"),
        (Decimal("0.1635"), "$0.1635/hour ($3.924/day)"),
        (Decimal("2.5"), "$2.50/hour ($60.00/day)"),
        (Decimal("71.92"), "$71.92/hour ($1,726.08/day)"),
    ],
)
def test_price_is_shown_by_the_hour_and_by_the_day(
    price: Decimal | None, text: str
) -> None:
    assert render_price(price) == text


@given(container_gb=st.integers(1, 2000), volume_gb=st.integers(0, 2000))
def test_disks_cost_ten_cents_per_gigabyte_and_month_together(
    container_gb: int, volume_gb: int
) -> None:
    spec = replace(SPEC, container_disk_gb=container_gb, volume_gb=volume_gb)

    per_month = disk_usd_per_hour(spec) * HOURS_PER_MONTH

    assert round(per_month, 6) == Decimal(container_gb + volume_gb) / 10
