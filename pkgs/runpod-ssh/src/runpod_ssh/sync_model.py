"""What a sync is asked to do and what it came to: values, and the refusal of mistakes."""

from dataclasses import dataclass

from runpod_ssh.errors import TransferError
from runpod_ssh.manifests import Manifest, Plan


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """What a sync may do and looks at.

    Attributes:
        delete: Remove what the source lacks.
        max_delete: Refuse to remove more names than this; None for no limit, and for
            a refusal to empty the target because the source is empty.
        checksum: Compare the contents of all files of one size, not their times.
        excludes: Patterns of what is neither sent nor removed, as in a .gitignore.
        dry_run: Change nothing, tell what would happen.
        rsync: Of large files send only what differs, where rsync is on both sides.
    """

    delete: bool = False
    max_delete: int | None = None
    checksum: bool = False
    excludes: tuple[str, ...] = ()
    dry_run: bool = False
    rsync: bool = True


DEFAULT_OPTIONS = SyncOptions()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing a sync did, or would do.

    Attributes:
        action: `send`, `delete`, `mode` or `time`.
        kind: `file`, `folder`, `link` or `other`.
    """

    action: str
    path: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """What a sync came to.

    Attributes:
        sent_count: Files and links that went over; folders are not counted.
        changed_count: What was there and got other permissions or another time.
        kept_count: Folders that stayed because something excluded is in them.
        rsync_count: How many of the files sent went by rsync's deltas.
        saved_bytes: How much less than their contents went over the link for those.
        skipped: Paths that are no file, folder or link.
        is_verified: Whether the pod's SHA-256 agreed with ours for all that was sent.
    """

    changes: tuple[Change, ...]
    sent_count: int
    sent_bytes: int
    changed_count: int
    deleted_count: int
    kept_count: int
    unchanged_count: int
    rsync_count: int
    saved_bytes: int
    skipped: tuple[str, ...]
    is_dry_run: bool
    is_verified: bool
    elapsed_seconds: float


def refuse_mistakes(plan: Plan, source: Manifest, options: SyncOptions) -> None:
    """Refuse what looks like a mistake, before anything is changed."""
    count = plan.removed_count
    if options.max_delete is not None:
        if count > options.max_delete:
            raise TransferError(
                f"{count} would be deleted, more than the {options.max_delete} allowed",
                hint="See what with --dry-run; allow more with --max-delete.",
            )
    elif count and not source:
        raise TransferError(
            f"the source is empty: all {count} in the target would be deleted",
            hint=f"If that is meant, say --max-delete {count}.",
        )


_KIND_NAMES = {"f": "file", "d": "folder", "l": "link", "o": "other"}


def list_changes(plan: Plan, source: Manifest, target: Manifest) -> tuple[Change, ...]:
    """Return what a plan does, in its order, for people and programs."""
    sent = set(plan.sends)
    rows = [("send", path, source[path]) for path in plan.sends]
    rows += [("mode", path, source[path]) for path, _mode in plan.modes]
    rows += [("time", path, source[path]) for path, _time in plan.times]
    gone = [*(path for path in plan.obstacles if path not in sent), *plan.deletes]
    rows += [("delete", path, target[path]) for path in gone]
    return tuple(
        Change(
            action=action,
            path=path,
            kind=_KIND_NAMES[entry.kind],
            size_bytes=entry.size_bytes,
        )
        for action, path, entry in rows
    )
