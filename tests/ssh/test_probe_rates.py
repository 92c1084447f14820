"""Rates: counters of two probes, a restart, a counter that went back."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh.probe_rates import Rates, is_restart, rates_between
from runpod_ssh.probe_records import NetworkInterface, Probe
from runpod_ssh.probe_wire import parse_probe

OUTPUT = Path(__file__).parent / "probe_outputs" / "v2-container.txt"
EARLIER = parse_probe(OUTPUT.read_text(), taken_at=datetime(2026, 11, 22, tzinfo=UTC))


def later(
    *, seconds: float = 10.0, used: float = 25.0, received: int = 0, sent: int = 0
) -> Probe:
    """The pod of EARLIER so many seconds after, its counters moved on so far."""
    assert EARLIER.machine_uptime_seconds is not None
    assert EARLIER.uptime_seconds is not None
    assert EARLIER.cpu.used_seconds is not None
    first = EARLIER.network[0]
    return dataclasses.replace(
        EARLIER,
        machine_uptime_seconds=EARLIER.machine_uptime_seconds + seconds,
        uptime_seconds=EARLIER.uptime_seconds + seconds,
        cpu=dataclasses.replace(
            EARLIER.cpu, used_seconds=EARLIER.cpu.used_seconds + used
        ),
        network=(
            NetworkInterface(
                name=first.name,
                received_bytes=first.received_bytes + received,
                sent_bytes=first.sent_bytes + sent,
            ),
        ),
    )


def test_rates_are_differences_over_the_pods_own_clock() -> None:
    rates = rates_between(EARLIER, later(received=5_000_000, sent=1000))

    assert rates == Rates(
        seconds=10.0,
        cpu_cores=2.5,
        throttled_cores=0.0,
        received_bytes_per_second=500_000.0,
        sent_bytes_per_second=100.0,
    )


def test_machine_that_restarted_has_no_rate() -> None:
    restarted = dataclasses.replace(
        later(), machine_uptime_seconds=12.0, uptime_seconds=11.0
    )

    assert is_restart(EARLIER, restarted)
    assert rates_between(EARLIER, restarted) is None


def test_pod_that_restarted_on_a_machine_that_did_not_has_no_rate() -> None:
    restarted = dataclasses.replace(later(), uptime_seconds=2.0)

    assert is_restart(EARLIER, restarted)
    assert rates_between(EARLIER, restarted) is None


def test_two_looks_at_the_same_moment_have_no_rate() -> None:
    assert rates_between(EARLIER, EARLIER) is None
    assert not is_restart(EARLIER, EARLIER)


def test_probe_without_a_clock_has_no_rate() -> None:
    timeless = dataclasses.replace(EARLIER, machine_uptime_seconds=None)

    assert rates_between(timeless, later()) is None
    assert rates_between(EARLIER, timeless) is None


def test_counter_that_went_back_or_is_missing_leaves_that_rate_out() -> None:
    missing = dataclasses.replace(EARLIER.cpu, throttled_seconds=None)
    rates = rates_between(
        EARLIER,
        dataclasses.replace(later(used=-1.0, received=-1, sent=50), cpu=missing),
    )

    assert rates is not None
    assert rates.throttled_cores is None
    assert rates.received_bytes_per_second is None
    assert rates.sent_bytes_per_second == pytest.approx(5.0)


def test_interface_that_came_or_went_is_no_traffic() -> None:
    new = NetworkInterface(name="wg0", received_bytes=10**12, sent_bytes=10**12)
    after = later(received=100, sent=100)
    rates = rates_between(
        EARLIER, dataclasses.replace(after, network=(*after.network, new))
    )

    assert rates is not None
    assert rates.received_bytes_per_second == pytest.approx(10.0)


@given(
    seconds=st.floats(-1e6, 1e6),
    used=st.floats(-1e3, 1e6),
    traffic=st.integers(-(10**9), 10**15),
)
def test_no_rate_is_ever_negative(seconds: float, used: float, traffic: int) -> None:
    after = later(seconds=seconds, used=used, received=traffic, sent=traffic)

    rates = rates_between(EARLIER, after)

    if rates is not None:
        known = [x for x in dataclasses.astuple(rates) if x is not None]
        assert all(rate >= 0 for rate in known)
