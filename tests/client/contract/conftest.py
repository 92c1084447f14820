"""Each case of the contract runs on each wire, with an account of its own."""

import hashlib
from collections.abc import Iterator

import pytest

from runpod_client import Cloud
from support.contract import DIALECTS, Account, end_all, open_cloud
from support.sim import SimServer


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def account(
    module_sim: SimServer, dialect: str, request: pytest.FixtureRequest
) -> Iterator[Account]:
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    made = Account(module_sim.with_key(f"rpa_{name}"), dialect)
    yield made
    module_sim.admin("DELETE", "faults")
    sweeper = open_cloud(made)
    end_all(sweeper)
    sweeper.close()


@pytest.fixture
def cloud(account: Account) -> Iterator[Cloud]:
    made = open_cloud(account)
    yield made
    made.close()
