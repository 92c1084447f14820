"""Levers on the whole platform: prices, quota, rights of keys, retirement, many pods.

Like all admin routes no part of RunPod, and for the loopback alone.
"""

from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_sim.admin_call import (
    BadRequest,
    Endpoint,
    guarded,
    parse_body,
    parse_count,
    parse_flag,
    parse_number,
    refuse_unknown,
)
from runpod_sim.faults import WIRES, Kind
from runpod_sim.gate import JSON, KeyBook, render_json
from runpod_sim.market import CLOUDS, Walk
from runpod_sim.quota import SPANS, Quota
from runpod_sim.seeding import MOST_PODS, SeedOrder
from runpod_sim.service import Service

SHORTEST_STEP_SECONDS = 1.0


class Levers:
    """The routes below /_sim that move the platform as a whole."""

    def __init__(self, service: Service, keys: KeyBook, quota: Quota) -> None:
        self._service = service
        self._keys = keys
        self._quota = quota

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the server's root."""
        table: tuple[tuple[str, str, Endpoint], ...] = (
            ("/_sim/prices", "GET", self.prices),
            ("/_sim/prices", "POST", self.set_prices),
            ("/_sim/quota", "GET", self.quota),
            ("/_sim/quota", "POST", self.set_quota),
            ("/_sim/keys", "POST", self.limit_key),
            ("/_sim/graphql", "POST", self.retire_graphql),
            ("/_sim/pods", "POST", self.seed_pods),
        )
        return [
            Route(path, guarded(endpoint), methods=[method])
            for path, method, endpoint in table
        ]

    # Prices -----------------------------------------------------------------------

    async def prices(self, _request: Request) -> Response:
        """Show every price and lowest bid, and the walk they are on."""
        self._service.now()
        market = self._service.world.market
        rows = [
            {
                "gpu_type_id": gpu_type.id,
                "cloud": cloud,
                "usd_per_hour": price,
                "minimum_bid_usd_per_hour": gpu_type.minimum_bid_usd_per_hour(cloud),
            }
            for gpu_type in market.catalog.gpu_types
            for cloud in CLOUDS
            if (price := gpu_type.usd_per_hour(cloud)) is not None
        ]
        walk = market.walk
        shown = walk and {
            "seed": walk.seed,
            "step_seconds": walk.step_seconds,
            "volatility": walk.volatility,
            "gpu_type_ids": list(walk.gpu_type_ids),
            "steps_done": walk.steps_done,
        }
        return Response(render_json({"prices": rows, "walk": shown}), media_type=JSON)

    async def set_prices(self, request: Request) -> Response:
        """Set a price or a lowest bid, or begin or end a walk."""
        body = await parse_body(request)
        refuse_unknown(
            body,
            "gpu_type_id",
            "cloud",
            "usd_per_hour",
            "minimum_bid_usd_per_hour",
            "walk",
        )
        if "walk" in body:
            walk = body["walk"]
            self._service.set_walk(None if walk is None else self._parse_walk(walk))
        if "gpu_type_id" in body:
            cloud = body.get("cloud", "SECURE")
            if cloud not in CLOUDS:
                raise BadRequest(f"cloud is {' or '.join(CLOUDS)}")
            self._service.set_price(
                str(body["gpu_type_id"]),
                cloud,
                usd_per_hour=parse_money(body, "usd_per_hour"),
                minimum_bid_usd_per_hour=parse_money(body, "minimum_bid_usd_per_hour"),
            )
        return await self.prices(request)

    def _parse_walk(self, given: Any) -> Walk:
        if not isinstance(given, dict):
            raise BadRequest("walk is an object, or null for none")
        refuse_unknown(given, "seed", "step_seconds", "volatility", "gpu_type_ids")
        step_seconds = parse_number({"step_seconds": 300} | given, "step_seconds")
        if step_seconds < SHORTEST_STEP_SECONDS:
            raise BadRequest(f"step_seconds is {SHORTEST_STEP_SECONDS:g} or more")
        types = given.get("gpu_type_ids", [])
        if not isinstance(types, list):
            raise BadRequest("gpu_type_ids is a list")
        return Walk(
            seed=int(parse_number({"seed": 0} | given, "seed")),
            step_seconds=step_seconds,
            volatility=parse_number({"volatility": 0.1} | given, "volatility"),
            began_at=self._service.clock.now(),
            gpu_type_ids=tuple(str(type_id) for type_id in types),
        )

    # Requests ---------------------------------------------------------------------

    async def quota(self, _request: Request) -> Response:
        """Show the quota of REST v2."""
        limits = self._quota.limits
        shown = {f"per_{name}": limits.of(name) for name in SPANS}
        return JSONResponse({**shown, "is_enforced": limits.is_enforced})

    async def set_quota(self, request: Request) -> Response:
        """Change the quota, and whether requests beyond it are refused."""
        body = await parse_body(request)
        refuse_unknown(body, *(f"per_{name}" for name in SPANS), "is_enforced")
        given: dict[str, int | bool] = {
            name: parse_count(body, f"per_{name}", 10**9)
            for name in SPANS
            if f"per_{name}" in body
        }
        given["is_enforced"] = True
        if "is_enforced" in body:
            given["is_enforced"] = parse_flag(body, "is_enforced")
        self._quota.set_limits(**given)
        return await self.quota(request)

    async def limit_key(self, request: Request) -> Response:
        """Give a key a right to some wires alone."""
        body = await parse_body(request)
        refuse_unknown(body, "key", "wires")
        key, wires = body.get("key"), body.get("wires")
        if not isinstance(key, str) or not isinstance(wires, list):
            raise BadRequest("key is text and wires a list")
        if not set(wires) <= set(WIRES):
            raise BadRequest(f"wires are of {' and '.join(WIRES)}")
        self._keys.limit(key, wires)
        return JSONResponse({"wires": wires})

    async def retire_graphql(self, request: Request) -> Response:
        """Let the GraphQL endpoint answer 410 to everything, or end that."""
        body = await parse_body(request)
        refuse_unknown(body, "retired")
        retired = parse_flag(body, "retired")
        faults = self._service.faults
        faults.clear_kind(Kind.GONE, "graphql")
        if retired:
            faults.add({"kind": "gone", "wire": "graphql", "times": None})
        return JSONResponse({"retired": retired})

    # Many pods --------------------------------------------------------------------

    async def seed_pods(self, request: Request) -> Response:
        """Make many running pods of an account at once, without machines."""
        body = await parse_body(request)
        refuse_unknown(
            body, "count", "key", "gpu_type_id", "cloud", "name_prefix", "bid"
        )
        key = body.get("key")
        if not isinstance(key, str) or not self._keys.accepts(key):
            raise BadRequest("key is an API key the simulator takes")
        cloud = body.get("cloud", "SECURE")
        if cloud not in CLOUDS:
            raise BadRequest(f"cloud is {' or '.join(CLOUDS)}")
        order = SeedOrder(
            count=parse_count(body, "count", MOST_PODS),
            gpu_type_id=str(body.get("gpu_type_id", "NVIDIA L4")),
            cloud_type=cloud,
            name_prefix=str(body.get("name_prefix", "seeded-")),
            bid_usd_per_hour=parse_money(body, "bid"),
        )
        account = self._service.open_account(key)
        ids = self._service.seed_pods(account, order)
        return JSONResponse({"account_id": account.id, "pod_ids": ids}, 201)


def parse_money(body: dict[str, Any], name: str) -> Decimal | None:
    """Return an amount of dollars from a body, None when there is none."""
    if name not in body:
        return None
    return Decimal(repr(parse_number(body, name)))
