"""GitHub's operations on runners: tokens, JIT configs, lists, labels, downloads.

Each reads its call, lets the forge decide and renders the outcome.
"""

import base64
import json
from collections.abc import Callable, Sequence

from runpod_sim import runner_tarball
from runpod_sim.forge_model import (
    Purpose,
    Runner,
)
from runpod_sim.github_authority import Need
from runpod_sim.github_call import (
    ENTERPRISE,
    ORGANIZATION,
    REPOSITORY,
    Answer,
    Call,
    Operation,
    list_page,
)
from runpod_sim.github_wire import (
    render_deprecation,
    render_instant,
    render_labels,
    render_runner,
)


def create_registration_token(call: Call) -> Answer:
    """Mint a registration token."""
    return _token(call, Purpose.REGISTER)


def create_remove_token(call: Call) -> Answer:
    """Mint a remove token."""
    return _token(call, Purpose.REMOVE)


def _token(call: Call, purpose: Purpose) -> Answer:
    token = call.forge.create_runner_token(call.scope, purpose)
    expires = render_instant(token.expires_at)
    return Answer(201, {"token": token.token, "expires_at": expires})


def generate_jitconfig(call: Call) -> Answer:
    """Register a one-job runner and hand out its whole configuration."""
    runner = call.forge.create_jit_runner(
        call.scope,
        call.body["name"],
        group_id=call.body["runner_group_id"],
        labels=call.body["labels"],
    )
    work_folder = call.body.get("work_folder", "_work")
    return Answer(
        201,
        {
            "runner": render_runner(call.forge, runner),
            "encoded_jit_config": render_jit_config(
                runner, call.forge.base_url, work_folder
            ),
        },
    )


def render_jit_config(runner: Runner, base_url: str, work_folder: str) -> str:
    """Pack the three files a JIT runner starts from."""
    settings = {
        "agentId": runner.id,
        "agentName": runner.name,
        "poolId": runner.group_id,
        "poolName": "Default",
        "ephemeral": True,
        "disableUpdate": True,
        "serverUrl": f"{base_url}/_services/pipelines",
        "serverUrlV2": f"{base_url}/_services/broker/",
        "workFolder": work_folder,
        "useV2Flow": True,
        "useRunnerAdminFlow": True,
    }
    credentials = {
        "scheme": "OAuth",
        "data": {
            "clientId": runner.client_id,
            "authorizationUrl": f"{base_url}/_services/token",
        },
    }
    files = {
        ".runner": settings,
        ".credentials": credentials,
        ".credentials_rsaparams": {"hmacKey": runner.key},
    }
    packed = {
        name: base64.b64encode(json.dumps(content).encode()).decode()
        for name, content in files.items()
    }
    return base64.b64encode(json.dumps(packed).encode()).decode()


def list_runners(call: Call) -> Answer:
    """List the scope's runners, or the one of the name asked for."""
    runners = call.forge.list_runners(call.scope, name=call.query.get("name"))
    return list_page(call, "runners", runners, render_runner)


def get_runner(call: Call) -> Answer:
    """Show one runner."""
    runner = call.forge.get_runner(call.scope, call.number("runner_id"))
    return Answer(200, render_runner(call.forge, runner))


def delete_runner(call: Call) -> Answer:
    """Take a registration away."""
    if call.scheme == "remoteauth":
        call.forge.delete_own_runner(call.credential, call.number("runner_id"))
    else:
        call.forge.delete_runner(call.scope, call.number("runner_id"))
    return Answer(204)


def list_downloads(call: Call) -> Answer:
    """List the runner packages GitHub wants machines to run."""
    packages = [
        {
            "os": "linux",
            "architecture": architecture,
            "download_url": f"{call.forge.base_url}/_sim/downloads/"
            f"{runner_tarball.filename(architecture)}",
            "filename": runner_tarball.filename(architecture),
            "sha256_checksum": runner_tarball.checksum(architecture),
        }
        for architecture in runner_tarball.ARCHITECTURES
    ]
    return Answer(200, packages)


def get_deprecation(call: Call) -> Answer:
    """Show when a runner version ends."""
    schedule = call.forge.get_deprecation(call.path["version"])
    return Answer(200, render_deprecation(schedule))


def list_labels(call: Call) -> Answer:
    """List a runner's labels."""
    runner = call.forge.get_runner(call.scope, call.number("runner_id"))
    return Answer(200, render_labels(runner.labels))


def add_labels(call: Call) -> Answer:
    """Add custom labels."""
    return _set_labels(call, call.body["labels"], keep=True)


def replace_labels(call: Call) -> Answer:
    """Replace the custom labels."""
    return _set_labels(call, call.body["labels"], keep=False)


def remove_labels(call: Call) -> Answer:
    """Remove all custom labels."""
    return _set_labels(call, [], keep=False)


def _set_labels(call: Call, names: Sequence[str], *, keep: bool) -> Answer:
    number = call.number("runner_id")
    runner = call.forge.set_labels(call.scope, number, names, keep=keep)
    return Answer(200, render_labels(runner.labels))


def remove_label(call: Call) -> Answer:
    """Remove one custom label."""
    number = call.number("runner_id")
    runner = call.forge.delete_label(call.scope, number, call.path["name"])
    return Answer(200, render_labels(runner.labels))


def runner_operations() -> list[Operation]:
    """Return the table of these operations."""
    table: list[tuple[Callable[[Call], Answer], str, str]] = [
        (create_registration_token, "POST", "/registration-token"),
        (create_remove_token, "POST", "/remove-token"),
        (generate_jitconfig, "POST", "/generate-jitconfig"),
        (list_runners, "GET", ""),
        (list_downloads, "GET", "/downloads"),
        (get_deprecation, "GET", "/deprecations/{version}"),
        (get_runner, "GET", "/{runner_id}"),
        (delete_runner, "DELETE", "/{runner_id}"),
        (list_labels, "GET", "/{runner_id}/labels"),
        (add_labels, "POST", "/{runner_id}/labels"),
        (replace_labels, "PUT", "/{runner_id}/labels"),
        (remove_labels, "DELETE", "/{runner_id}/labels"),
        (remove_label, "DELETE", "/{runner_id}/labels/{name}"),
    ]
    remote = {list_runners, delete_runner}
    return [
        Operation(
            perform.__name__,
            method,
            f"{scope}/actions/runners{path}",
            Need.RUNNERS,
            perform,
            accepts_remote_auth=perform in remote,
        )
        for scope in (REPOSITORY, ORGANIZATION, ENTERPRISE)
        for perform, method, path in table
    ]
