import subprocess
import sys
import threading

import pytest
from structlog.testing import capture_logs

from runpod_client.breakers import Breakers, Rule
from runpod_client.errors import (
    CircuitOpenError,
    Error,
    NotFoundError,
    RateLimitedError,
    TransportError,
    UnavailableError,
)
from support.clock import FakeTime

RULE = Rule(max_failures=5, window_seconds=30.0)


class Service:
    """A service behind breakers that a test switches off and on."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.breakers = Breakers(rule=RULE, clock=self.time.clock, now=self.time.now)
        self.failure: BaseException | None = None
        self.calls = 0

    def call(self, name: str = "v2:control", *, ends_spending: bool = False) -> None:
        with self.breakers.guard(name, operation="o", ends_spending=ends_spending):
            self.calls += 1
            if self.failure is not None:
                raise self.failure

    def try_call(self, name: str = "v2:control", *, ends_spending: bool = False) -> str:
        try:
            self.call(name, ends_spending=ends_spending)
        except CircuitOpenError:
            return "refused"
        except Error:
            return "failed"
        return "answered"


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def dead(service: Service) -> Service:
    service.failure = TransportError("no answer")
    for _ in range(5):
        service.try_call()
    return service


@pytest.mark.parametrize("failure", [TransportError("x"), UnavailableError("x")])
def test_circuit_opens_at_the_fifth_failure_in_a_row(
    service: Service, failure: Error
) -> None:
    service.failure = failure

    got = [service.try_call() for _ in range(7)]

    assert got == ["failed"] * 5 + ["refused"] * 2
    assert service.calls == 5


def test_answer_in_between_starts_the_count_anew(service: Service) -> None:
    for _ in range(4):
        service.failure = TransportError("x")
        got = [service.try_call() for _ in range(4)]
        service.failure = None
        got.append(service.try_call())

        assert got == ["failed"] * 4 + ["answered"]


@pytest.mark.parametrize("failure", [NotFoundError("x"), RateLimitedError("x")])
def test_refusal_is_an_answer(service: Service, failure: Error) -> None:
    service.failure = failure

    assert {service.try_call() for _ in range(20)} == {"failed"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("a bug")])
def test_what_is_no_answer_of_the_service_opens_nothing(
    service: Service, failure: BaseException
) -> None:
    service.failure = failure

    for _ in range(9):
        with pytest.raises(type(failure)):
            service.call()

    assert service.calls == 9


def test_refusal_says_since_when_and_when_again(dead: Service) -> None:
    dead.time.sleep(10)

    with pytest.raises(CircuitOpenError) as caught:
        dead.call()

    assert isinstance(caught.value, UnavailableError)
    assert caught.value.retry_after_seconds == 20.0
    assert caught.value.message == (
        "o was not sent: RunPod has not answered since 00:00:00 UTC"
    )
    assert "in 20 s" in caught.value.hint


def test_dead_service_costs_one_probe_per_window(dead: Service) -> None:
    for _ in range(3600):
        dead.time.sleep(1)
        dead.try_call()

    assert dead.calls - 5 == 3600 // 30


def test_probe_that_is_answered_closes_the_circuit(dead: Service) -> None:
    dead.failure = None
    dead.time.sleep(30)

    assert [dead.try_call() for _ in range(9)] == ["answered"] * 9
    assert dead.breakers.state("v2:control") == "closed"


def test_probe_that_fails_opens_it_for_another_window(dead: Service) -> None:
    dead.time.sleep(30)

    assert dead.try_call() == "failed"
    dead.time.sleep(29.9)
    assert dead.try_call() == "refused"


def test_one_probe_passes_at_a_time(dead: Service) -> None:
    dead.time.sleep(30)
    under_way = threading.Event()
    release = threading.Event()

    def probe() -> None:
        with dead.breakers.guard("v2:control", operation="o"):
            under_way.set()
            release.wait(10)

    thread = threading.Thread(target=probe)
    thread.start()
    assert under_way.wait(10)
    meanwhile = [dead.try_call() for _ in range(50)]
    release.set()
    thread.join(10)

    assert set(meanwhile) == {"refused"}
    assert dead.breakers.state("v2:control") == "closed"


def test_interrupted_probe_leaves_its_place_to_the_next(dead: Service) -> None:
    dead.time.sleep(30)
    dead.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        dead.call()

    dead.failure = TransportError("x")

    assert [dead.try_call(), dead.try_call()] == ["failed", "refused"]


def test_failed_probe_does_not_make_the_outage_younger(dead: Service) -> None:
    dead.time.sleep(30)
    dead.try_call()

    with pytest.raises(CircuitOpenError, match="since 00:00:00 UTC"):
        dead.call()


def test_call_that_ends_spending_is_never_refused(dead: Service) -> None:
    got = [dead.try_call(ends_spending=True) for _ in range(9)]

    assert got == ["failed"] * 9
    assert dead.try_call() == "refused"


def test_answered_stop_closes_the_circuit(dead: Service) -> None:
    dead.failure = None

    assert dead.try_call() == "refused"
    assert dead.try_call(ends_spending=True) == "answered"
    assert dead.try_call() == "answered"


def test_what_telemetry_breaks_stays_telemetrys(service: Service) -> None:
    service.failure = UnavailableError("x")
    for _ in range(50):
        service.try_call("v2:telemetry")

    service.failure = None

    assert service.try_call("v2:telemetry") == "refused"
    assert service.try_call("v2:control") == "answered"
    assert service.try_call("graphql:control") == "answered"


def test_calls_do_not_wait_for_each_other(service: Service) -> None:
    service.failure = TransportError("x")
    service.try_call()
    service.failure = None
    done = threading.Event()

    def other() -> None:
        service.call()
        done.set()

    with service.breakers.guard("v2:control", operation="slow"):
        thread = threading.Thread(target=other)
        thread.start()
        is_done = done.wait(10)
    thread.join(10)

    assert is_done


def test_each_change_is_told_once(service: Service) -> None:
    service.failure = TransportError("x")

    with capture_logs() as told:
        for _ in range(20):
            service.try_call()
        service.time.sleep(30)
        service.failure = None
        service.call()
        service.call()

    changes = [(e["log_level"], e["from_state"], e["to_state"]) for e in told]
    assert changes == [
        ("warning", "closed", "open"),
        ("info", "open", "half-open"),
        ("info", "half-open", "closed"),
    ]
    assert {e["circuit"] for e in told} == {"v2:control"}


def test_pybreaker_is_loaded_by_the_first_failure_alone() -> None:
    script = (
        "import sys\n"
        "from runpod_client.breakers import Breakers\n"
        "from runpod_client.errors import TransportError\n"
        "breakers = Breakers()\n"
        "with breakers.guard('a', operation='o'): pass\n"
        "print('pybreaker' in sys.modules)\n"
        "try:\n"
        "    with breakers.guard('a', operation='o'): raise TransportError('x')\n"
        "except TransportError: print('pybreaker' in sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "True"]
