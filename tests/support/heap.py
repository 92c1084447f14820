"""A heap small enough that the collector does not decide how long something takes."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Keep what the test runner holds out of the collector's way."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
