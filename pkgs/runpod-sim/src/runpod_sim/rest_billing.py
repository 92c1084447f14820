"""REST v2's billing history: what an account paid, in buckets of time.

It reads the meters and cuts their amounts at the buckets' edges; it charges nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from starlette.responses import Response

from runpod_sim.billing import as_decimal
from runpod_sim.graphql_view import rfc3339
from runpod_sim.ledger import Cost
from runpod_sim.rest_body import Problem
from runpod_sim.rest_call import Call, Row, answer_json
from runpod_sim.service import Service

SIZES = ("hour", "day", "week", "month", "year")
DEFAULT_DAYS = 30
MOST_BUCKETS = 10_000
PLACES = 6
POD_COSTS = {
    Cost.GPU: "gpuAmount",
    Cost.CPU: "cpuAmount",
    Cost.DISK: "diskAmount",
}
VOLUME_COSTS = {
    Cost.STANDARD: "standardAmount",
    Cost.HIGH_PERFORMANCE: "highPerformanceAmount",
}
ALL_COSTS = {
    Cost.GPU: "podGpuAmount",
    Cost.CPU: "podCpuAmount",
    Cost.DISK: "podDiskAmount",
    Cost.STANDARD: "storageStandardAmount",
    Cost.HIGH_PERFORMANCE: "storageHighPerformanceAmount",
}
# What nobody has here and costs nothing.
FREE_OF_CHARGE = (
    "serverlessGpuAmount",
    "serverlessCpuAmount",
    "serverlessDiskAmount",
    "serverlessFeeAmount",
    "endpointAmount",
    "clusterGpuAmount",
    "clusterDiskAmount",
    "clusterNetworkingAmount",
)

Amounts = Mapping[Cost, Fraction]


def bucket_start(instant: datetime, size: str) -> datetime:
    """Return the beginning of the bucket an instant lies in; weeks begin on Monday."""
    day = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if size == "hour":
        return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if size == "day":
        return day
    if size == "week":
        return day - timedelta(days=day.weekday())
    if size == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1)


def bucket_end(start: datetime, size: str) -> datetime:
    """Return the end of the bucket that begins at an instant."""
    if size == "hour":
        return start + timedelta(hours=1)
    longest = {"day": 1, "week": 7, "month": 32, "year": 367}[size]
    return bucket_start(start + timedelta(days=longest), size)


@dataclass(frozen=True)
class Window:
    """The buckets a request asks for, as edges one more than buckets."""

    size: str
    edges: tuple[datetime, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the window as the answer repeats it."""
        return {
            "startTime": rfc3339(self.edges[0]),
            "endTime": rfc3339(self.edges[-1]),
            "bucketSize": self.size,
        }


def parse_instant(call: Call, name: str, default: datetime) -> datetime:
    """Return an instant of a query.

    Raises:
        Problem: It is none of RFC 3339, or has no time zone.
    """
    text = call.text(name)
    if text is None:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(422, f"{name} is no RFC 3339 instant") from error
    if instant.tzinfo is None:
        raise Problem(422, f"{name} names no time zone")
    return instant.astimezone(UTC)


def parse_window(call: Call, now: datetime) -> Window:
    """Return the buckets a request asks for.

    Raises:
        Problem: Two ways of asking at once, or more buckets than are given out.
    """
    size = next(iter(call.chosen("bucketSize", SIZES)), "day")
    # rule SIM-BILL-8
    if call.text("lastN") and (call.text("startTime") or call.text("endTime")):
        raise Problem(400, "lastN and startTime/endTime exclude each other")
    if call.text("lastN"):
        count = call.number("lastN", 1)
        if count > MOST_BUCKETS:
            raise Problem(400, f"at most {MOST_BUCKETS} buckets")
        edges = [bucket_start(now, size)]
        for _ in range(count - 1):
            edges.insert(0, bucket_start(edges[0] - timedelta(seconds=1), size))
        return Window(size, (*edges, bucket_end(edges[-1], size)))
    since = parse_instant(call, "startTime", now - timedelta(days=DEFAULT_DAYS))
    until = parse_instant(call, "endTime", now)
    if until <= since:
        raise Problem(400, "endTime is not after startTime")
    edges = [bucket_start(since, size)]
    while edges[-1] < until:
        if len(edges) > MOST_BUCKETS:
            raise Problem(400, f"at most {MOST_BUCKETS} buckets")
        edges.append(bucket_end(edges[-1], size))
    return Window(size, tuple(edges))


def render_amounts(amounts: Amounts, names: Mapping[Cost, str]) -> dict[str, Any]:
    """Return amounts under their names, with their sum."""
    total = sum((amounts.get(cost, Fraction(0)) for cost in names), Fraction(0))
    shown = {"totalAmount": as_decimal(total, places=PLACES)}
    return shown | {
        name: as_decimal(amounts.get(cost, Fraction(0)), places=PLACES)
        for cost, name in names.items()
    }


class RestBilling:
    """The handlers below /v2/billing."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def rows(self) -> tuple[Row, ...]:
        """Return the routes."""
        root, verb = "/v2/billing", "billing"
        volumes = f"{root}/network-volumes"
        return (
            (root, "GET", "listBilling", verb, self.everything),
            (f"{root}/pods", "GET", "listPodBilling", verb, self.pods),
            (volumes, "GET", "listNetworkVolumeBilling", verb, self.network_volumes),
        )

    async def everything(self, call: Call) -> Response:
        """Show what the account paid for everything, by bucket."""
        now = self._service.now()
        window = parse_window(call, now)
        records = []
        totals: dict[Cost, Fraction] = defaultdict(Fraction)
        for begin, end in pairwise(window.edges):
            amounts: dict[Cost, Fraction] = defaultdict(Fraction)
            for _, cost, usd in self._paid(call, ALL_COSTS, begin, min(end, now)):
                amounts[cost] += usd
                totals[cost] += usd
            records.append(render_range(begin, end) | render_all(amounts))
        metadata = {
            "query": window.to_json(),
            "recordCount": len(records),
            "totals": render_all(totals),
        }
        return answer_json({"records": records, "metadata": metadata})

    async def pods(self, call: Call) -> Response:
        """Show what each pod cost, by bucket."""
        return self._by_subject(call, POD_COSTS, "podId", "uniquePodCount")

    async def network_volumes(self, call: Call) -> Response:
        """Show what each network volume cost, by bucket."""
        count = "uniqueNetworkVolumeCount"
        return self._by_subject(call, VOLUME_COSTS, "networkVolumeId", count)

    def _paid(
        self, call: Call, costs: Collection[Cost], begin: datetime, end: datetime
    ) -> list[tuple[str, Cost, Fraction]]:
        ledger = self._service.world.ledger
        return list(ledger.between(call.account.id, costs, begin, end))

    def _by_subject(
        self, call: Call, names: Mapping[Cost, str], key: str, count: str
    ) -> Response:
        now = self._service.now()
        window = parse_window(call, now)
        wanted = call.text(key)
        records: list[dict[str, Any]] = []
        totals: dict[Cost, Fraction] = defaultdict(Fraction)
        for begin, end in pairwise(window.edges):
            found: dict[str, dict[Cost, Fraction]] = defaultdict(dict)
            for subject_id, cost, usd in self._paid(call, names, begin, min(end, now)):
                if wanted in {None, subject_id}:
                    found[subject_id][cost] = usd
                    totals[cost] += usd
            records += [
                render_range(begin, end) | {key: id_} | render_amounts(amounts, names)
                for id_, amounts in found.items()
            ]
        metadata = {
            "query": window.to_json() | {key: wanted},
            "recordCount": len(records),
            count: len({record[key] for record in records}),
            "totals": render_amounts(totals, names),
        }
        return answer_json({"records": records, "metadata": metadata})


def render_range(begin: datetime, end: datetime) -> dict[str, Any]:
    """Return a bucket's edges."""
    return {"startTime": rfc3339(begin), "endTime": rfc3339(end)}


def render_all(amounts: Amounts) -> dict[str, Any]:
    """Return an account's amounts, with zero for what nobody has here."""
    return render_amounts(amounts, ALL_COSTS) | dict.fromkeys(FREE_OF_CHARGE, 0)
