"""GitHub's operations for integrations: an App's tokens, a webhook's deliveries.

Each reads its call and renders the outcome.
"""

from collections.abc import Callable

from runpod_sim.forge_model import (
    ScopeKind,
)
from runpod_sim.github_call import (
    ENTERPRISE,
    ORGANIZATION,
    REPOSITORY,
    Answer,
    Call,
    Need,
    Operation,
)
from runpod_sim.github_hooks import render_delivery
from runpod_sim.github_wire import (
    parse_page,
    render_instant,
)


def list_deliveries(call: Call) -> Answer:
    """List a hook's deliveries, newest first."""
    hook = call.hooks.get(call.scope, call.number("hook_id"))
    mine = [x for x in call.hooks.deliveries if x.hook_id == hook.id]
    _, size = parse_page(dict(call.query))
    newest = sorted(mine, key=lambda x: x.id, reverse=True)[:size]
    return Answer(200, [render_delivery(x, whole=False) for x in newest])


def get_delivery(call: Call) -> Answer:
    """Show one delivery with what was sent."""
    hook = call.hooks.get(call.scope, call.number("hook_id"))
    delivery = call.hooks.get_delivery(hook, call.number("delivery_id"))
    return Answer(200, render_delivery(delivery, whole=True))


def redeliver(call: Call) -> Answer:
    """Deliver once more."""
    hook = call.hooks.get(call.scope, call.number("hook_id"))
    delivery = call.hooks.get_delivery(hook, call.number("delivery_id"))
    call.hooks.redeliver(hook, delivery)
    return Answer(202, {})


def find_installation(call: Call) -> Answer:
    """Show the App's installation; the simulated App is installed everywhere."""
    scope = call.scope
    kind = "User" if scope.kind is ScopeKind.REPOSITORY else "Organization"
    owner = scope.name.partition("/")[0]
    return Answer(
        200,
        {
            "id": call.forge.repository_id(owner),
            "account": {"login": owner, "type": kind},
            "app_id": 1,
            "target_type": kind,
            "repository_selection": "all",
        },
    )


def create_installation_token(call: Call) -> Answer:
    """Mint an installation's token, narrowed as asked."""
    call.number("installation_id")
    permissions = call.body.get("permissions", {})
    repositories = call.body.get("repositories", [])
    token = call.forge.create_installation_token(permissions, repositories)
    return Answer(
        201,
        {
            "token": token.token,
            "expires_at": render_instant(token.expires_at),
            "permissions": dict(token.permissions),
            "repository_selection": "selected" if repositories else "all",
        },
    )


def hook_operations() -> list[Operation]:
    """Return the table of these operations."""
    table: list[tuple[Callable[[Call], Answer], str, str]] = [
        (list_deliveries, "GET", ""),
        (get_delivery, "GET", "/{delivery_id}"),
        (redeliver, "POST", "/{delivery_id}/attempts"),
    ]
    return [
        Operation(
            perform.__name__,
            method,
            f"{scope}/hooks/{{hook_id}}/deliveries{path}",
            Need.HOOKS,
            perform,
        )
        for scope in (REPOSITORY, ORGANIZATION)
        for perform, method, path in table
    ]


def app_operations() -> list[Operation]:
    """Return the table of these operations."""
    return [
        *(
            Operation(
                "find_installation",
                "GET",
                f"{scope}/installation",
                Need.APP,
                find_installation,
            )
            for scope in (REPOSITORY, ORGANIZATION, ENTERPRISE)
        ),
        Operation(
            "create_installation_token",
            "POST",
            "/app/installations/{installation_id}/access_tokens",
            Need.APP,
            create_installation_token,
        ),
    ]
