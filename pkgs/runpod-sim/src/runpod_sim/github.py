"""The HTTP face of the forge: everything the simulated GitHub serves.

It puts the parts together: the REST operations below `/api/v3`, what runners speak, and
the levers below `/_sim/github`. It must not decide anything: rules are the forge's.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runpod_sim.forge import Forge
from runpod_sim.forge_model import RefusedError
from runpod_sim.github_admin import admin_routes
from runpod_sim.github_authority import Need
from runpod_sim.github_broker import broker_routes
from runpod_sim.github_call import Answer, Call, Desk, Operation
from runpod_sim.github_operations import OPERATIONS
from runpod_sim.github_scale_sets import scale_set_routes
from runpod_sim.scale_sets import ScaleSets

API_ROOT = "/api/v3"


def github_routes(forge: Forge) -> list[BaseRoute]:
    """Return every route of the GitHub side, to be mounted at the server's root."""
    desk = Desk(forge)
    sets = ScaleSets(forge)
    rate_limit = Operation(
        "get_rate_limit", "GET", "/rate_limit", Need.ANYTHING, _rate_limit(desk)
    )
    operations = (*OPERATIONS, rate_limit)
    return [
        *broker_routes(desk, sets),
        *scale_set_routes(desk, sets),
        *(
            Route(API_ROOT + x.path, _endpoint(desk, x), methods=[x.method])
            for x in operations
        ),
        *admin_routes(desk),
        Route(
            API_ROOT + "/{rest:path}",
            _endpoint(desk, Operation("unknown", "", "", Need.ANYTHING, _unknown)),
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        ),
    ]


def _endpoint(
    desk: Desk, operation: Operation
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await desk.answer(operation, request)

    return endpoint


def _rate_limit(desk: Desk) -> Callable[[Call], Answer]:
    def perform(call: Call) -> Answer:
        allowance = desk.allowance(call.credential)
        # Asking costs nothing.
        allowance.used -= 1
        core = {
            "limit": allowance.limit,
            "used": allowance.used,
            "remaining": allowance.limit - allowance.used,
            "reset": int(allowance.reset_at.timestamp()),
        }
        return Answer(200, {"resources": {"core": core}, "rate": core})

    return perform


def _unknown(_call: Call) -> Answer:
    raise RefusedError(404, "Not Found")
