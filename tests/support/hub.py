"""A served hub as tests meet it: the installed command, its printed URL, HTTP."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.sim import SimServer, serving
from support.waiting import wait_for

START_SECONDS = 30.0
END_SECONDS = 10.0
CALL_SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    """What the hub answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class HubServer:
    """A running `runpod-hub serve`."""

    process: subprocess.Popen[str]
    url: str
    login_url: str
    token: str
    log_path: Path
    state_dir: Path

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the answer to a request without credentials of its own."""
        connection = http.client.HTTPConnection(self.host, timeout=CALL_SECONDS)
        try:
            payload = (
                body if isinstance(body, str) or body is None else json.dumps(body)
            )
            given = dict(headers or {})
            if body is not None:
                given.setdefault("Content-Type", "application/json")
            connection.request(method, path, payload, given)
            response = connection.getresponse()
            text = "" if response.status == 101 else response.read().decode()
            return Reply(response.status, dict(response.headers.items()), text)
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        """Return the answer to a GET with the token."""
        return self.call("GET", path, headers=self.bearer)

    def post(self, path: str, body: Any) -> Reply:
        """Return the answer to a POST with the token."""
        return self.call("POST", path, body, headers=self.bearer)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def status(self) -> Any:
        """Return the status document."""
        return self.get("/api/runpod/status").json

    def open_socket(self, headers: Mapping[str, str]) -> Reply:
        """Return the answer to a WebSocket handshake for the dashboard's socket."""
        return self.call(
            "GET",
            "/_nicegui_ws/socket.io/?EIO=4&transport=websocket",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                **headers,
            },
        )

    def log_in(self) -> dict[str, str]:
        """Return the headers of a browser that logged in by the token."""
        reply = self.call(
            "POST",
            "/login",
            f"token={self.token}",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        return {"Cookie": reply.headers["set-cookie"].partition(";")[0]}

    def wait_for_pods(self, count: int) -> Any:
        """Return the status once it shows that many running pods."""

        def running() -> Any:
            status = self.status()
            return status if status["summary"]["running_pods"] == count else None

        return wait_for(
            running, timeout_seconds=20, what=f"{count} running pods at the hub"
        )

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


@dataclass
class HubFactory:
    """Starts hubs on one state folder and ends them all."""

    folder: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *options: str, **environ: str) -> HubServer:
        """Start a hub that looks once a second; return it when it listens."""
        log_path = self.folder / f"hub-{len(self.started)}.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(
                [
                    program(),
                    "serve",
                    "--port",
                    "0",
                    "--interval",
                    "1",
                    "--json",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environ | environ,
            )
        self.started.append(process)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        output = process.stdout

        def line() -> str | None:
            assert process.poll() is None, log_path.read_text()
            return output.readline() or None

        announced = json.loads(
            wait_for(line, timeout_seconds=START_SECONDS, what="the hub listens")
        )
        state_dir = self.folder / "state" / "hub"
        token = environ.get("RUNPOD_HUB_TOKEN") or (state_dir / "token").read_text()
        return HubServer(
            process=process,
            url=announced["url"],
            login_url=announced["login_url"],
            token=token.strip(),
            log_path=log_path,
            state_dir=state_dir,
        )

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `runpod-hub` to its end."""
        return subprocess.run(
            [program(), *arguments],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(END_SECONDS)
            if process.stdout is not None:
                process.stdout.close()
        for log in sorted(self.folder.glob("hub-*.log")):
            print(log.read_text())  # noqa: T201  # pytest shows it with a failure


def program() -> str:
    """Return the path of the installed `runpod-hub`."""
    return str(Path(sys.executable).with_name("runpod-hub"))


def isolated_environ(folder: Path) -> dict[str, str]:
    """Return an environment without anybody's settings."""
    kept = {
        key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ
    }
    return kept | {
        "XDG_CONFIG_HOME": str(folder / "config"),
        "RUNPOD_STATE_DIR": str(folder / "state"),
    }


@pytest.fixture
def lone_hubs(tmp_path: Path) -> Iterator[HubFactory]:
    """Hubs without a RunPod: their variables name none."""
    factory = HubFactory(tmp_path, isolated_environ(tmp_path))
    yield factory
    factory.close()


@pytest.fixture
def hubs(lone_hubs: HubFactory, sim: SimServer) -> HubFactory:
    """Hubs of the simulator's account."""
    lone_hubs.environ.update(sim.env)
    return lone_hubs


@dataclass(frozen=True)
class Fleet:
    """A simulator with two running pods and a hub that has seen them."""

    sim: SimServer
    hub: HubServer
    pod_ids: tuple[str, str]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for all tests of a module that only read it."""
    folder = tmp_path_factory.mktemp("fleet")
    with serving(folder) as sim:
        pod_ids = (rent_pod(sim, "alpha"), rent_pod(sim, "beta"))
        factory = HubFactory(folder, isolated_environ(folder) | dict(sim.env))
        try:
            hub = factory.start()
            hub.wait_for_pods(2)
            yield Fleet(sim, hub, pod_ids)
        finally:
            factory.close()


def rent_pod(sim: SimServer, name: str) -> str:
    """Rent a pod at the simulator, as anybody else would; return its id."""
    answer = sim.graphql(
        "mutation($input: PodFindAndDeployOnDemandInput)"
        " { podFindAndDeployOnDemand(input: $input) { id } }",
        input={
            "name": name,
            "imageName": "runpod/base",
            "gpuTypeId": "NVIDIA L4",
            "ports": "22/tcp",
        },
    )
    return str(answer["data"]["podFindAndDeployOnDemand"]["id"])
