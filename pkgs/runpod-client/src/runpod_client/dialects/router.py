"""Where a call goes: the rules of `routing`, whatever the call is.

    answer                                      decides
    any good answer, a refusal of one thing     the wire is alive
    410                                         the wire is withdrawn
    403, 404 of the path, 501, unknown to       that this capability is not to be had
      the schema                                  there; asked for pods, the wire
    5xx, 429, no answer, 401                    nothing

A read goes to the next wire at once, also where a wire is down; what ends spending does
too, since it does no harm twice. Any other change is never sent twice: it goes to the one
wire that is decided on, after asking it a cheap question where nothing is known; when
that wire answers 410 to the change itself, this is raised, the decision is dropped, and
the next call decides anew.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from runpod_client.cloud import Cloud
from runpod_client.dialects.capabilities import INSTEAD, ORDER, Dialect
from runpod_client.dialects.decisions import Decisions, State
from runpod_client.errors import (
    APIError,
    AuthenticationError,
    CapabilityMissingError,
    CapabilityRetiredError,
    InsufficientBalanceError,
    NotFoundError,
    RejectedError,
    TransportError,
    UnavailableError,
)
from runpod_client.model import Capability
from runpod_client.refusals import KEY_HINT

Value = TypeVar("Value")

# shaped like a pod's id, so that asking for it is an everyday question
PROBE_ID = "00000000000000"
# refusals of one thing, by a wire that is there
_GOOD_REFUSALS = (InsufficientBalanceError, NotFoundError, RejectedError)
# the wire is down, or whatever stands before it
_OUTAGES = (TransportError, UnavailableError)
# asked for pods, these answers speak of the whole wire
_OF_THE_WIRE = frozenset({403, 404, 501})


class Router:
    """Sends each call to the wire that has what it is about."""

    def __init__(
        self, openers: Mapping[Dialect, Callable[[], Cloud]], decisions: Decisions
    ) -> None:
        """Take what is needed; a wire is opened when it is first asked."""
        self._openers = openers
        self._clouds: dict[Dialect, Cloud] = {}
        self._opening = threading.Lock()
        self._decisions = decisions

    def close(self) -> None:
        """Close the connections of all wires that were opened."""
        for cloud in self._clouds.values():
            cloud.close()

    def read(
        self, capability: Capability, ask: Callable[[Cloud], Value]
    ) -> tuple[Dialect, Value]:
        """Return the first good answer, and whose it is."""
        refused: list[tuple[Dialect, APIError]] = []
        outage: APIError | None = None
        for dialect in self._list_candidates(capability):
            try:
                return dialect, self._ask(dialect, capability, ask)
            except _OUTAGES as error:
                outage = outage or error
            except APIError as error:
                if _find_absence(error) is None:
                    raise
                refused.append((dialect, error))
        raise outage or self._explain(capability, refused)

    def end(self, capability: Capability, ask: Callable[[Cloud], Value]) -> Value:
        """Send what ends spending: to the next wire where one is down.

        Nothing is decided beforehand: what stops a pod waits for no question.
        """
        return self.read(capability, ask)[1]

    def get(self, capability: Capability, ask: Callable[[Cloud], Value]) -> Value:
        """Return the first good answer to a read."""
        return self.read(capability, ask)[1]

    def find(
        self,
        dialect: Dialect,
        capability: Capability,
        ask: Callable[[Cloud], Value],
    ) -> Value | None:
        """Return what one wire can add; nothing where it cannot."""
        if dialect not in self._list_candidates(capability):
            return None
        try:
            return self._ask(dialect, capability, ask)
        except APIError:
            return None

    def change(self, capability: Capability, ask: Callable[[Cloud], Value]) -> Value:
        """Send a change to the one wire that is decided on."""
        dialect = self._decide(capability)
        try:
            return self._ask(dialect, capability, ask)
        except CapabilityRetiredError as error:
            if error.http_status != 410:
                raise
            self._decisions.drop(dialect)
            others = [o for o in self._list_candidates(capability) if o is not dialect]
            raise _render_retired(capability, dialect, error, others) from error

    def _decide(self, capability: Capability) -> Dialect:
        """Return the wire a change goes to, asking it something where need be."""
        refused: list[tuple[Dialect, APIError]] = []
        for dialect in self._list_candidates(capability):
            if self._decisions.find(dialect) is State.ALIVE:
                return dialect
            try:
                self._ask(dialect, Capability.PODS, lambda c: c.find_pod(PROBE_ID))
            except APIError as error:
                if _find_absence(error) is None:
                    raise
                refused.append((dialect, error))
            else:
                return dialect
        raise self._explain(capability, refused)

    def _ask(
        self,
        dialect: Dialect,
        capability: Capability,
        ask: Callable[[Cloud], Value],
    ) -> Value:
        """Ask one wire, and keep what its answer says of it."""
        try:
            answer = ask(self._get_cloud(dialect))
        except APIError as error:
            if isinstance(error, CapabilityMissingError):
                error.capability = error.capability or capability
            self._learn(dialect, capability, error)
            raise
        self._decisions.note(dialect, State.ALIVE)
        return answer

    def _get_cloud(self, dialect: Dialect) -> Cloud:
        with self._opening:
            if dialect not in self._clouds:
                self._clouds[dialect] = self._openers[dialect]()
            return self._clouds[dialect]

    def _learn(self, dialect: Dialect, capability: Capability, error: APIError) -> None:
        absence = _find_absence(error)
        if error.http_status is None:
            return  # said by ourselves, or of one thing alone
        if absence is None:
            if isinstance(error, _GOOD_REFUSALS):
                self._decisions.note(dialect, State.ALIVE)
        elif error.http_status == 410 or (
            capability is Capability.PODS and error.http_status in _OF_THE_WIRE
        ):
            self._decisions.note(dialect, absence)
        else:
            self._decisions.note(dialect, absence, capability)

    def _list_candidates(self, capability: Capability) -> list[Dialect]:
        """Return the wires that may have something, the preferred one first."""
        return [
            dialect
            for dialect in ORDER[capability]
            if self._decisions.find(dialect) in {None, State.ALIVE}
            and self._decisions.find(dialect, capability) is None
        ]

    def _explain(
        self, capability: Capability, refused: list[tuple[Dialect, APIError]]
    ) -> APIError:
        """Return why no wire has something: in its own words, or from memory."""
        dialect, error = refused[-1] if refused else (ORDER[capability][-1], None)
        state = self._decisions.find(dialect)
        if state is State.RETIRED:
            return _render_retired(capability, dialect, error)
        if error is not None:
            return error
        state = state or self._decisions.find(dialect, capability)
        if state is State.FORBIDDEN:
            return AuthenticationError(
                f"the API key has no right to {capability} over {dialect.label}",
                hint=f"Give the key that right, or set another. {KEY_HINT}",
            )
        return CapabilityMissingError(
            f"RunPod has no {dialect.label} API for {capability} at this address",
            capability=capability,
            hint=INSTEAD.get(capability, "Check RUNPOD_API_BASE_URL."),
        )


def _find_absence(error: APIError) -> State | None:
    """Return how a wire has said that something is not there, None if it has not."""
    if isinstance(error, CapabilityRetiredError):
        return State.RETIRED
    if isinstance(error, CapabilityMissingError) or error.http_status == 501:
        return State.MISSING
    if isinstance(error, AuthenticationError) and error.http_status == 403:
        return State.FORBIDDEN
    return None


def _render_retired(
    capability: Capability,
    dialect: Dialect,
    error: APIError | None,
    others: Sequence[Dialect] = (),
) -> CapabilityRetiredError:
    """Return the error that says what RunPod withdrew, and what still works."""
    still = f"; {others[0].label} still has it" if others else ""
    return CapabilityRetiredError(
        f"RunPod has withdrawn {dialect.label}, which {capability} went over{still}",
        capability=capability,
        operation=error.operation if error else "",
        http_status=410,
        request_id=error.request_id if error else "",
        hint=(
            "Nothing was changed. Run it again: it goes the other way then."
            if others
            else INSTEAD.get(capability, "Look for an update of runpod-client.")
        ),
    )
