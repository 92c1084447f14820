"""Runner scale sets: a name that jobs ask for, and a queue that tells how many do.

What a person writes in `runs-on` is the scale set's name. Needs no public address: the
queue is asked, as `actions_service` knows how. Blocking; must not know pods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from runner_installer.actions_service import (
    SERVICE,
    ActionsService,
    Reply,
    decode,
)
from runner_installer.errors import RegistrationError
from runner_installer.model import Registration
from runpod_client import NotFoundError, RejectedError, Secret
from runpod_client.logs import get_logger

log = get_logger(__name__)
# the queue holds a question for about 50 s
POLL_SECONDS = 70.0
_SETS = "runtime/runnerscalesets"
_NOTHING_NEW = 202
_CONFLICT = 409
_DEFAULT_GROUP = 1


class _Counts(msgspec.Struct, rename="camel"):
    total_assigned_jobs: int = 0
    total_available_jobs: int = 0
    total_running_jobs: int = 0
    total_registered_runners: int = 0


class _Label(msgspec.Struct):
    name: str


class _Set(msgspec.Struct, rename="camel"):
    id: int
    name: str
    runner_group_id: int = 0
    labels: list[_Label] = []


class _Sets(msgspec.Struct):
    value: list[_Set]


class _Group(msgspec.Struct):
    id: int
    name: str


class _Groups(msgspec.Struct):
    value: list[_Group]


class _Session(msgspec.Struct, rename="camel"):
    session_id: str
    message_queue_url: str
    message_queue_access_token: str
    statistics: _Counts | None = None


class _Message(msgspec.Struct, rename="camel"):
    message_id: int
    message_type: str
    body: str = "[]"
    statistics: _Counts | None = None


class _Note(msgspec.Struct, rename="camel"):
    message_type: str
    runner_request_id: int = 0
    owner_name: str = ""
    repository_name: str = ""
    workflow_run_id: int = 0
    job_display_name: str = ""
    runner_name: str = ""
    result: str = ""


class _Runner(msgspec.Struct):
    id: int
    name: str


class _Minted(msgspec.Struct):
    runner: _Runner
    encoded_jit_config: str = msgspec.field(name="encodedJITConfig")


@dataclass(frozen=True, kw_only=True)
class ScaleSet:
    """A scale set as GitHub has it."""

    scale_set_id: int
    name: str
    group_id: int
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many jobs there are for a scale set.

    Attributes:
        assigned: Waiting for one of its runners, or on one: what runners are kept for.
        available: Not yet offered, for want of capacity.
    """

    assigned: int = 0
    available: int = 0
    running: int = 0
    runners: int = 0


@dataclass(frozen=True, kw_only=True)
class JobNote:
    """What happened to one job: available, assigned, started or completed.

    Attributes:
        request_id: What it is acquired by.
        result: How it ended; empty before.
    """

    kind: str
    request_id: int
    repository: str
    run_id: int
    job_name: str
    runner_name: str
    result: str


@dataclass(frozen=True, kw_only=True)
class QueueMessage:
    """What the queue says: notes, and the counts, which are what matters."""

    message_id: int
    notes: tuple[JobNote, ...]
    counts: Counts


class ScaleSets:
    """The scale sets of one scope."""

    def __init__(self, service: ActionsService) -> None:
        self._service = service

    def find(self, name: str) -> ScaleSet | None:
        """Return a scale set by its name."""
        reply = self._service.call("GET", _SETS, "listScaleSets", query={"name": name})
        found = decode(reply, _Sets, "listScaleSets").value
        folded = name.casefold()
        return next((_set(one) for one in found if one.name.casefold() == folded), None)

    def ensure(
        self, name: str, *, labels: Sequence[str] = (), group: str = ""
    ) -> ScaleSet:
        """Return a scale set of that name, made if there is none.

        Args:
            labels: Beside the name; they cannot be changed afterwards.
            group: The runner group by name; empty for the default one.

        Raises:
            NotFoundError: There is no such group.
        """
        found = self.find(name)
        if found is not None:
            return found
        words = dict.fromkeys((name, *labels))
        body = {
            "name": name,
            "runnerGroupId": self._find_group(group),
            "labels": [{"name": word, "type": "System"} for word in words],
            "RunnerSetting": {"disableUpdate": True},
        }
        try:
            reply = self._service.call("POST", _SETS, "createScaleSet", body=body)
        except RejectedError:
            # another process was quicker, or an answer was lost
            again = self.find(name)
            if again is None:
                raise
            return again
        log.info("scale_set_created", repository=str(self._service.scope), name=name)
        return _set(decode(reply, _Set, "createScaleSet"))

    def delete(self, scale_set: ScaleSet) -> bool:
        """Take a scale set away; tell whether it was there."""
        try:
            self._service.call(
                "DELETE", f"{_SETS}/{scale_set.scale_set_id}", "deleteScaleSet"
            )
        except NotFoundError:
            return False
        return True

    def mint(self, scale_set: ScaleSet, name: str, work_folder: str) -> Registration:
        """Register a one-job runner; never repeated, since an answer may be lost.

        Raises:
            RegistrationError: The name is taken, or the service takes no such runner.
        """
        path = f"{_SETS}/{scale_set.scale_set_id}/generatejitconfig"
        body = {"name": name, "workFolder": work_folder}
        try:
            reply = self._service.call("POST", path, "generateJitConfig", body=body)
        except RejectedError as error:
            raise RegistrationError(
                f"scale set {scale_set.name} takes no runner named {name}: {error}",
                runner_name=name,
            ) from error
        minted = decode(reply, _Minted, "generateJitConfig")
        return Registration(
            runner_id=minted.runner.id,
            name=minted.runner.name,
            jit_config=Secret(minted.encoded_jit_config),
        )

    def open_queue(self, scale_set: ScaleSet, owner: str) -> "MessageQueue | None":
        """Take hold of the messages; None while another reader holds them."""
        path = f"{_SETS}/{scale_set.scale_set_id}/sessions"
        body = {"ownerName": owner}
        try:
            reply = self._service.call("POST", path, "createSession", body=body)
        except RejectedError as error:
            if error.http_status == _CONFLICT:
                return None
            raise
        return MessageQueue(
            self._service, scale_set, decode(reply, _Session, "createSession")
        )

    def _find_group(self, name: str) -> int:
        if not name:
            return _DEFAULT_GROUP if self._service.scope.repository else self._default()
        found = self._groups(name)
        if not found:
            raise NotFoundError(
                f"{self._service.scope} has no runner group named {name}",
                service=SERVICE,
                operation="listRunnerGroups",
            )
        return found[0].id

    def _default(self) -> int:
        found = self._groups("Default")
        return found[0].id if found else _DEFAULT_GROUP

    def _groups(self, name: str) -> list[_Group]:
        reply = self._service.call(
            "GET",
            "runtime/runnergroups/",
            "listRunnerGroups",
            query={"groupName": name},
        )
        return decode(reply, _Groups, "listRunnerGroups").value


class MessageQueue:
    """One reader's hold on a scale set's messages."""

    def __init__(
        self, service: ActionsService, scale_set: ScaleSet, session: _Session
    ) -> None:
        self._service = service
        self._scale_set = scale_set
        self._session = session
        self.counts = _counts(session.statistics)

    @property
    def _path(self) -> str:
        sessions = f"{_SETS}/{self._scale_set.scale_set_id}/sessions"
        return f"{sessions}/{self._session.session_id}"

    def wait(self, last_id: int, *, capacity: int) -> QueueMessage | None:
        """Return the next message; None where nothing came for some 50 s.

        Args:
            capacity: How many jobs could be served at all; GitHub assigns no more.

        Raises:
            AuthenticationError: The token is used up: `renew`.
            NotFoundError: The session is gone: open another one.
            APIError: No answer.
        """
        url = self._session.message_queue_url
        joint = "&" if "?" in url else "?"
        reply = self._send(
            "GET",
            f"{url}{joint}lastMessageId={last_id}",
            "getMessage",
            headers={"X-ScaleSetMaxCapacity": str(capacity)},
            timeout_seconds=POLL_SECONDS,
        )
        if reply.status == _NOTHING_NEW:
            return None
        message = decode(reply, _Message, "getMessage")
        body = Reply(status=reply.status, content=message.body.encode())
        notes = decode(body, list[_Note], "getMessage") if message.body else []
        self.counts = _counts(message.statistics)
        return QueueMessage(
            message_id=message.message_id,
            notes=tuple(map(_note, notes)),
            counts=self.counts,
        )

    def acquire(self, request_ids: Sequence[int]) -> None:
        """Take up offers: what they are of is assigned to this scale set then."""
        if not request_ids:
            return
        # asked with the queue's own token, not with the admin's
        self._service.call_with(
            self._token,
            "POST",
            f"{_SETS}/{self._scale_set.scale_set_id}/acquirejobs",
            "acquireJobs",
            body=list(request_ids),
        )

    def acknowledge(self, message_id: int) -> None:
        """Have a message not shown again."""
        base, _, query = self._session.message_queue_url.partition("?")
        url = f"{base}/{message_id}" + (f"?{query}" if query else "")
        self._send("DELETE", url, "deleteMessage")

    def renew(self) -> None:
        """Get a fresh token for the same session.

        Raises:
            NotFoundError: The session is gone.
        """
        reply = self._service.call("PATCH", self._path, "refreshSession")
        self._session = decode(reply, _Session, "refreshSession")

    def close(self) -> None:
        """Let the messages go, so that another reader need not wait for a lapse."""
        self._service.call("DELETE", self._path, "deleteSession")

    @property
    def _token(self) -> Secret:
        return Secret(self._session.message_queue_access_token)

    def _send(self, method: str, url: str, operation: str, **how: Any) -> Reply:
        return self._service.send(method, url, operation, token=self._token, **how)


def _set(found: _Set) -> ScaleSet:
    return ScaleSet(
        scale_set_id=found.id,
        name=found.name,
        group_id=found.runner_group_id,
        labels=tuple(label.name for label in found.labels),
    )


def _counts(told: _Counts | None) -> Counts:
    if told is None:
        return Counts()
    return Counts(
        assigned=told.total_assigned_jobs,
        available=told.total_available_jobs,
        running=told.total_running_jobs,
        runners=told.total_registered_runners,
    )


def _note(note: _Note) -> JobNote:
    return JobNote(
        kind=note.message_type,
        request_id=note.runner_request_id,
        repository=f"{note.owner_name}/{note.repository_name}",
        run_id=note.workflow_run_id,
        job_name=note.job_display_name,
        runner_name=note.runner_name,
        result=note.result,
    )


def list_offers(message: QueueMessage) -> list[int]:
    """Return what of a message is there to be acquired."""
    return [note.request_id for note in message.notes if note.kind == "JobAvailable"]
