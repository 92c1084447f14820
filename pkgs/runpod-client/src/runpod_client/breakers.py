"""Circuit breakers: a RunPod that is down is asked once per window, not by every call.

pybreaker counts and knows the states; this decides by an injected clock when a probe
may pass, and never holds pybreaker's lock during a call, since that would send the
calls of all threads one after another. It is imported at the first failure: a short
command that goes well does not pay for it.

    closed     five failures in a row -> open
    open       calls are refused; after the window one probe passes -> half-open
    half-open  the probe's answer -> closed, its failure -> open

Circuits do not know each other: what telemetry breaks stays telemetry's. A call that
ends spending is never refused; when it gets an answer, that closes the circuit too.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NoReturn

from runpod_client.errors import (
    APIError,
    CircuitOpenError,
    TransportError,
    UnavailableError,
)
from runpod_client.logs import get_logger

if TYPE_CHECKING:
    import pybreaker

_log = get_logger(__name__)

State = Literal["closed", "open", "half-open"]
# pybreaker's own clock cannot be injected; ours decides long before this is over
_NEVER_SECONDS = 10 * 365 * 86_400


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a circuit opens, and how long it stays open before a probe."""

    max_failures: int = 5
    window_seconds: float = 30.0


class _OutageError(Exception):
    """What pybreaker is told instead of the real error, whose traceback stays clean."""


@dataclass(kw_only=True)
class _Circuit:
    """One breaker and what pybreaker does not keep."""

    breaker: "pybreaker.CircuitBreaker"
    opened_at: datetime
    opened_clock: float = 0.0
    is_probed: bool = False


def is_outage(error: BaseException) -> bool:
    """Return whether a failure says that the service is down."""
    return isinstance(error, (TransportError, UnavailableError))


class Breakers:
    """Circuits by name, made when they first fail; safe to share between threads."""

    def __init__(
        self,
        *,
        rule: Rule | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._rule = rule or Rule()
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    @contextmanager
    def guard(
        self,
        name: str,
        *,
        operation: str,
        ends_spending: bool = False,
        counts: Callable[[BaseException], bool] = is_outage,
    ) -> Iterator[None]:
        """Let one call through a circuit, and learn from how it ends.

        Args:
            ends_spending: Never refuse it.
            counts: Whether a failure says that the service is down.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        is_probe = not ends_spending and self._admit(name, operation)
        try:
            yield
        except BaseException as error:
            # what is no answer of the service (Ctrl-C, a bug) says nothing about it
            is_answer = isinstance(error, APIError)
            is_alive = not counts(error) if is_answer else None
            self._settle(name, is_alive=is_alive, is_probe=is_probe)
            raise
        self._settle(name, is_alive=True, is_probe=is_probe)

    def is_open(self, name: str) -> bool:
        """Return whether a call would be refused now."""
        with self._lock:
            circuit = self._circuits.get(name)
            return circuit is not None and self._find_wait(circuit) is not None

    def state(self, name: str) -> State:
        """Return a circuit's state, for metrics."""
        with self._lock:
            circuit = self._circuits.get(name)
            return "closed" if circuit is None else _state(circuit)

    def _admit(self, name: str, operation: str) -> bool:
        """Return whether the call is a probe."""
        with self._lock:
            circuit = self._circuits.get(name)
            if circuit is None or _state(circuit) == "closed":
                return False
            wait = self._find_wait(circuit)
            if wait is not None:
                raise CircuitOpenError(
                    operation, opened_at=circuit.opened_at, retry_after_seconds=wait
                )
            if _state(circuit) == "open":
                circuit.breaker.half_open()
                self._tell(name, circuit, "open")
            circuit.is_probed = True
            return True

    def _find_wait(self, circuit: _Circuit) -> float | None:
        """Return in how many seconds a call may pass; None means now."""
        state = _state(circuit)
        left = circuit.opened_clock + self._rule.window_seconds - self._clock()
        if state == "open" and left > 0:
            return left
        # a probe is on its way: its answer decides, for which there is no knowing when
        return 1.0 if state == "half-open" and circuit.is_probed else None

    def _settle(self, name: str, *, is_alive: bool | None, is_probe: bool) -> None:
        with self._lock:
            circuit = self._circuits.get(name)
            if circuit is not None and is_probe:
                circuit.is_probed = False
            if is_alive is None or (circuit is None and is_alive):
                return
            if circuit is None:
                circuit = self._circuits[name] = self._make_circuit(name)
            before = _state(circuit)
            if is_alive:
                _record_answer(circuit)
            elif before == "closed" or is_probe:
                _record_outage(circuit)
            self._tell(name, circuit, before)

    def _make_circuit(self, name: str) -> _Circuit:
        import pybreaker  # noqa: PLC0415  # only a failure needs it

        return _Circuit(
            opened_at=self._now(),
            breaker=pybreaker.CircuitBreaker(
                fail_max=self._rule.max_failures,
                reset_timeout=_NEVER_SECONDS,
                name=name,
                throw_new_error_on_trip=False,
            ),
        )

    def _tell(self, name: str, circuit: _Circuit, before: State) -> None:
        """Keep since when a circuit is open, and log a change once."""
        after = _state(circuit)
        if after == before:
            return
        if after == "open":
            circuit.opened_clock = self._clock()
            if before == "closed":
                # a failed probe does not make the outage any younger
                circuit.opened_at = self._now()
        log = _log.warning if after == "open" else _log.info
        log("circuit_changed", circuit=name, from_state=before, to_state=after)


def _state(circuit: _Circuit) -> State:
    state: State = circuit.breaker.current_state  # type: ignore[assignment]  # pybreaker says str
    return state


def _record_answer(circuit: _Circuit) -> None:
    if _state(circuit) == "open":
        circuit.breaker.half_open()
    circuit.breaker.call(lambda: None)


def _record_outage(circuit: _Circuit) -> None:
    def fail() -> NoReturn:
        raise _OutageError

    with suppress(_OutageError):
        circuit.breaker.call(fail)
