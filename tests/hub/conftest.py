"""Fixtures of the hub's tests; values and doubles come from `support.hub_world`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runpod_hub import migrations
from runpod_hub.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A migrated, empty database."""
    path = tmp_path / "hub" / "hub.sqlite3"
    migrations.upgrade(path)
    return path


@pytest.fixture
async def store(database: Path) -> AsyncIterator[Store]:
    opened = Store(database)
    yield opened
    await opened.close()
