"""Bring the database to the newest revision, alone: under a lock on a file beside it.

The lock is the kernel's (flock), so a killed process cannot leave it behind. `serve`
keeps it for life, which also keeps two hubs from watching into one database. The
revisions in `versions/` are only ever appended.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from runpod_hub.errors import StoreBusyError, StoreError
from runpod_hub.private_files import ensure_folder

HEAD = "head"
_LOCK_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def lock(database: Path, *, timeout_seconds: float = 3.0) -> Iterator[None]:
    """Hold the database against other processes.

    Raises:
        StoreBusyError: Another process still holds it after `timeout_seconds`.
    """
    ensure_folder(database.parent)
    path = database.with_name(f"{database.name}.lock")
    deadline = time.monotonic() + timeout_seconds
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}", path=database
        ) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreBusyError(
                        f"another runpod-hub uses {database}",
                        path=database,
                        hint="Stop it, or give this one its own RUNPOD_HUB_STATE_DIR.",
                    ) from None
            time.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def upgrade(database: Path, revision: str = HEAD) -> str:
    """Migrate up to `revision`; return the revision the database then has.

    Call it with the lock held.

    Raises:
        StoreError: The file is no database of ours, or cannot be written.
    """
    return _run(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Path, revision: str) -> str:
    """Migrate down to `revision` (`base` for an empty database)."""
    return _run(database, lambda config: command.downgrade(config, revision))


def _run(database: Path, operation: Callable[[Config], None]) -> str:
    _create_private(database)
    engine = _engine(database)
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "runpod_hub:migrations")
            config.attributes["connection"] = connection
            operation(config)
            return _revision(connection)
    except SQLAlchemyError as error:
        raise StoreError(
            f"cannot migrate {database}: {getattr(error, 'orig', None) or error}",
            path=database,
            hint="Is it a hub's database, and is the disk full? Restore a backup if so.",
        ) from error
    finally:
        engine.dispose()


def _engine(database: Path) -> Engine:
    return create_engine(f"sqlite:///{database}", poolclass=NullPool)


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or "base"


def _create_private(database: Path) -> None:
    """Make the file 0600 before SQLite would make it with the umask's mode."""
    ensure_folder(database.parent)
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
        database.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the database {database}: {error.strerror}", path=database
        ) from error
