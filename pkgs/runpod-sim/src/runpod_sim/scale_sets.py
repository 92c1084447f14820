"""Runner scale sets of the simulated GitHub: jobs counted, offered, assigned.

Pure state over a `Forge`, as the sources of GitHub's own client (actions/scaleset) show
it; GitHub documents none of it. It must not know HTTP.

- a scale set belongs to a repository or organization and has a name, which is its label;
- one session at a time reads its messages; a session that nobody renews lapses;
- a message stays until it is deleted, and is shown again after a reconnect;
- a job is offered only within the capacity that the reader last named, and is assigned
  once the offer is taken up; what counts is the number of jobs assigned.
"""

import base64
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from runpod_sim.forge import Forge
from runpod_sim.forge_model import Job, JobStatus, RefusedError, Runner, Scope

ADMIN_TOKEN_LIFE = timedelta(hours=1)
QUEUE_TOKEN_LIFE = timedelta(minutes=50)
# a reader that has not asked for so long has lost its session
SESSION_LIFE = timedelta(minutes=2)
MOST_PER_MESSAGE = 50


@dataclass(frozen=True, slots=True)
class ScaleSet:
    """A named kind of runner that jobs are counted for."""

    id: int
    name: str
    scope: Scope
    group_id: int
    labels: tuple[str, ...]
    is_update_disabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class QueueSession:
    """One reader's hold on a scale set's messages."""

    id: str
    scale_set_id: int
    owner: str
    token: str
    token_expires_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class JobNote:
    """One thing that happened to a job: JobAvailable, JobAssigned, ..."""

    kind: str
    job: Job


@dataclass(frozen=True, slots=True)
class Statistics:
    """How many jobs and runners a scale set has in each state."""

    available: int
    acquired: int
    assigned: int
    running: int
    registered: int
    busy: int
    idle: int


@dataclass(frozen=True, slots=True)
class Message:
    """A batch of notes with the counts at its time."""

    id: int
    notes: tuple[JobNote, ...]
    statistics: Statistics


@dataclass(slots=True)
class _Queue:
    """What one scale set has told and is about to tell."""

    messages: dict[int, Message] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)
    acquired: set[int] = field(default_factory=set)
    runner_ids: set[int] = field(default_factory=set)
    last_id: int = 0


class ScaleSets:
    """All scale sets of a forge."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self._sets: dict[int, ScaleSet] = {}
        self._queues: dict[int, _Queue] = {}
        self._sessions: dict[str, QueueSession] = {}
        self._admin: dict[str, tuple[Scope, datetime]] = {}
        self._count = 0
        self._random = random.Random(f"{forge.seed} scale sets")  # noqa: S311  # made up

    # Admin tokens

    def create_admin_token(self, scope: Scope) -> str:
        """Mint a token that may touch a scope's scale sets for an hour.

        It has the shape of the real one, a JSON web token whose end can be read.
        """
        ends_at = self.forge.clock.now() + ADMIN_TOKEN_LIFE
        parts: tuple[dict[str, Any], ...] = (
            {"alg": "none", "typ": "JWT"},
            {"exp": int(ends_at.timestamp()), "jti": self._random.getrandbits(128)},
        )
        token = ".".join([*map(_encode, parts), "unsigned"])
        self._admin[token] = (scope, ends_at)
        return token

    def get_scope(self, token: str) -> Scope:
        """Return whose scale sets a token may touch.

        Raises:
            RefusedError: 401: none.
        """
        scope, ends_at = self._admin.get(token, (None, self.forge.clock.now()))
        if scope is None or ends_at <= self.forge.clock.now():
            raise RefusedError(401, "The token is not valid", kind="TokenExpired")
        return scope

    # Scale sets

    def find(self, scope: Scope, name: str) -> list[ScaleSet]:
        """Return the scope's scale sets, of one name where it is given."""
        wanted = name.casefold()
        mine = [each for each in self._sets.values() if each.scope == scope]
        return [each for each in mine if not name or each.name.casefold() == wanted]

    def get(self, scope: Scope, scale_set_id: int) -> ScaleSet:
        """Return a scale set.

        Raises:
            RefusedError: 404: there is none of that id here.
        """
        found = self._sets.get(scale_set_id)
        if found is None or found.scope != scope:
            raise RefusedError(
                404, "No runner scale set found", kind="RunnerScaleSetNotFoundException"
            )
        return found

    def create(
        self,
        scope: Scope,
        name: str,
        *,
        group_id: int,
        labels: Sequence[str],
        is_update_disabled: bool,
    ) -> ScaleSet:
        """Make a scale set.

        Raises:
            RefusedError: 400: there is one of that name; 404: there is no such group.
        """
        if self.find(scope, name):
            raise RefusedError(
                400,
                f"Runner scale set {name} exists",
                kind="RunnerScaleSetExistsException",
            )
        self.forge.get_group(scope, group_id)
        self._count += 1
        made = ScaleSet(
            self._count,
            name,
            scope,
            group_id,
            tuple(labels) or (name,),
            is_update_disabled,
            self.forge.clock.now(),
        )
        self._sets[made.id] = made
        self._queues[made.id] = _Queue()
        return made

    def delete(self, scope: Scope, scale_set_id: int) -> None:
        """Take a scale set away; its session ends."""
        found = self.get(scope, scale_set_id)
        del self._sets[found.id], self._queues[found.id]
        for session in list(self._sessions.values()):
            if session.scale_set_id == found.id:
                del self._sessions[session.id]

    # Sessions

    def open_session(self, scope: Scope, scale_set_id: int, owner: str) -> QueueSession:
        """Take hold of a scale set's messages.

        Raises:
            RefusedError: 409: another reader holds them.
        """
        found = self.get(scope, scale_set_id)
        now = self.forge.clock.now()
        for session in list(self._sessions.values()):
            if session.scale_set_id != found.id:
                continue
            if now - session.last_seen_at < SESSION_LIFE:
                raise RefusedError(
                    409,
                    f"The runner scale set {found.name} already has an active session",
                    kind="RunnerScaleSetSessionConflictException",
                )
            del self._sessions[session.id]
        self._count += 1
        return self._renewed(
            QueueSession(f"session-{self._count}", found.id, owner, "", now, now)
        )

    def renew_session(
        self, scope: Scope, scale_set_id: int, session_id: str
    ) -> QueueSession:
        """Give a reader a fresh token."""
        return self._renewed(self._get_session(scope, scale_set_id, session_id))

    def close_session(self, scope: Scope, scale_set_id: int, session_id: str) -> None:
        """Let the messages go."""
        del self._sessions[self._get_session(scope, scale_set_id, session_id).id]

    def find_by_token(self, token: str) -> ScaleSet | None:
        """Return the scale set that a queue's token reads for."""
        now = self.forge.clock.now()
        for session in self._sessions.values():
            if session.token == token and session.token_expires_at > now:
                return self._sets.get(session.scale_set_id)
        return None

    def authorize(self, session_id: str, token: str) -> QueueSession:
        """Return the session a token reads for.

        Raises:
            RefusedError: 401: the token is wrong or too old; 404: the session is gone.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise RefusedError(
                404, "The session does not exist", kind="SessionNotFound"
            )
        now = self.forge.clock.now()
        if session.token != token or session.token_expires_at <= now:
            raise RefusedError(401, "The token has expired", kind="TokenExpired")
        self._sessions[session_id] = replace(session, last_seen_at=now)
        return session

    # Messages

    def next_message(
        self, session: QueueSession, last_id: int, capacity: int
    ) -> Message | None:
        """Return the first message after `last_id`; None where there is nothing new.

        Args:
            capacity: How many jobs the reader could serve at all.
        """
        queue = self._queues[session.scale_set_id]
        waiting = [
            message for message in queue.messages.values() if message.id > last_id
        ]
        if waiting:
            return waiting[0]
        notes = list(self._news(session.scale_set_id, capacity))[:MOST_PER_MESSAGE]
        if not notes:
            return None
        for note in notes:
            queue.told[note.job.id] = note.kind
        queue.last_id += 1
        message = Message(queue.last_id, tuple(notes), self.count(session.scale_set_id))
        queue.messages[message.id] = message
        return message

    def delete_message(self, session: QueueSession, message_id: int) -> None:
        """Take note that a message was dealt with."""
        self._queues[session.scale_set_id].messages.pop(message_id, None)

    def acquire(
        self, scope: Scope, scale_set_id: int, job_ids: Iterable[int]
    ) -> list[int]:
        """Assign jobs that were offered; return those that were still to be had."""
        found = self.get(scope, scale_set_id)
        queue = self._queues[found.id]
        taken = []
        for job_id in job_ids:
            job = self.forge.jobs.get(job_id)
            if job is not None and job.status is JobStatus.QUEUED:
                queue.acquired.add(job_id)
                taken.append(job_id)
        return taken

    def count(self, scale_set_id: int) -> Statistics:
        """Return a scale set's counts now."""
        queue = self._queues[scale_set_id]
        jobs = self._jobs(scale_set_id)
        waiting = [job for job in jobs if job.status is JobStatus.QUEUED]
        running = [job for job in jobs if job.status is JobStatus.IN_PROGRESS]
        acquired = [job for job in waiting if job.id in queue.acquired]
        runners = [
            self.forge.runners[i] for i in queue.runner_ids if i in self.forge.runners
        ]
        busy = sum(runner.job_id is not None for runner in runners)
        return Statistics(
            available=len(waiting) - len(acquired),
            acquired=len(acquired),
            assigned=len(acquired) + len(running),
            running=len(running),
            registered=len(runners),
            busy=busy,
            idle=len(runners) - busy,
        )

    def _news(self, scale_set_id: int, capacity: int) -> Iterable[JobNote]:
        queue = self._queues[scale_set_id]
        room = capacity - self.count(scale_set_id).assigned
        for job in self._jobs(scale_set_id):
            told = queue.told.get(job.id, "")
            kind = self._kind(queue, job)
            if kind == told or (kind == "JobCompleted" and not told):
                continue
            if kind == "JobAvailable":
                if room <= 0:
                    continue
                room -= 1
            yield JobNote(kind, job)

    @staticmethod
    def _kind(queue: _Queue, job: Job) -> str:
        if job.status is JobStatus.COMPLETED:
            return "JobCompleted"
        if job.status is JobStatus.IN_PROGRESS:
            return "JobStarted"
        return "JobAssigned" if job.id in queue.acquired else "JobAvailable"

    def _jobs(self, scale_set_id: int) -> list[Job]:
        """Return the jobs whose labels the scale set has, old ones included."""
        found = self._sets[scale_set_id]
        labels = {label.casefold() for label in (found.name, *found.labels)}
        owner = found.scope.key
        return [
            job
            for job in self.forge.jobs.values()
            if {label.casefold() for label in job.labels} <= labels
            and owner
            in {job.repository.casefold(), job.repository.casefold().partition("/")[0]}
        ]

    # Runners

    def create_jit_runner(self, scope: Scope, scale_set_id: int, name: str) -> Runner:
        """Register a one-job runner of a scale set.

        Raises:
            RefusedError: 409: the name is taken.
        """
        found = self.get(scope, scale_set_id)
        labels = tuple(dict.fromkeys((found.name, *found.labels)))
        runner = self.forge.create_jit_runner(
            scope, name, group_id=found.group_id, labels=labels
        )
        self._queues[found.id].runner_ids.add(runner.id)
        return runner

    def _renewed(self, session: QueueSession) -> QueueSession:
        now = self.forge.clock.now()
        self._count += 1
        renewed = replace(
            session,
            token=f"queue-{self._random.getrandbits(128):032x}",
            token_expires_at=now + QUEUE_TOKEN_LIFE,
            last_seen_at=now,
        )
        self._sessions[renewed.id] = renewed
        return renewed

    def _get_session(
        self, scope: Scope, scale_set_id: int, session_id: str
    ) -> QueueSession:
        found = self.get(scope, scale_set_id)
        session = self._sessions.get(session_id)
        if session is None or session.scale_set_id != found.id:
            raise RefusedError(
                404, "The session does not exist", kind="SessionNotFound"
            )
        return session


def _encode(part: Mapping[str, Any]) -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(part).encode())
    return encoded.rstrip(b"=").decode()
