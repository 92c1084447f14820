"""The tables over the error trees of all packages are total and name no strangers."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from runpod_client import console, errors

PACKAGES = ("runpod_client", "runpod_ssh", "runner_installer", "runpod_hub")
# the documented statuses: 0 done, 70 a bug, 130 interrupted and 255 ssh are no errors'
EXIT_CODES = {1, 2, 3, 4, 5, 6, 7}


def import_error_modules() -> None:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.iter_modules(root.__path__):
            if module.name in {"errors", "exit_codes"}:
                importlib.import_module(f"{package}.{module.name}")


def walk(kind: type[errors.Error]) -> Iterator[type[errors.Error]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.split(".")[0] in PACKAGES:
            yield from walk(below)


import_error_modules()
KINDS = sorted(set(walk(errors.Error)), key=lambda kind: kind.__qualname__)


def tables() -> Iterator[tuple[str, dict[type[errors.Error], int]]]:
    """Yield every package's table of exit statuses."""
    yield "runpod_client", dict(console.EXIT_CODES)
    for package in PACKAGES[1:]:
        name = f"{package}.exit_codes"
        if importlib.util.find_spec(name) is not None:
            yield package, dict(importlib.import_module(name).EXIT_CODES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_error_is_documented_and_drawn_in_its_module(
    kind: type[errors.Error],
) -> None:
    module = importlib.import_module(kind.__module__)

    assert kind.__doc__
    assert kind.__name__ in (module.__doc__ or "")


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.__module__ == "runpod_client.errors"],
    ids=lambda kind: kind.__qualname__,
)
def test_error_of_the_client_has_an_exit_status_of_its_own(
    kind: type[errors.Error],
) -> None:
    assert kind in console.EXIT_CODES


@pytest.mark.parametrize(
    ("package", "table"), list(tables()), ids=lambda value: str(value)[:20]
)
def test_table_names_every_error_that_its_package_can_meet(
    package: str, table: dict[type[errors.Error], int]
) -> None:
    reachable = PACKAGES[: PACKAGES.index(package) + 1]
    defined = {k for k in KINDS if k.__module__.split(".")[0] in reachable}

    assert defined - set(table) == set()
    assert set(table.values()) <= EXIT_CODES | {255}


def test_exit_status_of_a_subclass_is_its_nearest_ancestors() -> None:
    class OwnError(errors.NoCapacityError):
        """A refinement without an entry."""

    assert console.exit_code(OwnError("x")) == 5


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_error_descends_from_the_one_base(kind: type[errors.Error]) -> None:
    assert issubclass(kind, errors.Error)
    assert kind.__name__ == "Error" or kind.__name__.endswith("Error")
