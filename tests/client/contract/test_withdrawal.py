"""What goes on when a wire is taken away: nothing doubled, and no wrong word.

These run on the routed cloud alone, against the simulator's own levers.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import (
    APIError,
    AuthenticationError,
    CapabilityMissingError,
    CapabilityRetiredError,
    Cloud,
    CloudType,
    NoCapacityError,
    PodEdit,
    PodStatus,
    ProtocolError,
    Secret,
    TransportError,
    UnavailableError,
    marks,
)
from runpod_client.dialects.decisions import Decisions
from support.contract import PLACE, SPEC, Account, end_all, get, open_cloud
from support.sim import SimServer

SPOT = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.4"))


@pytest.fixture
def account(module_sim: SimServer, request: pytest.FixtureRequest) -> Iterator[Account]:
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    made = Account(module_sim.with_key(f"rpa_{name}"), "routed")
    yield made
    module_sim.admin("DELETE", "faults")
    retire_graphql(made, retired=False)
    allow(made, "graphql", "rest")
    sweeper = open_cloud(made)
    end_all(sweeper)
    sweeper.close()


@pytest.fixture
def cloud(account: Account) -> Iterator[Cloud]:
    made = open_cloud(account)
    yield made
    made.close()


def retire_graphql(account: Account, *, retired: bool = True) -> None:
    account.sim.admin("POST", "graphql", {"retired": retired})


def allow(account: Account, *wires: str) -> None:
    body = {"key": str(account.key), "wires": list(wires)}
    account.sim.admin("POST", "keys", body)


def test_whole_life_of_a_pod_goes_on_without_graphql(
    cloud: Cloud, account: Account
) -> None:
    retire_graphql(account)

    pod = account.rent_running(cloud, env={"A": "1"}, volume_gb=10)
    cloud.rename_pod(pod.pod_id, "renamed")
    cloud.stop_pod(pod.pod_id)
    stopped = get(cloud, pod.pod_id)
    cloud.start_pod(stopped)
    account.boot()
    cloud.restart_pod(pod.pod_id)
    account.boot()
    cloud.edit_pod(pod, PodEdit(env={"B": "2"}))
    account.boot()
    again = get(cloud, pod.pod_id)
    cloud.terminate_pod(pod.pod_id)

    assert stopped.status is PodStatus.STOPPED
    assert (again.name, again.status) == ("renamed", PodStatus.RUNNING)
    assert again.env.get("B") == "2"
    assert account.rows() == []


def test_catalogue_keys_volumes_and_templates_go_on_without_graphql(
    cloud: Cloud, account: Account
) -> None:
    retire_graphql(account)

    offers = cloud.list_gpu_offers()

    assert {offer.cloud_type for offer in offers} == {
        CloudType.SECURE,
        CloudType.COMMUNITY,
    }
    assert {offer.minimum_bid_usd_per_gpu_hour for offer in offers} == {None}
    assert cloud.list_account_keys() == []
    assert cloud.list_network_volumes() == []
    assert cloud.list_templates() == []
    assert cloud.list_cpu_types()
    assert cloud.list_data_centers()


def test_what_only_graphql_had_fails_with_what_still_works(
    cloud: Cloud, account: Account
) -> None:
    retire_graphql(account)
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)

    sentences = []
    for call in (
        lambda: cloud.create_pod(SPEC, SPOT),
        cloud.get_account,
        lambda: cloud.start_pod_without_gpus(pod.pod_id),
        lambda: cloud.start_pod(replace(pod, is_spot=True)),
    ):
        with pytest.raises(CapabilityRetiredError) as caught:
            call()
        assert caught.value.hint
        sentences.append(caught.value.message)

    assert sentences == [
        "RunPod has withdrawn GraphQL, which spot pods went over",
        "RunPod has withdrawn GraphQL, which balance and spending went over",
        "RunPod has withdrawn GraphQL, which starting a pod without its GPUs went over",
        "RunPod has withdrawn GraphQL, which spot pods went over",
    ]
    assert [row["status"] for row in account.rows()] == ["EXITED"]


def test_graphql_withdrawn_in_the_middle_doubles_nothing(
    cloud: Cloud, account: Account
) -> None:
    cloud.get_account()  # GraphQL is known to be there
    retire_graphql(account)

    with pytest.raises(CapabilityRetiredError):
        cloud.create_pod(SPEC, SPOT)
    with pytest.raises(CapabilityRetiredError):
        cloud.create_pod(SPEC, SPOT)
    cloud.create_pod(SPEC, PLACE)

    assert len(account.rows()) == 1


def test_rename_in_the_middle_of_the_withdrawal_is_done_by_the_next_call(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.rename_pod(pod.pod_id, "first")
    retire_graphql(account)

    with pytest.raises(CapabilityRetiredError, match="REST v2 still has it"):
        cloud.rename_pod(pod.pod_id, "second")
    between = get(cloud, pod.pod_id).name
    cloud.rename_pod(pod.pod_id, "second")

    assert between == "first"
    assert get(cloud, pod.pod_id).name == "second"
    assert account.known(pod.pod_id)["start_number"] == 1


def test_rest_withdrawn_goes_on_over_graphql_with_one_pod_per_create(
    cloud: Cloud, account: Account
) -> None:
    cloud.list_pods()
    account.sim.add_fault("gone", wire="rest", times=None)

    with pytest.raises(CapabilityRetiredError):
        cloud.create_pod(SPEC, PLACE)
    made = cloud.create_pod(SPEC, PLACE)
    listed = cloud.list_pods()
    cloud.stop_pod(made.pod_id)
    with pytest.raises(CapabilityRetiredError, match="boot and container logs"):
        cloud.read_logs(made.pod_id, is_system=True)

    account.sim.admin("DELETE", "faults")
    assert [pod.pod_id for pod in listed] == [made.pod_id]
    assert [row["status"] for row in account.rows()] == ["EXITED"]


def test_key_without_rights_to_rest_goes_over_graphql(
    cloud: Cloud, account: Account
) -> None:
    allow(account, "graphql")

    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)
    with pytest.raises(AuthenticationError, match="restarting in place"):
        cloud.restart_pod(pod.pod_id)

    assert get(cloud, pod.pod_id).status is PodStatus.STOPPED
    assert cloud.list_account_keys() == []
    assert cloud.get_account().balance_usd > 0


def test_key_without_rights_to_graphql_goes_over_rest(
    cloud: Cloud, account: Account
) -> None:
    allow(account, "rest")

    pod = account.rent_running(cloud)
    cloud.rename_pod(pod.pod_id, "renamed")
    with pytest.raises(AuthenticationError):
        cloud.get_account()
    with pytest.raises(AuthenticationError):
        cloud.create_pod(SPEC, SPOT)

    found = get(cloud, pod.pod_id)
    assert (found.name, found.status) == ("renamed", PodStatus.RUNNING)
    assert len(account.rows()) == 1


def test_key_without_any_rights_is_an_authentication_error(
    cloud: Cloud, account: Account
) -> None:
    allow(account)

    with pytest.raises(AuthenticationError):
        cloud.list_pods()
    with pytest.raises(AuthenticationError):
        cloud.create_pod(SPEC, PLACE)


@pytest.mark.parametrize("kind", ["html_500", "bad_gateway", "unavailable"])
def test_outage_of_the_preferred_wire_decides_nothing(
    cloud: Cloud, account: Account, kind: str
) -> None:
    account.sim.add_fault(kind, wire="rest", times=None)

    for _ in range(2):
        with pytest.raises(APIError) as caught:
            cloud.create_pod(SPEC, PLACE)
        assert not isinstance(caught.value, CapabilityMissingError)
    account.sim.admin("DELETE", "faults")
    other = open_cloud(account)
    other.create_pod(SPEC, PLACE)
    other.close()

    assert len(account.rows()) == 1


def test_withdrawal_is_remembered_by_the_next_command(
    account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "dialects.json"

    def decisions(base_url: str, key: Secret) -> Decisions:
        return Decisions(path, base_url=base_url, api_key=key)

    retire_graphql(account)
    first = open_cloud(account, decisions=decisions)
    with pytest.raises(CapabilityRetiredError):
        first.get_account()
    first.close()
    retire_graphql(account, retired=False)

    second = open_cloud(account, decisions=decisions)
    with pytest.raises(CapabilityRetiredError):
        second.get_account()
    second.close()
    path.unlink()
    third = open_cloud(account, decisions=decisions)
    told = third.get_account()
    third.close()

    assert told.balance_usd > 0


# what the routed cloud may say of a create that surely made nothing
DEFINITE = (CapabilityMissingError, AuthenticationError, NoCapacityError)
DOUBTFUL = (TransportError, UnavailableError, ProtocolError)
KINDS = (
    "html_500",
    "bad_gateway",
    "drop_connection",
    "lost_answer",
    "malformed_body",
    "no_capacity",
    "gone",
    "forbidden",
)


def rent_marked(cloud: Cloud, intent_id: str) -> type[Exception] | None:
    """Rent a pod by a mark of its own; return what it failed by."""
    env = marks.render_marks(owner="me", intent_id=intent_id)
    try:
        cloud.create_pod(replace(SPEC, env=env), PLACE)
    except APIError as error:
        return type(error)
    return None


def test_no_create_is_doubled_whatever_fails_and_whenever(account: Account) -> None:
    rng = random.Random(7)  # noqa: S311  # reproducible
    cloud = open_cloud(account)
    ample = {"per_minute": 9000, "per_hour": 90_000, "is_enforced": False}
    account.sim.admin("POST", "quota", ample)
    seen: Counter[str] = Counter()

    for number in range(40):
        retire_graphql(account, retired=rng.random() < 0.2)
        if rng.random() < 0.3:
            cloud.close()
            cloud = open_cloud(account)
        if rng.random() < 0.7:
            wire = rng.choice(("graphql", "rest"))
            operation = rng.choice(("deploy", "deploy", "get", "list"))
            account.sim.add_fault(rng.choice(KINDS), operation=operation, wire=wire)
        intent_id = f"{number:016x}"

        failed = rent_marked(cloud, intent_id)

        account.sim.admin("DELETE", "faults")
        made = [r for r in account.rows() if r["env"].get(marks.INTENT) == intent_id]
        if failed is None:
            assert len(made) == 1
        elif issubclass(failed, DEFINITE):
            assert made == []
        else:
            assert issubclass(failed, DOUBTFUL), failed
            assert len(made) <= 1
        seen[failed.__name__ if failed else "made"] += 1
        for row in made:
            account.sim.rest("DELETE", f"pods/{row['id']}")
    cloud.close()

    assert seen["made"] >= 10, seen
    assert len(seen) >= 4, seen
