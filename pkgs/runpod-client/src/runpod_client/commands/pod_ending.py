"""Changing and ending pods: `pods edit`, `restart`, `stop` and `terminate`."""

from typing import TYPE_CHECKING, Any

import click

from runpod_client.commands.arguments import (
    POD_ARGUMENT,
    TIMEOUT_OPTION,
    WAIT_OPTION,
    YES_OPTION,
    examples,
    with_client,
)
from runpod_client.commands.pod_reading import emit_pod
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient
    from runpod_client.model import Pod, PodEdit

_LOSES_FILES = "its files outside the volume are lost"


@click.command(
    "edit",
    epilog=examples(
        "  runpod-client pods edit trainer --name trainer-2\n"
        "  runpod-client pods edit trainer --port 22/tcp --port 8188/http --yes\n"
        "  runpod-client pods edit trainer --env-file new.env\n"
    ),
)
@POD_ARGUMENT
@click.option("--name", help="A new name; nothing is restarted for it.")
@click.option("--image", help="Another image.")
@click.option("--port", "port_texts", multiple=True, metavar="PORT", help="All ports.")
@click.option(
    "--env", "env_rows", multiple=True, metavar="KEY=VALUE", help="Set a variable."
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False),
    help="File of KEY=VALUE lines; keeps values out of the process list.",
)
@click.option(
    "--unset", "unset_names", multiple=True, metavar="KEY", help="Remove a variable."
)
@click.option(
    "--volume",
    "volume_gb",
    type=click.IntRange(min=1),
    metavar="GB",
    help="A larger volume.",
)
@YES_OPTION
@with_client
def edit_pod(
    session: Session, client: "RunPodClient", pod: str, *, yes: bool, **wanted: Any
) -> None:
    """Change a pod's name, ports, variables or image.

    Anything but the name restarts the container: what lies outside the volume is
    lost. A volume can grow, never shrink.
    """
    found = client.resolve_pod(pod)
    edit = _read_edit(found, **wanted)
    if edit.restarts:
        question = f"Change {found.name!r}? It is restarted, and {_LOSES_FILES}."
        session.confirm(question, yes=yes)
    with session.status(found.name):
        changed = client.edit_pod(found.pod_id, edit)
    emit_pod(session, client, changed)


@click.command(
    "restart",
    epilog=examples("  runpod-client pods restart trainer --yes\n"),
)
@POD_ARGUMENT
@WAIT_OPTION
@TIMEOUT_OPTION
@YES_OPTION
@with_client
def restart_pod(
    session: Session,
    client: "RunPodClient",
    pod: str,
    *,
    wait: bool,
    timeout: float,
    yes: bool,
) -> None:
    """Restart a running pod's container.

    It keeps its machine where RunPod's API can restart in place. Through GraphQL alone
    it is stopped and started, and somebody else may get its GPUs in between.
    """
    found = client.resolve_pod(pod)
    session.confirm(f"Restart {found.name!r}? {_LOSES_FILES.capitalize()}.", yes=yes)
    with session.status(found.name) as on_status:
        restarted = client.restart_pod(
            found.pod_id, wait=wait, timeout=timeout, on_status=on_status
        )
    emit_pod(session, client, restarted)


@click.command(
    "stop",
    epilog=examples(
        "  runpod-client pods stop trainer\n"
        "  runpod-client pods stop trainer --no-wait --json\n"
    ),
)
@POD_ARGUMENT
@WAIT_OPTION
@TIMEOUT_OPTION
@with_client
def stop_pod(
    session: Session, client: "RunPodClient", pod: str, *, wait: bool, timeout: float
) -> None:
    """Stop a pod: its GPUs are released, its volume is kept and billed.

    What lies outside the volume (/workspace) is lost.
    """
    found = client.resolve_pod(pod)
    if not found.status.is_billed:
        session.note(f"{found.name!r} is {found.status.lower()} already.")
    with session.status(found.name) as on_status:
        stopped = client.stop_pod(
            found.pod_id, wait=wait, timeout=timeout, on_status=on_status
        )
    emit_pod(session, client, stopped)


@click.command(
    "terminate",
    epilog=examples(
        "  runpod-client pods terminate trainer\n"
        "  runpod-client pods terminate 50qynxzilsxoey --yes\n"
    ),
)
@POD_ARGUMENT
@YES_OPTION
@with_client
def terminate_pod(
    session: Session, client: "RunPodClient", pod: str, *, yes: bool
) -> None:
    """Destroy a pod and all its disks. Billing ends; a network volume stays."""
    from runpod_client.errors import NotFoundError  # noqa: PLC0415  # beside its use
    from runpod_client.sheets import Lines  # noqa: PLC0415  # slow

    try:
        found = client.resolve_pod(pod)
    except NotFoundError:
        if not client.was_rented_here(pod):
            raise
        pod_id, name = pod, pod
    else:
        pod_id, name = found.pod_id, found.name
        session.confirm(
            f"Terminate {name!r} ({pod_id}) and destroy its disks?", yes=yes
        )
    with session.status(f"{name}: terminating"):
        did = client.terminate_pod(pod_id)
    outcome = "terminated" if did else "was gone already"
    session.emit(
        {"pod_id": pod_id, "name": name, "terminated": did},
        lambda: Lines(f"{name} ({pod_id}) {outcome}"),
        names=lambda: [name],
    )


def _read_edit(
    pod: "Pod",
    *,
    env_rows: tuple[str, ...],
    env_file: str | None,
    unset_names: tuple[str, ...],
    port_texts: tuple[str, ...],
    **plain: Any,
) -> "PodEdit":
    """Return what is to change, as the options say it."""
    from runpod_client import specs  # noqa: PLC0415  # not needed by --help
    from runpod_client.model import PodEdit  # noqa: PLC0415

    given = specs.read_env(env_file, env_rows)
    env = None
    if given or unset_names:
        kept = {k: v for k, v in pod.env.items() if k not in unset_names}
        env = {**kept, **given}
    ports = tuple(dict.fromkeys(specs.parse_port(text) for text in port_texts))
    edit = PodEdit(env=env, ports=ports or None, **plain)
    if edit == PodEdit():
        raise click.UsageError(
            "say what to change; see: runpod-client pods edit --help"
        )
    return edit
