from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_client import ConfigError, Constraints, PodSpec
from runpod_client.prices import disk_usd_per_hour, render_price, render_usd
from runpod_client.specs import check_spec, parse_env, parse_env_file, parse_port
from runpod_client.tables import render_duration

SPEC = PodSpec(name="x", image="img", place=Constraints(gpu_types=("NVIDIA L4",)))


@pytest.mark.parametrize(
    "fault",
    [
        {"name": " "},
        {"name": "a\nb"},
        {"name": "x" * 32},
        {"image": ""},
        {"place": Constraints(gpu_count=0)},
        {"place": Constraints(min_memory_gb=-1)},
        {"place": Constraints(min_cuda="new")},
        {"fallbacks": (Constraints(max_price_usd_per_hour=Decimal(0)),)},
        {"lease": timedelta(seconds=30)},
        {"container_disk_gb": 0},
        {"volume_gb": -1},
        {"volume_gb": 10, "network_volume_id": "v"},
        {"volume_mount_path": "data"},
        {"ports": ("22",)},
        {"ports": tuple(f"{n}/http" for n in range(1, 12))},
        {"env": {"1A": ""}},
        {"env": {f"V{n}": "" for n in range(46)}},
    ],
)
def test_senseless_spec_is_refused(fault: dict[str, Any]) -> None:
    check_spec(SPEC)

    with pytest.raises(ConfigError):
        check_spec(replace(SPEC, **fault))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("22", "22/tcp"), ("22/TCP", "22/tcp"), (" 8188/http ", "8188/http")],
)
def test_port_is_read_leniently(text: str, expected: str) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize("text", ["", "ssh", "0/tcp", "70000/tcp", "53/udp", "22/tcp,"])
def test_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_port(text)


def test_env_file_takes_comments_blanks_and_equal_signs() -> None:
    text = "# note\n\nA=1\n B=x=y \n"

    assert parse_env_file(text, source="f") == {"A": "1", "B": "x=y"}


def test_malformed_variable_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_env(["A=1", "planted-secret"], source="--env")

    assert "variable 2 of --env" in caught.value.message
    assert "planted" not in caught.value.message


def test_disks_are_priced_by_the_hour() -> None:
    spec = replace(SPEC, container_disk_gb=20, volume_gb=53)

    assert disk_usd_per_hour(spec) == Decimal("0.01")


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0.69", "0.69"), ("0.085", "0.085"), ("16.56", "16.56"), ("1234.5", "1,234.50")],
)
def test_amounts_are_written_with_the_digits_they_need(
    amount: str, expected: str
) -> None:
    assert render_usd(Decimal(amount)) == expected


def test_price_is_written_by_hour_and_day() -> None:
    assert render_price(Decimal("0.69")) == "$0.69/hour ($16.56/day)"
    assert render_price(None) == "not offered now"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (0, "0s"), (61, "1m 1s"), (3600, "1h 0m"), (90_000, "1d 1h")],
)
def test_duration_is_written_in_two_units(seconds: int | None, expected: str) -> None:
    assert render_duration(seconds) == expected


@settings(deadline=None)  # other work shares the machine
@given(st.integers(1, 65535), st.sampled_from(["tcp", "http"]))
def test_every_port_survives_reading(number: int, protocol: str) -> None:
    assert parse_port(f"{number}/{protocol}") == f"{number}/{protocol}"
