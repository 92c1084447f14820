"""GitHub's JSON as it is on the wire, and as our own values.

It must not know how answers come here. Unknown fields are passed over, unknown words
survive as text; what is missing although documented is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from runner_installer.model import (
    Delivery,
    Download,
    RunnerGroup,
    RunnerRecord,
    RunnerToken,
    WorkflowJob,
    WorkflowRun,
)
from runpod_client import ProtocolError, Secret

SERVICE = "GitHub"
Wire = TypeVar("Wire")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: status, headers without regard to case, the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def request_id(self) -> str:
        """Return the id GitHub's support asks for."""
        return self.headers.get("x-github-request-id", "")


class LabelWire(msgspec.Struct):
    """A label of a runner."""

    name: str


class RunnerWire(msgspec.Struct):
    """A runner."""

    id: int
    name: str
    status: str
    busy: bool
    labels: list[LabelWire] = []
    runner_group_id: int | None = None
    ephemeral: bool | None = None
    version: str | None = None


class RunnerPage(msgspec.Struct):
    """One page of runners."""

    total_count: int
    runners: list[RunnerWire]


class GroupWire(msgspec.Struct):
    """A runner group."""

    id: int
    name: str
    visibility: str = ""
    default: bool = False


class GroupPage(msgspec.Struct):
    """One page of runner groups."""

    total_count: int
    runner_groups: list[GroupWire]


class JITConfigWire(msgspec.Struct):
    """A one-job runner with what it starts from."""

    runner: RunnerWire
    encoded_jit_config: str


class TokenWire(msgspec.Struct):
    """A registration, remove or installation token."""

    token: str
    expires_at: datetime


class DownloadWire(msgspec.Struct):
    """A runner package."""

    os: str
    architecture: str
    download_url: str
    filename: str
    sha256_checksum: str = ""
    temp_download_token: str = ""


class JobWire(msgspec.Struct):
    """A job of a workflow run."""

    id: int
    run_id: int
    name: str
    status: str
    labels: list[str]
    run_attempt: int = 1
    workflow_name: str | None = None
    conclusion: str | None = None
    runner_id: int | None = None
    runner_name: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class JobPage(msgspec.Struct):
    """One page of jobs."""

    total_count: int
    jobs: list[JobWire]


class RunWire(msgspec.Struct):
    """A run of a workflow."""

    id: int
    status: str | None
    run_attempt: int = 1
    name: str | None = None
    conclusion: str | None = None
    created_at: datetime | None = None


class RunPage(msgspec.Struct):
    """One page of runs."""

    total_count: int
    workflow_runs: list[RunWire]


class DeliveryWire(msgspec.Struct):
    """A delivery to a webhook."""

    id: int
    guid: str
    event: str
    status_code: int
    delivered_at: datetime
    redelivery: bool
    action: str | None = None


class InstallationWire(msgspec.Struct):
    """Where an App is installed."""

    id: int


class _Problem(msgspec.Struct):
    message: str = ""


def decode(answer: Answer, kind: type[Wire], operation: str) -> Wire:
    """Return the answer's body as `kind`.

    Raises:
        ProtocolError: It has another shape.
    """
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(
            f"GitHub's answer to {operation} is not as documented: {error}",
            service=SERVICE,
            operation=operation,
            http_status=answer.status,
            request_id=answer.request_id,
            hint="Check GITHUB_API_URL; GitHub Enterprise needs https://HOST/api/v3.",
        ) from error


def parse_message(answer: Answer) -> str:
    """Return GitHub's own words in one line, or the status where it has none."""
    try:
        said = msgspec.json.decode(answer.content, type=_Problem).message
    except msgspec.MsgspecError:
        said = ""
    return " ".join(said.split())[:300] or f"status {answer.status}"


def parse_runner(wire: RunnerWire) -> RunnerRecord:
    """Return a runner as a value of ours."""
    return RunnerRecord(
        runner_id=wire.id,
        name=wire.name,
        is_online=wire.status == "online",
        is_busy=wire.busy,
        labels=tuple(label.name for label in wire.labels),
        group_id=wire.runner_group_id,
        is_ephemeral=wire.ephemeral,
        version=wire.version or "",
    )


def parse_group(wire: GroupWire) -> RunnerGroup:
    """Return a runner group as a value of ours."""
    return RunnerGroup(
        group_id=wire.id,
        name=wire.name,
        is_default=wire.default,
        visibility=wire.visibility,
    )


def parse_token(wire: TokenWire) -> RunnerToken:
    """Return a token as a value of ours."""
    return RunnerToken(token=Secret(wire.token), expires_at=wire.expires_at)


def parse_download(wire: DownloadWire) -> Download:
    """Return a runner package as a value of ours."""
    token = wire.temp_download_token
    return Download(
        os=wire.os,
        architecture=wire.architecture,
        url=wire.download_url,
        filename=wire.filename,
        sha256=wire.sha256_checksum.lower(),
        token=Secret(token) if token else None,
    )


def parse_job(wire: JobWire, repository: str) -> WorkflowJob:
    """Return a job as a value of ours."""
    return WorkflowJob(
        job_id=wire.id,
        run_id=wire.run_id,
        run_attempt=wire.run_attempt,
        name=wire.name,
        workflow_name=wire.workflow_name or "",
        repository=repository,
        status=wire.status,
        conclusion=wire.conclusion or "",
        labels=tuple(wire.labels),
        runner_name=wire.runner_name or "",
        runner_id=wire.runner_id or None,
        created_at=wire.created_at,
        started_at=wire.started_at,
        completed_at=wire.completed_at,
    )


def parse_run(wire: RunWire, repository: str) -> WorkflowRun:
    """Return a run as a value of ours."""
    return WorkflowRun(
        run_id=wire.id,
        run_attempt=wire.run_attempt,
        name=wire.name or "",
        repository=repository,
        status=wire.status or "",
        conclusion=wire.conclusion or "",
        created_at=wire.created_at,
    )


def parse_delivery(wire: DeliveryWire) -> Delivery:
    """Return a delivery as a value of ours."""
    return Delivery(
        delivery_id=wire.id,
        guid=wire.guid,
        event=wire.event,
        action=wire.action or "",
        status_code=wire.status_code,
        delivered_at=wire.delivered_at,
        is_redelivery=wire.redelivery,
    )


def parse_next_cursor(link: str) -> str:
    """Return where a list goes on, by its Link header; empty at its end."""
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            query = parse_qs(urlsplit(address.strip(" <>")).query)
            return next(iter(query.get("cursor", [])), "")
    return ""


def encode(body: Any) -> bytes:
    """Return a request's body."""
    return msgspec.json.encode(body)
