"""Levers on the whole platform: retirement, rights, quota, prices, many pods."""

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.pods import DEPLOY, GPU_TYPE
from support.sim import SimServer, serving

RENT = """
mutation($i: PodRentInterruptableInput!) {
  podRentInterruptable(input: $i) { id desiredStatus costPerHr }
}
"""
BODY = {"name": "a", "image": "i", "gpu": {"id": GPU_TYPE}}


def graphql_status(sim: SimServer, query: str, *, key: bool = True) -> int:
    headers = sim.authorization if key else {}
    return sim.call("POST", "/graphql", {"query": query}, headers)[0]


def headers_of(sim: SimServer, path: str = "/v2/pods") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(sim.base_url).netloc, timeout=10)
    try:
        connection.request("GET", path, None, {"User-Agent": "t", **sim.authorization})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers
    finally:
        connection.close()


def test_retired_graphql_answers_410_to_anything_until_it_is_back(
    sim: SimServer,
) -> None:
    sim.admin("POST", "graphql", {"retired": True})
    statuses = [
        graphql_status(sim, "{myself{id}}"),
        graphql_status(sim, "{gpuTypes{id}}", key=False),
        graphql_status(sim, "no document at all"),
    ]
    rest = sim.rest("GET", "pods")[0]
    sim.admin("POST", "graphql", {"retired": False})

    assert statuses == [410, 410, 410]
    assert rest == 200
    assert graphql_status(sim, "{myself{id}}") == 200


def test_retirement_can_be_there_from_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, "--retire-graphql") as sim:
        assert graphql_status(sim, "{myself{id}}") == 410
        assert sim.rest("GET", "pods")[0] == 200


@pytest.mark.parametrize(
    ("wire", "expected"), [("graphql", (410, 200)), ("rest", (200, 410))]
)
def test_fault_can_be_of_one_wire(
    sim: SimServer, wire: str, expected: tuple[int, int]
) -> None:
    sim.add_fault("gone", wire=wire, times=None)

    assert (graphql_status(sim, "{myself{id}}"), sim.rest("GET", "pods")[0]) == expected


def test_fault_of_one_wire_leaves_the_others_deploys_alone(sim: SimServer) -> None:
    sim.add_fault("no_capacity", wire="rest", times=None)

    by_graphql = sim.graphql(DEPLOY, input={"imageName": "i", "gpuTypeId": GPU_TYPE})

    assert "errors" not in by_graphql
    assert sim.rest("POST", "pods", BODY)[0] == 400


def test_key_can_lack_the_right_to_a_wire(sim: SimServer) -> None:
    sim.admin("POST", "keys", {"key": "rpa_limited", "wires": ["graphql"]})
    limited = sim.with_key("rpa_limited")

    status, problem = limited.rest("GET", "pods")

    assert (status, problem["title"]) == (403, "Forbidden")
    assert graphql_status(limited, "{myself{id}}") == 200
    assert sim.rest("GET", "pods")[0] == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("forbidden", 403),
        ("unavailable", 503),
        ("bad_gateway", 502),
        ("no_answer", 524),
    ],
)
def test_requests_meet_what_stands_before_the_platform(
    sim: SimServer, kind: str, status: int
) -> None:
    sim.add_fault(kind, operation="createPod", seconds=0.1)

    assert sim.rest("POST", "pods", BODY)[0] == status
    assert sim.world()["pods"] == []


def test_rate_limit_says_when_and_how_many(sim: SimServer) -> None:
    sim.add_fault("rate_limited", seconds=7, wire="rest")

    status, headers = headers_of(sim)

    assert (status, headers["Retry-After"]) == (429, "7")
    assert headers["RateLimit"] == '"minute";r=0;t=7'
    assert headers["RateLimit-Policy"].startswith('"minute";q=60;w=60')


def test_quota_refuses_beyond_itself_and_comes_back_with_the_clock(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--quota-per-minute", "3") as sim:
        # The windows are those of the clock: begin with a fresh one.
        now = sim.admin("GET", "clock")["now"]
        sim.advance(60 - int(now[17:19]))
        seen = [headers_of(sim) for _ in range(4)]
        other = headers_of(sim.with_key("rpa_another"))[0]
        wait = int(seen[3][1]["Retry-After"])
        sim.advance(wait)
        later = headers_of(sim)[0]

    assert [status for status, _ in seen] == [200, 200, 200, 429]
    assert [h["RateLimit"].split(";")[1] for _, h in seen] == [
        "r=2",
        "r=1",
        "r=0",
        "r=0",
    ]
    assert seen[0][1]["RateLimit-Policy"].startswith('"minute";q=3;w=60')
    assert 0 < wait <= 60
    assert (other, later) == (200, 200)


def test_quota_can_be_changed_while_it_runs(sim: SimServer) -> None:
    limits = sim.admin("POST", "quota", {"per_hour": 1})
    statuses = [headers_of(sim)[0] for _ in range(2)]
    sim.admin("POST", "quota", {"is_enforced": False})

    assert limits == {
        "per_minute": 60,
        "per_hour": 1,
        "per_day": 50_000,
        "is_enforced": True,
    }
    assert statuses == [200, 429]
    assert headers_of(sim)[0] == 200


def rent(sim: SimServer, bid: float) -> dict[str, Any]:
    wanted = {"imageName": "i", "gpuTypeId": GPU_TYPE, "cloudType": "SECURE"}
    return sim.graphql(RENT, i={**wanted, "bidPerGpu": bid})


def status_of(sim: SimServer, pod_id: str) -> str:
    return str(sim.find_pod(pod_id)["last_status_change"]).split(":")[0]


def test_raised_minimum_outbids_the_pods_below_it(sim: SimServer) -> None:
    low = rent(sim, 0.25)["data"]["podRentInterruptable"]["id"]
    high = rent(sim, 0.4)["data"]["podRentInterruptable"]["id"]

    sim.admin(
        "POST",
        "prices",
        {"gpu_type_id": GPU_TYPE, "cloud": "SECURE", "minimum_bid_usd_per_hour": 0.3},
    )

    assert (status_of(sim, low), status_of(sim, high)) == ("Outbid", "Rented by User")
    assert "errors" in rent(sim, 0.29)


def test_price_that_was_set_is_what_the_catalog_says_and_a_pod_costs(
    sim: SimServer,
) -> None:
    price = {"gpu_type_id": GPU_TYPE, "cloud": "SECURE", "usd_per_hour": 0.75}
    sim.admin("POST", "prices", price)

    _, shown = sim.rest("GET", "catalog/gpus/NVIDIA%20L4")
    _, pod = sim.rest("POST", "pods", BODY)

    assert shown["price"] == {"secure": 0.75, "community": 0.44}
    assert pod["cost"] == 0.75


@pytest.mark.parametrize(
    "body",
    [
        {"gpu_type_id": GPU_TYPE, "cloud": "ALL"},
        {"walk": {"step_seconds": 0}},
        {"walk": 3},
        {"price": 3},
        {"gpu_type_id": GPU_TYPE, "usd_per_hour": -1},
    ],
)
def test_prices_that_make_no_sense_are_refused(
    module_sim: SimServer, body: dict[str, Any]
) -> None:
    assert module_sim.call("POST", "/_sim/prices", body)[0] == 400


def test_walk_moves_bids_the_same_way_for_the_same_seed(tmp_path: Path) -> None:
    def history(folder: str) -> list[Any]:
        (tmp_path / folder).mkdir()
        with serving(tmp_path / folder) as sim:
            sim.admin("POST", "prices", {"walk": {"seed": 7, "step_seconds": 300}})
            seen = []
            for _ in range(5):
                sim.advance(300)
                seen.append(sim.admin("GET", "prices")["prices"])
            return seen

    first = history("a")

    assert first == history("b")
    assert len({str(prices) for prices in first}) == 5


def test_walk_outbids_a_pod_at_the_minimum_and_spares_a_high_bid(
    sim: SimServer,
) -> None:
    low = rent(sim, 0.245)["data"]["podRentInterruptable"]["id"]
    high = rent(sim, 0.49)["data"]["podRentInterruptable"]["id"]

    walk = {"seed": 1, "step_seconds": 60, "volatility": 0.2}
    sim.admin("POST", "prices", {"walk": walk})
    sim.advance(3600)

    assert (status_of(sim, low), status_of(sim, high)) == ("Outbid", "Rented by User")
    assert sim.admin("POST", "prices", {"walk": None})["walk"] is None


def test_five_thousand_pods_are_listed_on_both_wires_in_time(sim: SimServer) -> None:
    key = sim.env["RUNPOD_API_KEY"]
    made = sim.admin("POST", "pods", {"count": 5000, "key": key, "name_prefix": "n-"})
    query = (
        "{myself{pods{id name desiredStatus costPerHr gpuCount"
        " runtime{uptimeInSeconds ports{ip isIpPublic privatePort publicPort type}}"
        " machine{podHostId}}}}"
    )

    began = server_seconds(sim)
    _, listed = sim.rest("GET", "pods")
    middle = server_seconds(sim)
    graphql = sim.graphql(query)["data"]["myself"]["pods"]
    ended = server_seconds(sim)

    assert len(set(made["pod_ids"])) == len(listed["pods"]) == len(graphql) == 5000
    assert listed["pods"][0]["ssh"]["direct"] is not None
    assert graphql[4999]["name"] == "n-4999"
    # The server's own time, which other work on this host does not lengthen.
    assert middle - began < 2
    assert ended - middle < 2


def server_seconds(sim: SimServer) -> float:
    fields = Path(f"/proc/{sim.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_seeded_pods_bill_and_end_like_any_other(sim: SimServer) -> None:
    made = sim.admin(
        "POST", "pods", {"count": 3, "key": "rpa_seeded", "cloud": "COMMUNITY"}
    )
    own = sim.with_key("rpa_seeded")

    sim.advance(3600)
    spent = own.graphql("{myself{clientLifetimeSpend pods{id}}}")["data"]["myself"]
    deleted = own.rest("DELETE", f"pods/{made['pod_ids'][0]}")[0]

    assert len(spent["pods"]) == 3
    charged = [
        row["compute_usd"]
        for row in sim.admin("GET", "billing")["pods"]
        if row["pod_id"] in made["pod_ids"]
    ]
    assert charged == [pytest.approx(0.44, rel=0.01)] * 3
    assert deleted == 204
    assert len(own.rest("GET", "pods")[1]["pods"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"count": 3},
        {"count": 0, "key": "rpa_x"},
        {"count": 1.5, "key": "rpa_x"},
        {"count": 3, "key": "x"},
        {"count": 3, "key": "rpa_x", "cloud": "ALL"},
    ],
)
def test_seeding_that_makes_no_sense_is_refused(
    module_sim: SimServer, body: dict[str, Any]
) -> None:
    assert module_sim.call("POST", "/_sim/pods", body)[0] == 400


def test_rename_alone_applies_at_once_without_a_restart(sim: SimServer) -> None:
    _, pod = sim.rest("POST", "pods", BODY)
    before = sim.find_pod(pod["id"])["start_number"]

    status, renamed = sim.rest("PATCH", f"pods/{pod['id']}", {"name": "renamed"})
    after = sim.find_pod(pod["id"])

    assert (status, renamed["name"]) == (200, "renamed")
    assert (after["start_number"], after["name"]) == (before, "renamed")
