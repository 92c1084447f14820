"""GitHub's `workflow_job` webhook: believed, read, and taken once. Without I/O.

A delivery is believed by its signature alone, which is checked over the raw bytes and
before anything is parsed. Replays are known by their delivery id for as long as their
age lets them in.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from runner_installer.errors import WebhookError
from runner_installer.model import WorkflowJob
from runpod_client import Secret

# GitHub fails a job queued for a day, so that older news has nothing to say
LONGEST_AGE = timedelta(hours=24)
# how far GitHub's clock may be ahead of ours
LARGEST_SKEW = timedelta(minutes=10)
MOST_REMEMBERED = 50_000
_PREFIX = "sha256="
# by `action`: the official example of `queued` after an approval has another status
_STATUSES = {
    "queued": "queued",
    "in_progress": "in_progress",
    "completed": "completed",
}


class _Job(msgspec.Struct):
    id: int
    run_id: int
    created_at: datetime
    run_attempt: int = 1
    name: str = ""
    workflow_name: str | None = None
    conclusion: str | None = None
    labels: list[str] = msgspec.field(default_factory=list)
    runner_id: int | None = None
    runner_name: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class _Repository(msgspec.Struct):
    full_name: str


class _Event(msgspec.Struct):
    action: str
    workflow_job: _Job
    repository: _Repository


_decoder = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One delivery as it came in; the names of headers in small letters."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def delivery_id(self) -> str:
        """Return what GitHub calls it; the same again when it is sent again."""
        return self.headers.get("x-github-delivery", "")


def check_signature(delivery: Incoming, secrets: Sequence[Secret]) -> None:
    """Do nothing for a delivery signed with one of the secrets.

    Raises:
        WebhookError: It is not signed, or with something else.
    """
    given = delivery.headers.get("x-hub-signature-256", "")
    is_known = False
    for secret in secrets:
        digest = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        # every secret is tried: which one fits must not show in the time it takes
        same = hmac.compare_digest(given.encode(), (_PREFIX + digest).encode())
        is_known = is_known or same
    if not is_known:
        raise WebhookError("the signature does not fit", http_status=401)


def parse_delivery(delivery: Incoming) -> WorkflowJob | None:
    """Return the job a delivery tells of; None where it is of no interest.

    `waiting` is of none: a protection rule holds the job, a pod would stand idle.

    Raises:
        WebhookError: It says it is about a job, and is not as documented.
    """
    if delivery.headers.get("x-github-event") != "workflow_job":
        return None
    try:
        event = _decoder.decode(delivery.body)
    except msgspec.MsgspecError as error:
        raise WebhookError(f"not as documented: {error}", http_status=400) from error
    status = _STATUSES.get(event.action)
    if status is None:
        return None
    return _job(event, status)


def _job(event: _Event, status: str) -> WorkflowJob:
    job = event.workflow_job
    return WorkflowJob(
        job_id=job.id,
        run_id=job.run_id,
        run_attempt=job.run_attempt,
        name=job.name,
        workflow_name=job.workflow_name or "",
        repository=event.repository.full_name,
        status=status,
        conclusion=job.conclusion or "",
        labels=tuple(job.labels),
        runner_name=job.runner_name or "",
        runner_id=job.runner_id,
        created_at=_utc(job.created_at),
        started_at=job.started_at and _utc(job.started_at),
        completed_at=job.completed_at and _utc(job.completed_at),
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


class Inbox:
    """Takes each delivery once: by its id, and by job and state."""

    def __init__(
        self, secrets: Sequence[Secret], *, now: Callable[[], datetime]
    ) -> None:
        self._secrets = tuple(secrets)
        self._now = now
        self._seen: OrderedDict[str, None] = OrderedDict()

    def take(self, delivery: Incoming) -> WorkflowJob | None:
        """Return the job a delivery tells of; None where it tells nothing new.

        Raises:
            WebhookError: It is not GitHub's, too old, or malformed.
        """
        check_signature(delivery, self._secrets)
        if not delivery.delivery_id:
            raise WebhookError("there is no X-GitHub-Delivery", http_status=400)
        if not self._is_new(f"delivery {delivery.delivery_id}"):
            return None
        job = parse_delivery(delivery)
        if job is None:
            return None
        self._check_age(job)
        if not self._is_new(f"job {job.job_id} {job.run_attempt} {job.status}"):
            return None
        return job

    def _is_new(self, key: str) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _check_age(self, job: WorkflowJob) -> None:
        """Refuse news that is too old, or from the future.

        Raises:
            WebhookError: It is.
        """
        moments = {"completed": job.completed_at, "in_progress": job.started_at}
        moment = moments.get(job.status) or job.created_at
        if moment is None:
            return
        age = self._now() - moment
        if age > LONGEST_AGE or age < -LARGEST_SKEW:
            raise WebhookError(
                f"the event is of {moment:%Y-%m-%d %H:%M} UTC", http_status=422
            )
