"""GitHub's operations on runner groups, which repositories do not have.

Each reads its call, lets the forge decide and renders the outcome.
"""

from collections.abc import Callable
from dataclasses import replace

from runpod_sim.forge_model import (
    RunnerGroup,
)
from runpod_sim.github_authority import Need
from runpod_sim.github_call import (
    ENTERPRISE,
    ORGANIZATION,
    Answer,
    Call,
    Operation,
    list_page,
)
from runpod_sim.github_wire import (
    render_group,
    render_runner,
)


def list_groups(call: Call) -> Answer:
    """List the scope's groups."""
    groups = call.forge.list_groups(call.scope)
    return list_page(call, "runner_groups", groups, render_group)


def get_group(call: Call) -> Answer:
    """Show one group."""
    group = call.forge.get_group(call.scope, call.number("runner_group_id"))
    return Answer(200, render_group(call.forge, group))


def create_group(call: Call) -> Answer:
    """Create a group."""
    group = call.forge.create_group(
        _changed_group(call, RunnerGroup(0, call.scope, ""))
    )
    for runner_id in call.body.get("runners", []):
        call.forge.move_runner(call.scope, runner_id, group.id)
    return Answer(201, render_group(call.forge, group))


def update_group(call: Call) -> Answer:
    """Change a group."""
    group = call.forge.get_group(call.scope, call.number("runner_group_id"))
    changed = call.forge.put_group(_changed_group(call, group))
    return Answer(200, render_group(call.forge, changed))


def _changed_group(call: Call, group: RunnerGroup) -> RunnerGroup:
    body = call.body
    return replace(
        group,
        name=body.get("name", group.name),
        visibility=body.get("visibility", group.visibility),
        allows_public_repositories=body.get(
            "allows_public_repositories", group.allows_public_repositories
        ),
        restricted_to_workflows=body.get(
            "restricted_to_workflows", group.restricted_to_workflows
        ),
        selected_workflows=tuple(
            body.get("selected_workflows", group.selected_workflows)
        ),
        repository_ids=tuple(body.get("selected_repository_ids", group.repository_ids)),
    )


def delete_group(call: Call) -> Answer:
    """Delete a group."""
    call.forge.delete_group(call.scope, call.number("runner_group_id"))
    return Answer(204)


def list_group_runners(call: Call) -> Answer:
    """List a group's runners."""
    group = call.forge.get_group(call.scope, call.number("runner_group_id"))
    runners = [x for x in call.forge.list_runners(call.scope) if x.group_id == group.id]
    return list_page(call, "runners", runners, render_runner)


def add_group_runner(call: Call) -> Answer:
    """Put a runner into a group."""
    group_id = call.number("runner_group_id")
    call.forge.move_runner(call.scope, call.number("runner_id"), group_id)
    return Answer(204)


def group_operations() -> list[Operation]:
    """Return the table of these operations."""
    one = "/{runner_group_id}"
    table: list[tuple[Callable[[Call], Answer], str, str]] = [
        (list_groups, "GET", ""),
        (create_group, "POST", ""),
        (get_group, "GET", one),
        (update_group, "PATCH", one),
        (delete_group, "DELETE", one),
        (list_group_runners, "GET", f"{one}/runners"),
        (add_group_runner, "PUT", f"{one}/runners/{{runner_id}}"),
    ]
    return [
        Operation(
            perform.__name__,
            method,
            f"{scope}/actions/runner-groups{path}",
            Need.RUNNERS,
            perform,
            accepts_remote_auth=perform is list_groups,
        )
        for scope in (ORGANIZATION, ENTERPRISE)
        for perform, method, path in table
    ]
