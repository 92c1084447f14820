"""GitHub's operations for integrations: an App's tokens, a webhook's deliveries.

Each reads its call and renders the outcome.
"""

import math
from collections.abc import Callable
from urllib.parse import urlencode

from runpod_sim.forge_model import RefusedError, ScopeKind
from runpod_sim.github_authority import Need
from runpod_sim.github_call import (
    ENTERPRISE,
    ORGANIZATION,
    REPOSITORY,
    Answer,
    Call,
    Operation,
)
from runpod_sim.github_hooks import render_delivery
from runpod_sim.github_wire import (
    parse_page,
    render_instant,
)


def list_deliveries(call: Call) -> Answer:
    """List a hook's deliveries, newest first; the cursor is the last one's id."""
    hook = call.hooks.get(call.scope, call.number("hook_id"))
    cursor = call.query.get("cursor", "")
    if cursor and not (cursor.isascii() and cursor.isdigit()):
        raise RefusedError(400, "The cursor is not valid")
    before = int(cursor) if cursor else math.inf
    mine = [x for x in call.hooks.deliveries if x.hook_id == hook.id and x.id < before]
    _, size = parse_page(dict(call.query))
    newest = sorted(mine, key=lambda x: x.id, reverse=True)
    shown, headers = newest[:size], {}
    if len(newest) > size:
        query = urlencode({"per_page": size, "cursor": shown[-1].id})
        headers["link"] = f'<{call.url.partition("?")[0]}?{query}>; rel="next"'
    return Answer(200, [render_delivery(x, whole=False) for x in shown], headers)


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
    """Show where the App that asks is installed."""
    app = call.credentials.apps.authenticate(call.scheme, call.credential)
    found = call.credentials.apps.find_installation(app, call.scope)
    kind = "User" if call.scope.kind is ScopeKind.REPOSITORY else "Organization"
    return Answer(
        200,
        {
            "id": found.id,
            "account": {"login": call.scope.name.partition("/")[0], "type": kind},
            "app_id": app.id,
            "target_type": kind,
            "repository_selection": "all" if app.repositories is None else "selected",
        },
    )


def create_installation_token(call: Call) -> Answer:
    """Mint an installation's token, narrowed as asked."""
    app = call.credentials.apps.authenticate(call.scheme, call.credential)
    repositories = call.body.get("repositories", [])
    token = call.credentials.apps.create_token(
        app,
        call.number("installation_id"),
        call.body.get("permissions", {}),
        repositories,
    )
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
