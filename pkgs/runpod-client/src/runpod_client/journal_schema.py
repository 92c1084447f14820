"""The journal's database: its tables by version, opened safely and moved forward.

    version 0   nothing yet, or the tables of version 1 without a number
    version 1   intents
    version 2   intents.gpu_type, intents.usd_per_hour: what was asked for last;
                intents.is_claimed: whether whoever wanted the pod was told of it

Opening moves an older journal forward, one version after the other, each in a
transaction of its own. To go back to a program that knows only the version before:

    python -m runpod_client.journal_schema <state folder>/journal.sqlite3

It takes one step and keeps every intent; only what the older program has no place for
(the columns of the newer version) is dropped. It must not know what an intent means.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from runpod_client.errors import ConfigError

BUSY_TIMEOUT_SECONDS = 10.0

_FORWARD = (
    """
CREATE TABLE IF NOT EXISTS intents (
    intent_id TEXT PRIMARY KEY,
    pod_name TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('planned', 'sent', 'settled', 'failed', 'abandoned')),
    pod_id TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_by_state ON intents (state);
CREATE INDEX IF NOT EXISTS intents_by_pod ON intents (pod_id);
""",
    """
ALTER TABLE intents ADD COLUMN gpu_type TEXT NOT NULL DEFAULT '';
ALTER TABLE intents ADD COLUMN usd_per_hour TEXT NOT NULL DEFAULT '0';
ALTER TABLE intents ADD COLUMN is_claimed INTEGER NOT NULL DEFAULT 1;
""",
)
# by the version that is left
_BACK = {
    2: """
ALTER TABLE intents DROP COLUMN is_claimed;
ALTER TABLE intents DROP COLUMN usd_per_hour;
ALTER TABLE intents DROP COLUMN gpu_type;
""",
}
VERSION = len(_FORWARD)


def open_journal(path: Path) -> sqlite3.Connection:
    """Return a connection to the journal, made or moved forward where needed.

    Raises:
        ConfigError: A newer program has written it.
        OSError, sqlite3.Error: It cannot be used.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # sqlite gives its side files the mode of the database
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path)
    try:
        if _version(connection) != VERSION:
            _set_write_ahead(connection)
            _move_forward(connection, path)
        # a create must be on the disk before it is on the wire
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def roll_back(path: Path) -> int:
    """Take a journal one version back, keeping its intents; return that version.

    Raises:
        ConfigError: There is no journal, or no version before its own.
    """
    if not path.is_file():
        raise ConfigError(f"there is no journal {path}", setting="state_dir")
    with closing(_connect(path)) as connection, _exclusive(connection):
        version = _version(connection)
        if version not in _BACK:
            raise ConfigError(
                f"the journal {path} has version {version}, which has none before it",
                setting="state_dir",
            )
        _apply(connection, _BACK[version], version - 1)
    return version - 1


def _connect(path: Path) -> sqlite3.Connection:
    # one connection serves all threads of a journal, which takes turns itself
    return sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _set_write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side, from the file's first moment on.

    SQLite does not wait for a lock here: of two that open a new file at once the later
    one is told that it is locked, whatever its time limit.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _move_forward(connection: sqlite3.Connection, path: Path) -> None:
    for target in range(1, VERSION + 1):
        with _exclusive(connection):
            # another process may have been faster
            version = _version(connection)
            if version > VERSION:
                raise ConfigError(
                    f"the journal of creates {path} has version {version}; this "
                    f"program knows versions up to {VERSION}",
                    setting="state_dir",
                    hint="Use the newer runpod-client that wrote it, or take it one "
                    "version back with that one's "
                    "`python -m runpod_client.journal_schema`.",
                )
            if version < target:
                _apply(connection, _FORWARD[target - 1], target)


def _apply(connection: sqlite3.Connection, script: str, version: int) -> None:
    # not executescript(): it would commit the transaction that is open
    for statement in filter(str.strip, script.split(";\n")):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _exclusive(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


if __name__ == "__main__":
    try:
        print(f"version {roll_back(Path(sys.argv[1]))}")  # noqa: T201  # its result
    except (ConfigError, IndexError) as error:
        sys.exit(f"Error: {error}")
