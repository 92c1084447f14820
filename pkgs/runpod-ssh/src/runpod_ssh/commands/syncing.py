"""`runpod-ssh sync`: folders kept equal, here and on a pod."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runpod_client import ConfigError
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
    from runpod_ssh.sync_model import SyncOptions, SyncResult
    from runpod_ssh.transfer_streams import Progress


@click.command(
    epilog="""\b
Patterns are those of a .gitignore: NAME anywhere, /NAME or A/B from the
top, NAME/ folders alone, * ? [a-z] within a name, ** across folders,
!NAME not after all."""
)
@click.argument("source")
@click.argument("target")
@click.option(
    "--delete", is_flag=True, help="Remove from TARGET what SOURCE does not have."
)
@click.option(
    "--max-delete",
    type=click.IntRange(min=0),
    metavar="N",
    help="Do nothing at all if more than N would be removed.",
)
@click.option(
    "-n", "--dry-run", is_flag=True, help="Change nothing; list what would be done."
)
@click.option(
    "--checksum",
    is_flag=True,
    help="Compare the contents of files of equal size, not their times.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Neither send nor remove what fits; may be repeated.",
)
@click.option(
    "--exclude-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Read patterns from a file such as .gitignore.",
)
@click.option(
    "--rsync/--no-rsync",
    default=True,
    show_default=True,
    help="Of changed files of 32 MiB or more send only what differs, where rsync is on "
    "both sides.",
)
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def sync(
    session: Session,
    source: str,
    target: str,
    *,
    delete: bool,
    max_delete: int | None,
    dry_run: bool,
    checksum: bool,
    exclude: tuple[str, ...],
    exclude_from: tuple[Path, ...],
    rsync: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Make folder TARGET equal to folder SOURCE; one of them is POD:PATH.

    Only what changed is sent: files whose size or time of change (to the second)
    differ, and of those only what really differs in content where it is cheaper to
    compare. Everything arrives whole or not at all; a sync that was cut off is
    finished by the next one. Nothing is removed without --delete.

    TARGET is the folder itself, not the one to put it in; it is made where only the
    one above it exists.

    \b
    Examples:
      runpod-ssh sync ./src train:/workspace/src
      runpod-ssh sync --delete --exclude-from .gitignore . train:/workspace/app
      runpod-ssh sync --dry-run train:/workspace/results ./results
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.sync_model import SyncOptions  # noqa: PLC0415  # start-up time

    here, there = _parse_sides(source, target)
    wanted = SyncOptions(
        delete=delete,
        max_delete=max_delete,
        checksum=checksum,
        dry_run=dry_run,
        excludes=(*_read_patterns(exclude_from), *exclude),
        rsync=rsync,
    )
    if max_delete is not None and not delete:
        raise click.UsageError("--max-delete means nothing without --delete")
    access = arguments.open_access(session, policy, connect_timeout)
    where = access.find_target(here.pod or there.pod, identity)

    async def work() -> "SyncResult":
        async with contextlib.AsyncExitStack() as stack:
            with session.status("connecting"):
                link = await stack.enter_async_context(access.connect(where))
            with open_bar(source) as progress:
                return await _sync(link, here, there, wanted, progress)

    from runpod_ssh.audit import AuditLog, AuditSettings  # noqa: PLC0415  # start-up

    with AuditLog(session.load(AuditSettings, "audit")).recording("sync", where):
        result = run_async(work())
    document = _document(result, where.pod.pod_id, is_upload=bool(there.pod))
    tell(session, {**document, "source": source, "target": target}, _render(result))


async def _sync(
    link: "Connection",
    source: Side,
    target: Side,
    wanted: "SyncOptions",
    progress: "Progress",
) -> "SyncResult":
    from runpod_ssh import sync as folders  # noqa: PLC0415  # start-up time

    if target.pod:
        return await folders.sync_to_pod(
            link, Path(source.path), target.path, options=wanted, on_progress=progress
        )
    return await folders.sync_from_pod(
        link, source.path, Path(target.path), options=wanted, on_progress=progress
    )


def _parse_sides(source: str, target: str) -> tuple[Side, Side]:
    """Return both sides, one of them on a pod."""
    sides = parse_side(source), parse_side(target)
    if bool(sides[0].pod) == bool(sides[1].pod):
        raise click.UsageError(
            "exactly one of SOURCE and TARGET must be POD:PATH "
            "(write ./a:b for a local name with a colon)"
        )
    return sides


def _read_patterns(files: tuple[Path, ...]) -> list[str]:
    from runpod_ssh.ignoring import parse_lines  # noqa: PLC0415  # start-up time

    patterns: list[str] = []
    for file in files:
        try:
            text = file.read_text(errors="surrogateescape")
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        patterns += parse_lines(text)
    return patterns


def _document(result: "SyncResult", pod_id: str, *, is_upload: bool) -> dict[str, Any]:
    changes = [
        {
            "action": change.action,
            "path": change.path,
            "kind": change.kind,
            "size_bytes": change.size_bytes,
        }
        for change in result.changes
    ]
    return {
        "pod_id": pod_id,
        "direction": "upload" if is_upload else "download",
        "is_dry_run": result.is_dry_run,
        "sent_count": result.sent_count,
        "sent_bytes": result.sent_bytes,
        "changed_count": result.changed_count,
        "deleted_count": result.deleted_count,
        "kept_count": result.kept_count,
        "unchanged_count": result.unchanged_count,
        "rsync_count": result.rsync_count,
        "saved_bytes": result.saved_bytes,
        "is_verified": result.is_verified,
        "elapsed_seconds": round(result.elapsed_seconds, 3),
        "skipped": list(result.skipped),
        "changes": changes,
    }


def _render(result: "SyncResult") -> str:
    lines = []
    if result.is_dry_run:
        lines = [
            f"{change.action:6} {render_size(change.size_bytes):>9}  "
            f"{_printable(change.path)}{'/' if change.kind == 'folder' else ''}"
            for change in result.changes
        ]
    lines += [f"skipped, no file: {_printable(path)}" for path in result.skipped]
    return "\n".join([*lines, render_summary(result)])


def render_summary(result: "SyncResult") -> str:
    """Return what a sync came to, in one line."""
    sent = render_size(result.sent_bytes)
    if result.saved_bytes > 0:
        sent += f", {render_size(result.saved_bytes)} of it spared by rsync"
    parts = [f"{result.sent_count:,} sent ({sent})"]
    if result.changed_count:
        parts.append(f"{result.changed_count:,} with new permissions or times")
    if result.deleted_count:
        parts.append(f"{result.deleted_count:,} deleted")
    if result.kept_count:
        parts.append(f"{result.kept_count:,} kept for what is excluded in them")
    parts.append(f"{result.unchanged_count:,} unchanged")
    if result.is_dry_run:
        return f"would be: {', '.join(parts)}; nothing was changed"
    text = f"{', '.join(parts)} in {result.elapsed_seconds:.1f} s"
    if result.sent_bytes:
        text += ", verified" if result.is_verified else ", not verified"
    return text


def _printable(path: str) -> str:
    """Return a name that neither breaks a line nor steers a terminal."""
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape").decode("ascii")
        for letter in path
    )
