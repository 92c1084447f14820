"""`runpod-client reap`: end pods whose lease is over or that idle; for timers."""

from typing import TYPE_CHECKING, Any

import click

from runpod_client.commands.arguments import examples, load_settings, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from runpod_client.client import RunPodClient
    from runpod_client.reaper import ReapResult
    from runpod_client.reaping import ReapPolicy
    from runpod_client.sheets import Sheet


@click.command(
    epilog=examples(
        "  runpod-client reap --dry-run\n"
        "  runpod-client reap --idle 30m --action stop\n"
        "  runpod-client reap --grace 10m --terminate-stopped-after 7d --json\n"
    )
    + "\n\n\b\nA systemd timer or a scheduled workflow runs it every five minutes: idleness"
    "\nis only seen by looking again and again."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--idle",
    metavar="LENGTH",
    help="Also end pods whose GPUs did nothing for this long, like 30m.",
)
@click.option(
    "--idle-below",
    "idle_below_percent",
    type=click.IntRange(min=1, max=100),
    default=5,
    show_default=True,
    metavar="PERCENT",
    help="A GPU busier than this at any look is not idle.",
)
@click.option(
    "--action",
    type=click.Choice(["auto", "stop", "terminate"]),
    default="auto",
    show_default=True,
    help="How pods are ended; auto stops those that have a volume disk to keep.",
)
@click.option("--grace", metavar="LENGTH", help="Spare a pod so long after its end.")
@click.option(
    "--terminate-stopped-after",
    metavar="LENGTH",
    help="Destroy stopped pods, and their disks, so long after their lease's end.",
)
@with_client
def reap(session: Session, client: "RunPodClient", **wanted: Any) -> int:
    """End the pods of this owner whose lease is over, or that idle.

    It asks nobody, touches only pods that carry this owner's mark, and leaves locked
    pods alone. Exit status 1 when an action failed; the others were done.
    """
    from runpod_client.observations import ObservationStore  # noqa: PLC0415  # slow
    from runpod_client.reaper import Outcome, Reaper  # noqa: PLC0415

    is_dry_run = wanted.pop("dry_run")
    reaper = Reaper(
        client,
        ObservationStore(load_settings(session).state_dir),
        owner=client.owner,
        policy=_read_policy(**wanted),
        now=client.now,
        on_expired=lambda reap: client.expiring(reap.pod, reap.reason),
    )
    results = reaper.run(dry_run=is_dry_run)
    session.emit(
        _render_document(results, is_dry_run=is_dry_run),
        lambda: _render_sheet(results),
        names=lambda: [result.reap.pod.name for result in results],
    )
    return int(any(result.outcome is Outcome.FAILED for result in results))


def _read_policy(
    *,
    idle: str | None,
    idle_below_percent: int,
    action: str,
    grace: str | None,
    terminate_stopped_after: str | None,
) -> "ReapPolicy":
    """Return the policy the options describe."""
    from datetime import timedelta  # noqa: PLC0415  # not for --help

    from runpod_client.reaping import ActionPolicy, ReapPolicy  # noqa: PLC0415

    return ReapPolicy(
        action=ActionPolicy(action),
        grace=_parse_length(grace) or timedelta(),
        idle_window=_parse_length(idle),
        idle_below_percent=idle_below_percent,
        terminate_stopped_after=_parse_length(terminate_stopped_after),
    )


def _parse_length(text: str | None) -> "timedelta | None":
    from runpod_client.leases import parse_lease  # noqa: PLC0415  # not for --help

    return None if text is None else parse_lease(text)


def _render_document(
    results: "Sequence[ReapResult]", *, is_dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": is_dry_run,
        "pods": [
            {
                "pod_id": result.reap.pod.pod_id,
                "name": result.reap.pod.name,
                "cause": result.reap.cause,
                "reason": result.reap.reason,
                "action": result.reap.action,
                "outcome": result.outcome,
                "detail": result.detail,
                "saves_usd_per_hour": result.reap.saves_usd_per_hour,
            }
            for result in results
        ],
    }


def _render_sheet(results: "Sequence[ReapResult]") -> "Sheet":
    from runpod_client.prices import render_usd  # noqa: PLC0415  # not for --help
    from runpod_client.reaper import Outcome  # noqa: PLC0415
    from runpod_client.sheets import Cell, Sheet  # noqa: PLC0415

    return Sheet(
        headings=("POD", "WHY", "ACTION", "RESULT", ">SAVES $/H"),
        rows=[
            (
                result.reap.pod.name,
                result.reap.reason,
                result.reap.action.value,
                Cell(
                    ": ".join(filter(None, (result.outcome.value, result.detail))),
                    "red" if result.outcome is Outcome.FAILED else "",
                ),
                render_usd(result.reap.saves_usd_per_hour),
            )
            for result in results
        ],
        empty="Nothing to end.",
    )
