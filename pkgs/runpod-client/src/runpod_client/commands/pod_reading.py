"""Looking at pods: `pods list`, `show`, `logs` and `wait`. Nothing here costs money."""

from typing import TYPE_CHECKING

import click

from runpod_client.commands.arguments import (
    POD_ARGUMENT,
    TIMEOUT_OPTION,
    examples,
    with_client,
)
from runpod_client.console import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from runpod_client.client import RunPodClient
    from runpod_client.model import Pod


@click.command(
    "list",
    epilog=examples(
        "  runpod-client pods list\n"
        "  runpod-client pods list --mine -o name | xargs -n1 runpod-client pods stop\n"
        "  runpod-client pods list --json | jq -r '.pods[].name'\n"
    ),
)
@click.option("--mine", is_flag=True, help="Only pods rented from this machine.")
@with_client
def list_pods(session: Session, client: "RunPodClient", *, mine: bool) -> None:
    """List all pods of the account."""
    from runpod_client import conditions, sheets, tables  # noqa: PLC0415  # slow

    found = client.list_pods()
    for pod in client.settle(found):
        session.note(
            f"Note: {pod.name!r} ({pod.pod_id}) was made by a create that was "
            "interrupted; it is rented."
        )
    for pod in client.find_strays(found):
        session.note(
            f"Note: {pod.name!r} ({pod.pod_id}) bills, though its create had been given "
            f"up. End it: runpod-client pods terminate {pod.pod_id}"
        )
    now = client.now()
    shown = [pod for pod in found if not mine or pod.owner == client.owner]

    def document() -> dict[str, object]:
        return {
            "pods": [
                tables.pod_document(
                    pod, client.identity_for(pod), conditions.diagnose(pod, now=now)
                )
                for pod in shown
            ]
        }

    session.emit(
        document() if session.as_json else None,
        lambda: tables.pod_sheet(
            shown, lambda pod: conditions.diagnose(pod, now=now), now=now
        ),
        names=lambda: sheets.names_of((pod.name, pod.pod_id) for pod in shown),
    )


@click.command(
    "show",
    epilog=examples(
        "  runpod-client pods show trainer\n"
        "  runpod-client pods show 50qynxzilsxoey --json\n"
    ),
)
@POD_ARGUMENT
@with_client
def show_pod(session: Session, client: "RunPodClient", pod: str) -> None:
    """Show one pod: what it is, why, and the command that reaches it."""
    found = client.resolve_pod(pod, with_reason=True)
    emit_pod(session, client, found, with_logs=True)


@click.command(
    "logs",
    epilog=examples(
        "  runpod-client pods logs trainer\n"
        "  runpod-client pods logs trainer --system --tail 50\n"
    ),
)
@POD_ARGUMENT
@click.option(
    "--system",
    "is_system",
    is_flag=True,
    help="What the host says (image pull, boot), not the container.",
)
@click.option(
    "--tail",
    type=click.IntRange(min=1, max=5000),
    default=200,
    show_default=True,
    metavar="LINES",
    help="How many.",
)
@with_client
def show_logs(
    session: Session, client: "RunPodClient", pod: str, *, is_system: bool, tail: int
) -> None:
    """Show the last lines a pod's container, or its host, has written."""
    from runpod_client import sheets, tables  # noqa: PLC0415  # slow

    found = client.resolve_pod(pod)
    lines = client.cloud.read_logs(found.pod_id, is_system=is_system, tail=tail)
    text = "\n".join(line.text for line in lines) or "No lines yet."
    session.emit(
        {"pod_id": found.pod_id, "lines": tables.log_documents(lines)},
        lambda: sheets.Lines(text),
    )


@click.command(
    "wait",
    epilog=examples(
        "  runpod-client pods wait trainer --timeout 600\n"
        "  runpod-client pods wait comfy --for http:8188/system_stats\n"
        "  runpod-client pods wait trainer --for 'log:Epoch 1'\n"
    ),
)
@POD_ARGUMENT
@click.option(
    "--for",
    "goal",
    default="ssh",
    show_default=True,
    metavar="GOAL",
    help="running: its container runs. ssh: its sshd answers. tcp:PORT, "
    "http:PORT/PATH: that port answers. log:REGEX: its log has such a line.",
)
@TIMEOUT_OPTION
@with_client
def wait_for_pod(
    session: Session, client: "RunPodClient", pod: str, *, goal: str, timeout: float
) -> None:
    """Wait until a pod is ready. One that stops or fails ends the waiting at once."""
    found = client.resolve_pod(pod)
    with session.status(found.name) as on_status:
        ready = await_ready(
            client, found, goal=goal, timeout=timeout, on_status=on_status
        )
    emit_pod(session, client, ready)


def await_ready(
    client: "RunPodClient",
    pod: "Pod",
    *,
    goal: str,
    timeout: float,
    on_status: "Callable[[str], None]",
) -> "Pod":
    """Wait for a pod; an error names the pod, since it bills whatever happened."""
    from runpod_client.errors import (  # noqa: PLC0415  # beside their use
        DeadlineError,
        RejectedError,
    )

    try:
        return client.wait_until_ready(
            pod.pod_id, goal, timeout=timeout, on_status=on_status
        )
    except DeadlineError as error:
        error.hint = (
            f"The pod bills. Keep waiting: runpod-client pods wait {pod.pod_id}; "
            f"or end it: runpod-client pods terminate {pod.pod_id}"
        )
        raise
    except RejectedError as error:
        end = f"end it: runpod-client pods terminate {pod.pod_id}"
        error.hint = f"{error.hint}; or {end}" if error.hint else end.capitalize()
        raise


def emit_pod(
    session: Session, client: "RunPodClient", pod: "Pod", *, with_logs: bool = False
) -> None:
    """Write one pod as a command's result.

    Args:
        with_logs: Look into the host's log where the pod alone does not say what
            keeps it from being ready; costs a call.
    """
    from runpod_client import tables  # noqa: PLC0415  # slow

    diagnosis = client.diagnose(pod, with_logs=with_logs)
    identity = client.identity_for(pod)
    session.emit(
        tables.pod_document(pod, identity, diagnosis),
        lambda: tables.pod_page(pod, identity, diagnosis, now=client.now()),
        names=lambda: [pod.name],
    )
