"""A served simulator as tests and their tools meet it: a process, a URL, variables."""

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

from support.leftovers import processes_mentioning
from support.waiting import wait_for

START_SECONDS = 20.0
END_SECONDS = 20.0
CALL_SECONDS = 30.0
# In the order in which the simulator asks them: 429, 5xx, a silence that ends in 524, a
# connection reset before the operation and after it, and a broken body.
FAULT_MIX = (
    "rate_limited",
    "html_500",
    "no_answer",
    "drop_connection",
    "lost_answer",
    "malformed_body",
)
FAST = ("--pull-seconds", "0.3", "--ports-seconds", "0.2", "--seed", "1")


@dataclass(frozen=True)
class SimServer:
    """A running `runpod-sim serve`.

    Args:
        env: The variables it printed, by name.
    """

    base_url: str
    state_dir: str
    env: Mapping[str, str]
    pid: int
    process: subprocess.Popen[str]
    log_path: Path

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return status and answer; JSON where it is JSON, else text."""
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=CALL_SECONDS
        )
        try:
            payload = None if body is None else json.dumps(body)
            sent = {"User-Agent": "tests/1", "Content-Type": "application/json"}
            connection.request(method, path, payload, sent | dict(headers or {}))
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def with_key(self, key: str) -> "SimServer":
        """Return the same simulator, used with another account's key."""
        return replace(self, env={**self.env, "RUNPOD_API_KEY": key})

    @property
    def authorization(self) -> dict[str, str]:
        """Return the header that carries the API key."""
        return {"Authorization": f"Bearer {self.env['RUNPOD_API_KEY']}"}

    def rest(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer of a REST v2 call with the printed API key."""
        return self.call(method, f"/v2/{path}", body, self.authorization)

    def read_events(
        self, path: str, count: int, headers: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the first server-sent events of a stream, with their ids."""
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=CALL_SECONDS
        )
        sent = {"User-Agent": "tests/1", **self.authorization, **(headers or {})}
        events: list[dict[str, Any]] = []
        try:
            connection.request("GET", path, None, sent)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            while len(events) < count:
                line = response.readline().decode()
                if line.startswith("data: "):
                    events.append(json.loads(line.removeprefix("data: ")))
        finally:
            connection.close()
        return events

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the answer to a document sent with the printed API key."""
        status, answer = self.call(
            "POST",
            "/graphql",
            {"query": query, "variables": variables},
            self.authorization,
        )
        assert isinstance(answer, dict), (status, answer)
        return answer

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer of an admin route, which must succeed."""
        status, answer = self.call(method, f"/_sim/{path}", body)
        assert status < 300, (status, answer)
        return answer

    def add_fault(self, kind: str, **given: Any) -> None:
        """Let something go wrong."""
        self.admin("POST", "faults", {"kind": kind, **given})

    def add_fault_mix(self, share: float, *, seed: int, **given: Any) -> None:
        """Let that share of requests meet trouble of six kinds, reproducibly.

        Args:
            share: Of all requests the mix can strike, from 0 to 1.
            given: What narrows it: operation, wire, seconds.
        """
        left = 1.0
        for number, kind in enumerate(FAULT_MIX):
            # Each kind is asked in turn, so the later ones see fewer requests.
            chance = share / len(FAULT_MIX) / left
            left -= share / len(FAULT_MIX)
            extra = {"probability": chance, "seed": seed + number}
            self.add_fault(kind, **{"seconds": 0.05, **given, **extra})

    def advance(self, seconds: float) -> None:
        """Wind the simulated clock forward."""
        self.admin("POST", "clock", {"advance_seconds": seconds})

    def world(self) -> dict[str, Any]:
        """Return pods, balances and live processes."""
        answer = self.admin("GET", "world")
        assert isinstance(answer, dict)
        return answer

    def find_pod(self, pod_id: str) -> dict[str, Any]:
        """Return a pod as the simulator itself knows it."""
        found = next(pod for pod in self.world()["pods"] if pod["id"] == pod_id)
        assert isinstance(found, dict)
        return found


def run_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line of the installed `runpod-sim`."""
    return [str(Path(sys.executable).with_name("runpod-sim")), *arguments]


def read_environment(output: IO[str], process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the variables a starting simulator prints as one JSON line."""
    text = b""

    def line() -> bytes | None:
        nonlocal text
        if select.select([output], [], [], 0)[0]:
            text += os.read(output.fileno(), 65_536)
        assert process.poll() is None, "the simulator ended while starting"
        return text if text.endswith(b"\n") else None

    printed = wait_for(line, timeout_seconds=START_SECONDS, what="simulator listens")
    answer = json.loads(printed)
    assert isinstance(answer, dict)
    return answer


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[SimServer]:
    """Yield a simulator of its own, started with these options, and end it.

    Args:
        folder: Where its log goes. Pods live in a short path of their own, since a
            terminal multiplexer's socket below it has a length limit.
        environ: Its environment; the test's own unless given.
    """
    log_path = folder / "runpod-sim.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            run_command(["serve", "--json", *FAST, *options]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(os.environ if environ is None else environ),
        )
    assert process.stdout is not None
    directory = ""
    try:
        env = read_environment(process.stdout, process)
        base_url = env["RUNPOD_API_BASE_URL"]
        server = SimServer(base_url, "", env, process.pid, process, log_path)
        directory = str(server.admin("GET", "health")["state_dir"])
        yield replace(server, state_dir=directory)
    finally:
        end(process)
        print(log_path.read_text())  # noqa: T201 - pytest shows it with a failure
    if directory:
        wait_until_nothing_is_left(directory)


def wait_until_nothing_is_left(directory: str) -> None:
    """Fail if any process of a pod outlives its simulator."""
    wait_for(
        lambda: not processes_mentioning(directory),
        timeout_seconds=END_SECONDS,
        what=f"the end of every process in {directory}",
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a simulator, at last by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimServer]:
    """A served simulator with fast pulls, ended with a look for leftovers."""
    with serving(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def module_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A simulator one test file shares; each test uses an account of its own."""
    with serving(tmp_path_factory.mktemp("sim")) as server:
        yield server
