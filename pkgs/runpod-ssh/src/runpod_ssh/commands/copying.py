"""`runpod-ssh copy`: files and trees to and from pods."""

from pathlib import Path
from typing import Any

import click

from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POLICY_OPTION,
    run_async,
    tell,
)
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.model import TransferResult


@click.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Compare SHA-256 on both sides before the copy gets its name.",
)
@IDENTITY_OPTION
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def copy(
    session: Session,
    source: str,
    target: str,
    *,
    verify: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Copy a file or folder to or from a pod; one side is POD:PATH.

    A relative PATH starts in the pod's home folder. A TARGET that is a folder gets an
    entry of the source's name. Nothing stands half-written under its final name.

    \b
    Examples:
      runpod-ssh copy ./src train:/workspace/
      runpod-ssh copy train:/workspace/model.safetensors .
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.transfer import download, upload  # noqa: PLC0415  # start-up time

    pod, path, is_upload = _parse_sides(source, target)
    access = arguments.open_access(session, policy, connect_timeout)
    where = access.find_target(pod, identity)

    async def work() -> TransferResult:
        with session.status(f"copying {source}") as show:

            def progress(done: int, total: int) -> None:
                share = f" of {_size(total)}" if total else ""
                show(f"copying {source}: {_size(done)}{share}")

            async with access.connect(where) as link:
                if is_upload:
                    return await upload(
                        link, Path(source), path, verify=verify, on_progress=progress
                    )
                return await download(
                    link, path, Path(target), verify=verify, on_progress=progress
                )

    result = run_async(work())
    tell(
        session,
        _transfer_document(result, where.pod.pod_id, is_upload=is_upload),
        _render_transfer(result, pod, is_upload=is_upload),
    )


def _parse_sides(source: str, target: str) -> tuple[str, str, bool]:
    """Return the pod, the path there and whether the copy goes there."""
    sides = [_split_pod(source), _split_pod(target)]
    if (sides[0] is None) == (sides[1] is None):
        raise click.UsageError(
            "exactly one of SOURCE and TARGET must be POD:PATH "
            "(write ./a:b for a local name with a colon)"
        )
    pod, path = sides[0] or sides[1] or ("", "")
    return pod, path, sides[1] is not None


def _split_pod(text: str) -> tuple[str, str] | None:
    """Return (pod, path) for POD:PATH; None for a local path, as scp reads them."""
    pod, colon, path = text.partition(":")
    if not colon or not pod or "/" in pod:
        return None
    return pod, path


def _transfer_document(
    result: TransferResult, pod_id: str, *, is_upload: bool
) -> dict[str, Any]:
    return {
        "pod_id": pod_id,
        "direction": "upload" if is_upload else "download",
        "source": result.source,
        "target": result.target,
        "file_count": result.file_count,
        "size_bytes": result.size_bytes,
        "sha256": result.sha256,
        "is_verified": result.is_verified,
        "elapsed_seconds": round(result.elapsed_seconds, 3),
    }


def _render_transfer(result: TransferResult, pod: str, *, is_upload: bool) -> str:
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    proof = "verified" if result.is_verified else "not verified"
    target = f"{pod}:{result.target}" if is_upload else result.target
    return (
        f"{files}, {_size(result.size_bytes)} to {target} "
        f"in {result.elapsed_seconds:.1f} s, {proof}"
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
