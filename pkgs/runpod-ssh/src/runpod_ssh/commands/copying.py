"""`runpod-ssh copy`: files and trees to, from and between pods."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POLICY_OPTION,
    run_async,
    tell,
    way_options,
)
from runpod_ssh.commands.bars import open_bar
from runpod_ssh.commands.sides import Side, parse_side, render_size
from runpod_ssh.exit_codes import EXIT_CODES

if TYPE_CHECKING:
    from runpod_ssh.connection import Connection
    from runpod_ssh.model import TransferResult
    from runpod_ssh.transfer import Progress


@dataclass(frozen=True, kw_only=True)
class _Link:
    """A pod that takes part, connected."""

    pod_id: str
    connection: "Connection"


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("target")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Compare SHA-256 on both sides before the copy gets its name.",
)
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def copy(
    session: Session,
    sources: Sequence[str],
    target: str,
    *,
    verify: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Copy files or folders to, from or between pods; a pod's side is POD:PATH.

    A relative PATH starts in the pod's home folder. A TARGET that is a folder gets an
    entry of the source's name; several sources need one. Nothing stands half-written
    under its final name. A copy of 8 MiB or more that was cut off goes on where it was
    when the same command runs again.

    \b
    Examples:
      runpod-ssh copy ./src train:/workspace/
      runpod-ssh copy train:/workspace/model.safetensors .
      runpod-ssh copy a.txt b.txt train:/workspace/
      runpod-ssh copy train:/workspace/model other:/workspace/
    """  # noqa: D301  # click reads \b as: keep these lines
    sides = [parse_side(text) for text in sources]
    goal = parse_side(target)
    pods = _list_pods(sides, goal)
    if len(sides) > 1 and not goal.pod and not Path(target).is_dir():
        raise click.UsageError(f"several sources need a folder: there is no {target}")
    access = arguments.open_access(session, policy, connect_timeout)
    where = {pod: access.find_target(pod, identity) for pod in pods}

    async def work() -> list["TransferResult"]:
        async with contextlib.AsyncExitStack() as stack:
            with session.status("connecting"):
                links = {
                    pod: _Link(
                        pod_id=target.pod.pod_id,
                        connection=await stack.enter_async_context(
                            access.connect(target)
                        ),
                    )
                    for pod, target in where.items()
                }
            done = []
            for side in sides:
                with open_bar(str(side)) as progress:
                    done.append(
                        await _copy(
                            side,
                            goal,
                            links,
                            progress,
                            verify=verify,
                            is_one=len(sides) == 1,
                        )
                    )
            return done

    from runpod_ssh.audit import AuditLog, AuditSettings  # noqa: PLC0415  # start-up

    audit = AuditLog(session.load(AuditSettings, "audit"))
    with audit.recording_all("copy", where.values()):
        results = run_async(work())
    documents = [
        _transfer_document(
            result,
            side,
            goal,
            {pod: found.pod.pod_id for pod, found in where.items()},
        )
        for result, side in zip(results, sides, strict=True)
    ]
    tell(
        session,
        documents[0] if len(documents) == 1 else _summary(documents),
        "\n".join(_render_transfer(result, goal) for result in results),
    )


async def _copy(
    side: Side,
    goal: Side,
    links: dict[str, "_Link"],
    progress: "Progress",
    *,
    verify: bool,
    is_one: bool,
) -> "TransferResult":
    # asyncssh is slow to load
    from runpod_ssh.transfer import (  # noqa: PLC0415
        PodPath,
        copy_between,
        download,
        upload,
    )

    # several sources go into a folder: it has to be there
    path = goal.path if is_one else f"{goal.path.rstrip('/') or goal.path or '.'}/"
    if not side.pod:
        return await upload(
            links[goal.pod].connection,
            Path(side.path),
            path,
            verify=verify,
            on_progress=progress,
        )
    if not goal.pod:
        return await download(
            links[side.pod].connection,
            side.path,
            Path(goal.path),
            verify=verify,
            on_progress=progress,
            origin=links[side.pod].pod_id,
        )
    first, second = links[side.pod], links[goal.pod]
    return await copy_between(
        PodPath(connection=first.connection, path=side.path, origin=first.pod_id),
        PodPath(connection=second.connection, path=path, origin=second.pod_id),
        verify=verify,
        on_progress=progress,
    )


def _list_pods(sides: Sequence[Side], goal: Side) -> list[str]:
    """Return the pods that take part, each once."""
    is_local = [not side.pod for side in sides]
    if not goal.pod and any(is_local):
        raise click.UsageError(
            "each copy needs a pod: SOURCE or TARGET must be POD:PATH "
            "(write ./a:b for a local name with a colon)"
        )
    return list(dict.fromkeys(side.pod for side in [*sides, goal] if side.pod))


def _transfer_document(
    result: "TransferResult", side: Side, goal: Side, ids: dict[str, str]
) -> dict[str, Any]:
    direction = "upload" if not side.pod else "between" if goal.pod else "download"
    document = {
        "pod_id": ids[goal.pod or side.pod],
        "direction": direction,
        "source": result.source,
        "target": result.target,
        "file_count": result.file_count,
        "size_bytes": result.size_bytes,
        "sha256": result.sha256,
        "is_verified": result.is_verified,
        "elapsed_seconds": round(result.elapsed_seconds, 3),
    }
    if direction == "between":
        document["source_pod_id"] = ids[side.pod]
    return document


def _summary(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the document of several copies: their sums, and each of them."""
    return {
        "file_count": sum(each["file_count"] for each in documents),
        "size_bytes": sum(each["size_bytes"] for each in documents),
        "is_verified": all(each["is_verified"] for each in documents),
        "elapsed_seconds": round(sum(each["elapsed_seconds"] for each in documents), 3),
        "copies": list(documents),
    }


def _render_transfer(result: "TransferResult", goal: Side) -> str:
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    proof = "verified" if result.is_verified else "not verified"
    target = f"{goal.pod}:{result.target}" if goal.pod else result.target
    return (
        f"{files}, {render_size(result.size_bytes)} to {target} "
        f"in {result.elapsed_seconds:.1f} s, {proof}"
    )
