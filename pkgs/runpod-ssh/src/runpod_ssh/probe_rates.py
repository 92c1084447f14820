"""What happened between two probes of a pod, per second. Pure.

Counters begin anew when a pod restarts: then there is no rate, never a negative one.
"""

from dataclasses import dataclass

from runpod_ssh.probe_records import Probe

# PID 1's age is told to a hundredth of a second, by a clock read a moment before
_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Averages over the time between two probes; None where a counter is missing.

    Attributes:
        cpu_cores: Processor time used per second: 1.5 is one and a half cores.
        throttled_cores: Processor time the pod was held back from, per second.
    """

    seconds: float
    cpu_cores: float | None
    throttled_cores: float | None
    received_bytes_per_second: float | None
    sent_bytes_per_second: float | None


def rates_between(earlier: Probe, later: Probe) -> Rates | None:
    """Return the rates; None when the pod or its machine restarted in between."""
    before, after = earlier.machine_uptime_seconds, later.machine_uptime_seconds
    if before is None or after is None or after <= before:
        return None
    if is_restart(earlier, later):
        return None
    seconds = after - before
    return Rates(
        seconds=seconds,
        cpu_cores=_rate(earlier.cpu.used_seconds, later.cpu.used_seconds, seconds),
        throttled_cores=_rate(
            earlier.cpu.throttled_seconds, later.cpu.throttled_seconds, seconds
        ),
        received_bytes_per_second=_traffic_rate(
            {n.name: n.received_bytes for n in earlier.network},
            {n.name: n.received_bytes for n in later.network},
            seconds,
        ),
        sent_bytes_per_second=_traffic_rate(
            {n.name: n.sent_bytes for n in earlier.network},
            {n.name: n.sent_bytes for n in later.network},
            seconds,
        ),
    )


def is_restart(earlier: Probe, later: Probe) -> bool:
    """Return whether the pod or its machine started anew between two probes."""
    clocks = earlier.machine_uptime_seconds, later.machine_uptime_seconds
    if clocks[0] is not None and clocks[1] is not None and clocks[1] < clocks[0]:
        return True
    starts = _started(earlier), _started(later)
    if starts[0] is None or starts[1] is None:
        return False
    return abs(starts[1] - starts[0]) > _SAME_START_SECONDS


def _started(probe: Probe) -> float | None:
    if probe.machine_uptime_seconds is None or probe.uptime_seconds is None:
        return None
    return probe.machine_uptime_seconds - probe.uptime_seconds


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    if before is None or after is None or after < before:
        return None
    return (after - before) / seconds


def _traffic_rate(
    before: dict[str, int], after: dict[str, int], seconds: float
) -> float | None:
    """Return the rate over the interfaces that both probes saw; None for none."""
    rates = [
        _rate(before[name], after[name], seconds) for name in before if name in after
    ]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known and len(known) == len(rates) else None
