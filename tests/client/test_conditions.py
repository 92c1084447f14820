from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.cli import cli
from runpod_client.conditions import Condition, Diagnosis, Evidence, diagnose
from runpod_client.model import (
    CloudType,
    DesiredStatus,
    GPUUtilization,
    LogLine,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BASE = Pod(
    pod_id="50qynxzilsxoey",
    name="trainer",
    status=PodStatus.RUNNING,
    desired=DesiredStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="runpod/base",
    price_usd_per_hour=Decimal("0.60"),
    cloud_type=CloudType.SECURE,
    asked_ports=("22/tcp",),
    created_at=NOW - timedelta(minutes=10),
    started_at=NOW - timedelta(minutes=10),
)
GPU = GPUUtilization(gpu_id="GPU-1", gpu_percent=0, memory_percent=0)
PULL = "2.1.0 Pulling from runpod/base"
DENIED = (
    "error pulling image: Error response from daemon: pull access denied for "
    "runpod/base, repository does not exist or may require 'docker login': denied"
)
UNKNOWN_IMAGE = (
    "error pulling image: Error response from daemon: manifest for runpod/base:9 "
    "not found: manifest unknown"
)


def mapped(ip: str = "203.0.113.7", *, is_public: bool = True) -> PortMapping:
    return PortMapping(
        private_port=22,
        public_port=10341,
        ip=ip,
        is_public=is_public,
        protocol=Protocol.TCP,
    )


def graphql(**given: Any) -> Pod:
    """Return a pod as the GraphQL dialect shows it."""
    given = {
        "machine_id": "hpvdausak8xb",
        "proxy_user": "50qynxzilsxoey-64410065",
        "wire_status": "RUNNING",
        "status_reason": "Rented by User: Sun Nov 01 2026 11:50:00 GMT+0000 (UTC)",
    } | given
    return replace(BASE, **given)


def rest(status: str, **given: Any) -> Pod:
    """Return a pod as the REST v2 dialect shows it."""
    words = {"PROVISIONING": "STARTING", "EXITED": "STOPPED", "ERROR": "FAILED"}
    given = {
        "proxy_user": "50qynxzilsxoey-64410065",
        "wire_status": status,
        "status": PodStatus(words.get(status, status)),
    } | given
    return replace(BASE, **given)


def coming_up(**given: Any) -> Pod:
    return graphql(status=PodStatus.STARTING, **given)


def exited(reason: str, **given: Any) -> Pod:
    return graphql(
        status=PodStatus.STOPPED,
        wire_status="EXITED",
        desired=DesiredStatus.STOPPED,
        status_reason=reason,
        **given,
    )


def up(**given: Any) -> dict[str, Any]:
    return {"uptime_seconds": 570, "gpus": (GPU,), "ports": (mapped(),)} | given


def log(*texts: str, minutes_ago: float = 9) -> tuple[LogLine, ...]:
    at = NOW - timedelta(minutes=minutes_ago)
    return tuple(LogLine(text=text, is_system=True, written_at=at) for text in texts)


@dataclass(frozen=True)
class Case:
    """A row of the truth table."""

    pod: Pod
    condition: Condition
    logs: tuple[LogLine, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    is_terminal: bool = False
    says: str = ""


LATE = {"started_at": NOW - timedelta(minutes=40)}
C = Condition
TABLE = {
    # GraphQL alone: one name for what it cannot tell apart
    "graphql-no-machine": Case(
        coming_up(machine_id="", proxy_user=""), C.WAITING_FOR_MACHINE, says="$0.10"
    ),
    "graphql-no-runtime": Case(coming_up(), C.COMING_UP, says="for 10 min ($0.10)"),
    "graphql-no-runtime-late": Case(coming_up(**LATE), C.START_STUCK, says="($0.40)"),
    "graphql-restarting": Case(coming_up(wire_status="RESTARTING"), C.COMING_UP),
    "graphql-gap": Case(
        coming_up(), C.HOST_SILENT, evidence=Evidence(earlier=graphql(**up()))
    ),
    "graphql-new-start-is-no-gap": Case(
        coming_up(),
        C.COMING_UP,
        evidence=Evidence(earlier=graphql(**up(), **LATE)),
    ),
    "graphql-crash-by-uptime": Case(
        graphql(**up(uptime_seconds=4), **LATE), C.CRASH_LOOP, says="started again"
    ),
    "graphql-crash-by-earlier": Case(
        graphql(**up(uptime_seconds=4)),
        C.CRASH_LOOP,
        evidence=Evidence(earlier=graphql(**up(uptime_seconds=50))),
    ),
    "graphql-slow-pull-is-no-crash": Case(
        graphql(**up(uptime_seconds=4), started_at=NOW - timedelta(minutes=25)),
        C.READY,
    ),
    "graphql-zero-gpus": Case(graphql(**up(), gpu_count=0), C.NO_GPU),
    "graphql-no-22": Case(
        graphql(**up(ports=()), asked_ports=("8188/http",)),
        C.NO_SSH_PORT,
        is_terminal=True,
        says="22/tcp",
    ),
    "graphql-no-ports-asked": Case(
        graphql(**up(ports=()), asked_ports=()), C.NO_SSH_PORT, is_terminal=True
    ),
    "graphql-private-ip": Case(
        graphql(**up(ports=(mapped("100.65.0.9", is_public=False),))),
        C.NO_PUBLIC_IP,
        is_terminal=True,
    ),
    "graphql-unmapped": Case(graphql(**up(ports=())), C.PORTS_NOT_MAPPED),
    "graphql-unmapped-community": Case(
        graphql(**up(ports=()), cloud_type=CloudType.COMMUNITY),
        C.PORTS_NOT_MAPPED,
        says="community",
    ),
    "graphql-asked-unknown": Case(
        graphql(**up(ports=()), asked_ports=None), C.PORTS_NOT_MAPPED
    ),
    "graphql-sshd-silent": Case(
        graphql(**up()),
        C.SSH_NOT_ANSWERING,
        evidence=Evidence(ssh_is_answering=False, ssh_status="connection refused"),
        says="root@203.0.113.7:10341 (connection refused)",
    ),
    "graphql-by-user": Case(
        exited("exited by USER: Sun Nov 01 2026 09:00:00 GMT+0000 (UTC)"),
        C.STOPPED_BY_USER,
        is_terminal=True,
        says="for 3 h",
    ),
    "graphql-by-runpod": Case(
        exited("Exited by Runpod: Sun Nov 01 2026 09:00:00 GMT+0000"),
        C.STOPPED_BY_RUNPOD,
        is_terminal=True,
        says="does not say why",
    ),
    "graphql-outbid": Case(
        exited("Outbid: Sun Nov 01 2026 11:59:01 GMT+0000"),
        C.OUTBID,
        is_terminal=True,
        says="for 59 s",
    ),
    "graphql-out-of-credit": Case(
        exited("Exited by Runpod: Sun Nov 01 2026 09:00:00 GMT+0000"),
        C.OUT_OF_CREDIT,
        evidence=Evidence(balance_usd=Decimal(0)),
        is_terminal=True,
    ),
    "graphql-by-runpod-with-credit": Case(
        exited("Exited by Runpod: soon"),
        C.STOPPED_BY_RUNPOD,
        evidence=Evidence(balance_usd=Decimal("0.01")),
        is_terminal=True,
    ),
    "graphql-by-user-without-credit": Case(
        exited("Exited by user: soon"),
        C.STOPPED_BY_USER,
        evidence=Evidence(balance_usd=Decimal(0)),
        is_terminal=True,
    ),
    "graphql-image-and-log": Case(
        exited("Exited by Runpod: Sun Nov 01 2026 11:52:00 GMT+0000"),
        C.IMAGE_NOT_FOUND,
        logs=log(PULL, UNKNOWN_IMAGE),
        is_terminal=True,
    ),
    "graphql-locked": Case(graphql(**up(), is_locked=True), C.LOCKED),
    "graphql-ready": Case(graphql(**up()), C.READY, says="for 9 min"),
    "graphql-ready-probed": Case(
        graphql(**up()), C.READY, evidence=Evidence(ssh_is_answering=True)
    ),
    "graphql-terminated": Case(
        graphql(status=PodStatus.TERMINATED), C.TERMINATED, is_terminal=True
    ),
    "graphql-new-word": Case(
        graphql(status=PodStatus.UNKNOWN, wire_status="MIGRATING"),
        C.UNKNOWN,
        says="MIGRATING",
    ),
    # REST v2
    "rest-no-machine": Case(rest("PROVISIONING", proxy_user=""), C.WAITING_FOR_MACHINE),
    "rest-provisioning": Case(rest("PROVISIONING"), C.COMING_UP),
    "rest-starting": Case(rest("STARTING"), C.COMING_UP),
    "rest-starting-late": Case(rest("STARTING", **LATE), C.START_STUCK),
    "rest-pulling": Case(rest("STARTING"), C.PULLING_IMAGE, logs=log(PULL)),
    "rest-pulling-after-layers": Case(
        rest("STARTING"),
        C.PULLING_IMAGE,
        logs=log(PULL, "4abcf2066143 Pulling fs layer", "4abcf2066143 Pull complete"),
    ),
    "rest-pull-stuck": Case(
        rest("STARTING", **LATE),
        C.PULL_STUCK,
        logs=log(PULL, minutes_ago=39),
        says="for 40 min ($0.40)",
    ),
    "rest-image-not-found": Case(
        rest("ERROR"),
        C.IMAGE_NOT_FOUND,
        logs=log(PULL, UNKNOWN_IMAGE),
        is_terminal=True,
        says="manifest unknown",
    ),
    "rest-image-not-found-starting": Case(
        rest("STARTING"),
        C.IMAGE_NOT_FOUND,
        logs=log(UNKNOWN_IMAGE),
        is_terminal=True,
    ),
    "rest-image-denied": Case(
        rest("STARTING"),
        C.IMAGE_NEEDS_CREDENTIALS,
        logs=log(
            DENIED,
            "error creating container: Error response from daemon: No such image: "
            "runpod/base:latest",
        ),
        is_terminal=True,
        says="docker login",
    ),
    "rest-rate-limit": Case(
        rest("STARTING"),
        C.PULL_FAILED,
        logs=log("error pulling image: toomanyrequests: You have reached your limit"),
    ),
    "rest-rate-limit-given-up": Case(
        rest("ERROR"),
        C.PULL_FAILED,
        logs=log("error pulling image: toomanyrequests: You have reached your limit"),
        is_terminal=True,
    ),
    "rest-pull-recovered": Case(
        rest("STARTING"),
        C.CONTAINER_STARTING,
        logs=log(
            "error pulling image: context deadline exceeded",
            PULL,
            "Status: Downloaded newer image for runpod/base",
            minutes_ago=2,
        ),
    ),
    "rest-log-of-an-earlier-start": Case(
        rest("STARTING"), C.COMING_UP, logs=log(DENIED, minutes_ago=60)
    ),
    "rest-container-log-proves-nothing": Case(
        rest("STARTING"),
        C.COMING_UP,
        logs=(LogLine(text=DENIED, is_system=False, written_at=NOW),),
    ),
    "rest-container-starting": Case(
        rest("STARTING"),
        C.CONTAINER_STARTING,
        logs=log(
            "Status: Image is up to date for runpod/base",
            "start container",
            minutes_ago=2,
        ),
    ),
    "rest-started-and-silent": Case(
        rest("STARTING"), C.HOST_SILENT, logs=log("start container", minutes_ago=6)
    ),
    "rest-cuda": Case(
        rest("ERROR"),
        C.CUDA_TOO_OLD,
        logs=log(
            "error starting container: nvidia-container-cli: requirement error: "
            "unsatisfied condition: cuda>=12.8"
        ),
        is_terminal=True,
    ),
    "rest-command": Case(
        rest("ERROR"),
        C.START_FAILED,
        logs=log(
            "error starting container: OCI runtime create failed: exec: "
            '"/start.sh": executable file not found in $PATH'
        ),
        is_terminal=True,
    ),
    "rest-crash-by-log": Case(
        rest("RUNNING", **up(uptime_seconds=3)),
        C.CRASH_LOOP,
        logs=log(*["start container"] * 4),
        says="4 times",
    ),
    "rest-crash-between-two-runs": Case(
        rest("STARTING"), C.CRASH_LOOP, logs=log(*["start container"] * 3)
    ),
    "rest-crashed-once-upon-a-time": Case(
        rest("RUNNING", **up()), C.READY, logs=log(*["start container"] * 4)
    ),
    "rest-silent": Case(rest("RUNNING"), C.HOST_SILENT),
    "rest-zero-gpus": Case(
        rest("RUNNING", **up(gpus=()), price_usd_per_hour=Decimal(0)), C.NO_GPU
    ),
    "rest-free-pod-with-gpus-at-work": Case(
        rest("RUNNING", **up(), price_usd_per_hour=Decimal(0)), C.READY
    ),
    "rest-no-gpu-report": Case(rest("RUNNING", **up(gpus=())), C.READY),
    "rest-cpu-pod": Case(
        rest("RUNNING", **up(gpus=()), gpu_type="", gpu_count=0), C.READY
    ),
    "rest-no-22": Case(
        rest("RUNNING", **up(ports=()), asked_ports=("8188/http",)),
        C.NO_SSH_PORT,
        is_terminal=True,
    ),
    "rest-private-ip": Case(
        rest("RUNNING", **up(ports=(mapped("100.65.0.9", is_public=False),))),
        C.NO_PUBLIC_IP,
        is_terminal=True,
    ),
    "rest-unmapped": Case(rest("RUNNING", **up(ports=())), C.PORTS_NOT_MAPPED),
    "rest-sshd-silent": Case(
        rest("RUNNING", **up()),
        C.SSH_NOT_ANSWERING,
        evidence=Evidence(ssh_is_answering=False),
    ),
    # by whom a pod was stopped is not on this wire
    "rest-exited": Case(
        rest("EXITED", price_usd_per_hour=Decimal(0)), C.STOPPED, is_terminal=True
    ),
    "rest-exited-without-credit": Case(
        rest("EXITED"),
        C.STOPPED,
        evidence=Evidence(balance_usd=Decimal(0)),
        is_terminal=True,
    ),
    "rest-error": Case(rest("ERROR"), C.FAILED, is_terminal=True, says="ERROR"),
    "rest-locked": Case(rest("RUNNING", **up(), is_locked=True), C.LOCKED),
    "rest-terminated": Case(rest("TERMINATED"), C.TERMINATED, is_terminal=True),
    "rest-ready": Case(rest("RUNNING", **up()), C.READY),
}


def ask(case: Case) -> Diagnosis:
    return diagnose(case.pod, now=NOW, logs=case.logs, evidence=case.evidence)


@pytest.mark.parametrize("name", TABLE)
def test_state_is_named_as_the_facts_prove(name: str) -> None:
    case = TABLE[name]

    diagnosis = ask(case)

    assert diagnosis.condition is case.condition
    assert diagnosis.is_terminal is case.is_terminal
    assert case.says in diagnosis.sentence


def test_every_condition_is_reached_by_a_row_of_the_table() -> None:
    assert {case.condition for case in TABLE.values()} == set(Condition)


@pytest.mark.parametrize("name", TABLE)
def test_words_are_whole_sentences_without_gaps_and_hints_name_the_pod(
    name: str,
) -> None:
    diagnosis = ask(TABLE[name])

    words = diagnosis.sentence + diagnosis.hint
    assert "{" not in words
    assert "None" not in words
    assert not diagnosis.sentence.endswith(".")
    if "runpod-client pods" in diagnosis.hint and "create" not in diagnosis.hint:
        assert "50qynxzilsxoey" in diagnosis.hint


def test_every_state_but_ready_comes_with_something_to_do() -> None:
    without = {case.condition for case in TABLE.values() if not ask(case).hint}

    assert without == {Condition.READY}


def test_hint_to_add_port_22_keeps_the_ports_there_are() -> None:
    pod = graphql(**up(ports=()), asked_ports=("8188/http", "9000/tcp"))

    hint = diagnose(pod, now=NOW).hint

    assert hint.endswith("--port 22/tcp --port 8188/http --port 9000/tcp")


@pytest.mark.parametrize("name", TABLE)
def test_command_and_options_of_a_hint_exist(name: str) -> None:
    words = ask(TABLE[name]).hint.replace(";", "").split()
    starts = [n for n, word in enumerate(words) if word == "runpod-client"]

    for start in starts:
        group, command, *rest = words[start + 1 :]
        context = click.Context(cli)
        found = cli.get_command(context, group)
        assert isinstance(found, click.Group)
        leaf = found.get_command(context, command)
        assert leaf is not None, words
        known = {option for part in leaf.params for option in part.opts}
        asked = {word for word in rest if word.startswith("--")} - {"--help"}
        assert asked <= known, words


def test_stopped_pod_is_told_what_its_volume_has_cost_since() -> None:
    pod = exited(
        "Exited by user: Thu Oct 01 2026 12:00:00 GMT+0000 (Coordinated Universal Time)",
        volume_gb=100,
    )

    diagnosis = diagnose(pod, now=NOW)

    # 31 days of 24 hours at 0.20 a GB-month of 730 hours
    assert diagnosis.lasts_seconds == 31 * 86_400
    assert diagnosis.spent_usd == pytest.approx(Decimal(100) * 744 / 730 / 5)
    assert "for 744 h ($20.38)" in diagnosis.sentence


@pytest.mark.parametrize("date", ["", "Foo Bar 99 2026 09:00:00 GMT+0000", "yesterday"])
def test_reason_without_a_readable_date_tells_no_duration(date: str) -> None:
    diagnosis = diagnose(exited(f"Outbid: {date}"), now=NOW)

    assert diagnosis.condition is Condition.OUTBID
    assert diagnosis.lasts_seconds is None
    assert " for " not in diagnosis.sentence


def test_pod_that_lacks_only_ssh_counts_as_up_and_one_that_comes_up_does_not() -> None:
    is_up = {case.condition for case in TABLE.values() if ask(case).is_up}

    assert is_up == {
        Condition.NO_GPU,
        Condition.NO_SSH_PORT,
        Condition.NO_PUBLIC_IP,
        Condition.PORTS_NOT_MAPPED,
        Condition.SSH_NOT_ANSWERING,
        Condition.LOCKED,
        Condition.READY,
    }


def test_line_of_a_log_cannot_move_the_cursor_nor_fill_the_screen() -> None:
    nasty = UNKNOWN_IMAGE + "\x1b[2J\x07" + "x" * 5000

    diagnosis = diagnose(rest("STARTING"), now=NOW, logs=log(nasty))

    assert diagnosis.sentence.isprintable()
    assert len(diagnosis.sentence) < 400


@given(
    status=st.sampled_from(PodStatus),
    uptime=st.none() | st.integers(0, 10**6),
    age_minutes=st.none() | st.integers(-10, 10**5),
    ports=st.lists(st.sampled_from([mapped(), mapped("10.0.0.1", is_public=False)])),
    asked=st.none() | st.lists(st.sampled_from(["22/tcp", "22/TCP", "80/http"])),
    gpu_count=st.integers(0, 8),
    reason=st.sampled_from(["", "Outbid", "Exited by Runpod: x", "Renamed: y"]),
    texts=st.lists(st.sampled_from([PULL, DENIED, "start container", "Hello"])),
)
def test_any_pod_gets_one_name_and_terminal_ones_are_never_called_ready(
    status: PodStatus,
    uptime: int | None,
    age_minutes: int | None,
    ports: list[PortMapping],
    asked: list[str] | None,
    gpu_count: int,
    reason: str,
    texts: list[str],
) -> None:
    pod = graphql(
        status=status,
        uptime_seconds=uptime,
        started_at=None
        if age_minutes is None
        else NOW - timedelta(minutes=age_minutes),
        ports=tuple(ports),
        asked_ports=None if asked is None else tuple(asked),
        gpu_count=gpu_count,
        status_reason=reason,
    )

    diagnosis = diagnose(pod, now=NOW, logs=log(*texts))

    assert diagnosis.sentence
    if diagnosis.condition is Condition.READY:
        assert status is PodStatus.RUNNING
        assert pod.ssh_address is not None
    if status in {PodStatus.STOPPED, PodStatus.TERMINATED, PodStatus.FAILED}:
        assert not diagnosis.is_up
    assert (diagnosis.lasts_seconds or 0) >= 0
