"""Half-way states as the served simulator scripts them, named over both wires."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runpod_client import Cloud, Pod, PodStatus, Secret
from runpod_client.conditions import Condition, Diagnosis, Evidence, diagnose
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.probes import SSHProbe
from runpod_client.transport import Transport
from support.pods import Pods, make_identity
from support.sim import SimServer
from support.waiting import wait_for

HOUR = 3600.0
GRAPHQL, REST = "graphql", "rest_v2"

_numbers = itertools.count()


@dataclass(frozen=True)
class World:
    """An account of the simulator: its pods made bare, then read over each wire."""

    sim: SimServer
    pods: Pods
    clouds: Mapping[str, Cloud]

    def now(self) -> datetime:
        return datetime.fromisoformat(self.sim.admin("GET", "clock")["now"])

    def read(self, pod_id: str, wire: str) -> Pod:
        found = self.clouds[wire].find_pod(pod_id)
        assert found is not None
        return found

    def ask(self, pod_id: str, wire: str, **given: Any) -> Diagnosis:
        return diagnose(
            self.read(pod_id, wire), now=self.now(), evidence=Evidence(**given)
        )

    def ask_with_log(self, pod_id: str) -> Diagnosis:
        logs = self.clouds[REST].read_logs(pod_id, is_system=True)
        return diagnose(self.read(pod_id, REST), now=self.now(), logs=logs)

    def name(self, pod_id: str, **given: Any) -> tuple[Condition, Condition]:
        """Return what GraphQL's facts and REST v2's facts are called."""
        return (
            self.ask(pod_id, GRAPHQL, **given).condition,
            self.ask(pod_id, REST, **given).condition,
        )

    def deploy_up(self, **given: Any) -> str:
        """Rent a pod and return its id once its container runs."""
        pod_id = self.pods.deploy(**given)
        wait_for(
            lambda: self.pods.get(pod_id)["runtime"], what="the container to report"
        )
        return pod_id

    def account_id(self) -> str:
        answer = self.sim.graphql("query { myself { id } }")
        return str(answer["data"]["myself"]["id"])


def connect(sim: SimServer) -> Transport:
    return Transport(
        base_url=sim.base_url,
        api_key=Secret(sim.env["RUNPOD_API_KEY"]),
        timeout_seconds=20,
    )


@pytest.fixture
def world(module_sim: SimServer, tmp_path: Path) -> Iterator[World]:
    sim = module_sim.with_key(f"rpa_conditions{next(_numbers):06d}")
    identity, public_key = make_identity(tmp_path)
    with ExitStack() as stack:
        clouds: dict[str, Cloud] = {}
        clouds[GRAPHQL] = GraphQLCloud(connect(sim))
        # a log goes on for ever: it is read for as long as this
        clouds[REST] = RestV2Cloud(connect(sim), log_seconds=0.5)
        for cloud in clouds.values():
            stack.callback(cloud.close)
        yield World(sim, Pods(sim, identity, public_key), clouds)
        for pod in clouds[GRAPHQL].list_pods():
            clouds[GRAPHQL].terminate_pod(pod.pod_id)


def test_slow_pull_is_named_where_the_log_tells_and_left_open_elsewhere(
    world: World,
) -> None:
    world.sim.add_fault("slow_pull", seconds=2 * HOUR)
    pod_id = world.pods.deploy()

    world.sim.advance(300)
    early = (*world.name(pod_id), world.ask_with_log(pod_id).condition)
    world.sim.advance(1200)
    late = (*world.name(pod_id), world.ask_with_log(pod_id).condition)
    told = world.ask_with_log(pod_id)

    assert early == (
        Condition.COMING_UP,
        Condition.COMING_UP,
        Condition.PULLING_IMAGE,
    )
    assert late == (Condition.START_STUCK, Condition.START_STUCK, Condition.PULL_STUCK)
    # 25 minutes of an L4 in the cloud it was placed in
    price = world.read(pod_id, GRAPHQL).price_usd_per_hour
    assert told.spent_usd == pytest.approx(price * 25 / 60, rel=Decimal("0.02"))
    assert "for 25 min ($" in told.sentence


def test_ports_that_are_never_mapped_are_named(world: World) -> None:
    world.sim.add_fault("ports_never")
    pod_id = world.deploy_up()

    assert world.name(pod_id) == (Condition.PORTS_NOT_MAPPED,) * 2


def test_host_that_stops_reporting_is_told_from_a_start_by_what_was_seen_before(
    world: World,
) -> None:
    pod_id = world.pods.start().id
    before = world.read(pod_id, GRAPHQL)
    world.sim.add_fault("runtime_gap", times=3)

    alone = world.ask(pod_id, GRAPHQL).condition
    compared = world.ask(pod_id, GRAPHQL, earlier=before).condition
    over_rest = world.ask(pod_id, REST).condition

    assert alone is Condition.COMING_UP
    assert (compared, over_rest) == (Condition.HOST_SILENT,) * 2


def test_pod_without_port_22_is_named(world: World) -> None:
    pod_id = world.deploy_up(ports="8188/http")

    assert world.name(pod_id) == (Condition.NO_SSH_PORT,) * 2


def test_community_host_without_a_public_ip_is_named(world: World) -> None:
    pod_id = world.pods.start(
        cloudType="COMMUNITY",
        gpuTypeId="NVIDIA GeForce RTX 3090",
        supportPublicIp=False,
    ).id

    assert world.name(pod_id) == (Condition.NO_PUBLIC_IP,) * 2


def test_mapped_port_without_an_sshd_is_named_by_a_probe(world: World) -> None:
    # without a key the image's start script starts no sshd
    pod_id = world.pods.start(env=[]).id
    pod = world.read(pod_id, GRAPHQL)

    outcome = SSHProbe().check(pod)
    names = world.name(
        pod_id, ssh_is_answering=outcome.is_ready, ssh_status=outcome.status
    )

    assert names == (Condition.SSH_NOT_ANSWERING,) * 2
    assert outcome.status == "connection refused"


def test_pod_whose_sshd_answers_is_ready(world: World) -> None:
    pod_id = world.pods.start().id
    outcome = SSHProbe().check(world.read(pod_id, REST))

    names = world.name(pod_id, ssh_is_answering=outcome.is_ready)

    assert outcome.is_ready, outcome.status
    assert names == (Condition.READY,) * 2


def test_pod_started_without_its_gpus_is_named(world: World) -> None:
    pod_id = world.pods.start().id
    world.pods.call("podStop", pod_id)
    world.pods.call("podResumeZeroGpu", pod_id)
    world.pods.wait_until_up(pod_id)

    assert world.name(pod_id) == (Condition.NO_GPU,) * 2


def test_stop_by_a_user_is_told_by_graphql_alone(world: World) -> None:
    pod_id = world.pods.start().id
    world.pods.call("podStop", pod_id)
    world.sim.advance(HOUR)

    assert world.name(pod_id) == (Condition.STOPPED_BY_USER, Condition.STOPPED)
    assert "for 60 min" in world.ask(pod_id, GRAPHQL).sentence


def test_outbid_pod_is_told_by_graphql_alone(world: World) -> None:
    cloud = world.clouds[GRAPHQL]
    offers = cloud.list_gpu_offers()
    offer = next(o for o in offers if o.minimum_bid_usd_per_gpu_hour is not None)
    answer = world.sim.graphql(
        "mutation($i: PodRentInterruptableInput!)"
        " { podRentInterruptable(input: $i) { id } }",
        i={
            "name": "spot",
            "imageName": "runpod/base",
            "gpuTypeId": offer.gpu_type,
            "gpuCount": 1,
            "cloudType": offer.cloud_type.value.upper(),
            "bidPerGpu": float(offer.minimum_bid_usd_per_gpu_hour or 0) * 2,
        },
    )
    pod_id = answer["data"]["podRentInterruptable"]["id"]
    world.sim.admin("POST", f"pods/{pod_id}/outbid")

    assert world.name(pod_id) == (Condition.OUTBID, Condition.STOPPED)


def test_pod_stopped_for_want_of_credit_is_named_once_the_balance_is_known(
    world: World,
) -> None:
    center = "EU-RO-1"
    volume = world.clouds[GRAPHQL].create_network_volume(
        name="v", size_gb=10, data_center_id=center
    )
    pod_id = world.pods.start(networkVolumeId=volume.volume_id, dataCenterId=center).id
    world.sim.admin("POST", f"accounts/{world.account_id()}", {"balance_usd": 0})

    unknown = world.name(pod_id)
    balance = world.clouds[GRAPHQL].get_account().balance_usd
    known = world.name(pod_id, balance_usd=balance)

    assert unknown == (Condition.STOPPED_BY_RUNPOD, Condition.STOPPED)
    assert known == (Condition.OUT_OF_CREDIT, Condition.STOPPED)


def test_restart_by_hand_is_no_crash_loop(world: World) -> None:
    pod_id = world.pods.start().id
    world.sim.advance(2 * HOUR)
    world.clouds[REST].restart_pod(pod_id)
    wait_for(
        lambda: world.read(pod_id, REST).status is PodStatus.RUNNING,
        what="the container to run again",
    )
    world.pods.wait_until_up(pod_id)

    assert world.name(pod_id) == (Condition.READY,) * 2
    assert world.ask_with_log(pod_id).condition is Condition.READY


def test_pod_that_is_gone_is_no_pod_at_all_and_its_last_state_reads_on(
    world: World,
) -> None:
    pod_id = world.pods.start().id
    last = world.read(pod_id, GRAPHQL)
    world.clouds[GRAPHQL].terminate_pod(pod_id)

    gone = diagnose(replace(last, status=PodStatus.TERMINATED), now=world.now())

    assert world.clouds[REST].find_pod(pod_id) is None
    assert gone.condition is Condition.TERMINATED


C = Condition


@dataclass(frozen=True)
class Script:
    """A half-way state that the simulator plays, and its names.

    Attributes:
        names: By GraphQL, by REST v2, and by REST v2 with the host's log.
        after_seconds: On the simulated clock, from the deploy to the look.
        is_up: Looked at only once the container reports.
    """

    fault: str
    names: tuple[Condition, Condition, Condition]
    seconds: float | None = None
    after_seconds: float = 0.0
    is_up: bool = False
    deploy: Mapping[str, Any] = field(default_factory=dict)


COMMUNITY = {
    "cloudType": "COMMUNITY",
    "gpuTypeId": "NVIDIA GeForce RTX 3090",
    "supportPublicIp": True,
}
SCRIPTS = {
    "image-not-found": Script(
        "image_not_found", (C.COMING_UP, C.COMING_UP, C.IMAGE_NOT_FOUND)
    ),
    "image-not-found-given-up": Script(
        "image_not_found",
        (C.STOPPED_BY_RUNPOD, C.FAILED, C.IMAGE_NOT_FOUND),
        after_seconds=60,
    ),
    "image-needs-credentials": Script(
        "image_auth", (C.COMING_UP, C.COMING_UP, C.IMAGE_NEEDS_CREDENTIALS)
    ),
    "image-needs-credentials-given-up": Script(
        "image_auth",
        (C.STOPPED_BY_RUNPOD, C.FAILED, C.IMAGE_NEEDS_CREDENTIALS),
        after_seconds=60,
    ),
    "pull-failed": Script(
        "image_pull_error",
        (C.STOPPED_BY_RUNPOD, C.FAILED, C.PULL_FAILED),
        after_seconds=60,
    ),
    "cuda-too-old": Script(
        "cuda_mismatch",
        (C.STOPPED_BY_RUNPOD, C.FAILED, C.CUDA_TOO_OLD),
        after_seconds=60,
    ),
    # only REST v2 shows that there is no machine
    "provisioning": Script(
        "provisioning_forever",
        (C.COMING_UP, C.WAITING_FOR_MACHINE, C.WAITING_FOR_MACHINE),
    ),
    "provisioning-for-ever": Script(
        "provisioning_forever",
        (C.START_STUCK, C.WAITING_FOR_MACHINE, C.WAITING_FOR_MACHINE),
        after_seconds=HOUR,
    ),
    # only REST v2 shows that the container should be there
    "host-silent": Script(
        "host_silent", (C.COMING_UP, C.HOST_SILENT, C.HOST_SILENT), after_seconds=60
    ),
    "host-silent-for-long": Script(
        "host_silent", (C.START_STUCK, C.HOST_SILENT, C.HOST_SILENT), after_seconds=HOUR
    ),
    # one look shows a young container; the log, or a second look, that it is not new
    "crash-loop": Script(
        "crash_loop",
        (C.READY, C.READY, C.CRASH_LOOP),
        seconds=20,
        after_seconds=110,
        is_up=True,
    ),
    "crash-loop-for-long": Script(
        "crash_loop",
        (C.CRASH_LOOP,) * 3,
        seconds=20,
        after_seconds=HOUR,
        is_up=True,
    ),
    "no-port-22": Script("no_ssh_port", (C.NO_SSH_PORT,) * 3, is_up=True),
    "no-public-ip": Script(
        "no_public_ip", (C.NO_PUBLIC_IP,) * 3, is_up=True, deploy=COMMUNITY
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripted_state_is_named_as_far_as_each_wire_tells_it(
    world: World, name: str
) -> None:
    script = SCRIPTS[name]
    given = {} if script.seconds is None else {"seconds": script.seconds}
    world.sim.add_fault(script.fault, **given)

    if script.is_up:
        pod_id = world.deploy_up(**script.deploy)
        wait_until_ports_are_told(world, pod_id)
    else:
        pod_id = world.pods.deploy(**script.deploy)
    if script.after_seconds:
        world.sim.advance(script.after_seconds)
    diagnosis = world.ask_with_log(pod_id)

    assert (*world.name(pod_id), diagnosis.condition) == script.names
    assert diagnosis.hint


def wait_until_ports_are_told(world: World, pod_id: str) -> None:
    """Return once the host has mapped what it maps of the pod's ports."""
    wait_for(
        lambda: (world.pods.get(pod_id)["runtime"] or {}).get("ports"),
        what="the pod's ports",
    )


def test_two_looks_tell_a_crash_loop_over_either_wire(world: World) -> None:
    world.sim.add_fault("crash_loop", seconds=600)
    pod_id = world.pods.start().id
    world.sim.advance(300)
    before = {wire: world.read(pod_id, wire) for wire in world.clouds}

    early = world.name(pod_id)
    world.sim.advance(350)
    names = {
        wire: world.ask(pod_id, wire, earlier=pod).condition
        for wire, pod in before.items()
    }

    assert early == (C.READY,) * 2
    assert names == {GRAPHQL: C.CRASH_LOOP, REST: C.CRASH_LOOP}


def test_lost_host_is_told_by_graphql_as_a_stop_of_runpods(world: World) -> None:
    pod_id = world.pods.start().id
    world.sim.add_fault("host_lost", pod_id=pod_id)

    assert world.name(pod_id) == (C.STOPPED_BY_RUNPOD, C.STOPPED)


def test_pod_that_somebody_locked_is_named(world: World) -> None:
    pod_id = world.pods.start().id
    world.sim.add_fault("locked", pod_id=pod_id)

    names = world.name(pod_id)
    world.sim.rest("PATCH", f"pods/{pod_id}", {"locked": False})

    assert names == (C.LOCKED,) * 2


def test_port_without_an_sshd_is_named_by_a_probe_however_it_came_to_be(
    world: World,
) -> None:
    world.sim.add_fault("sshd_never")
    pod_id = world.pods.start().id

    outcome = SSHProbe().check(world.read(pod_id, REST))

    assert not outcome.is_ready
    assert world.name(pod_id, ssh_is_answering=False) == (C.SSH_NOT_ANSWERING,) * 2


def test_resume_that_came_up_without_gpus_is_named(world: World) -> None:
    pod_id = world.pods.start().id
    world.pods.call("podStop", pod_id)
    world.sim.add_fault("zero_gpu")
    world.pods.call("podResume", pod_id)
    world.pods.wait_until_up(pod_id)

    assert world.name(pod_id) == (C.NO_GPU,) * 2
