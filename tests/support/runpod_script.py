"""Enough of RunPod's GraphQL wire to misbehave on purpose; for good behaviour: `sim`.

It keeps pods as the wire shows them. Before an operation is carried out, and after,
a test's scripted answers may take the place of the true one.
"""

import itertools
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_client import ClientSettings, Pace, Patience, RunPodClient, Secret
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.identities import IdentityStore
from runpod_client.intents import Journal
from runpod_client.transport import Repetition, Transport
from support.clock import FakeTime
from support.http_server import Answer, Asked, ScriptedServer, json_answer

API_KEY = "rpa_planted0secret0value"
SSH_ADDRESS = ("203.0.113.7", 10341)
CUT = Answer(body=b'{"data":', cut=4)

GPU_TYPES = [
    ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, 0.20, "High"),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 3.29, 2.69, None, "Low"),
    ("NVIDIA L4", "L4", 24, 0.49, None, None, "None"),
]


def refusal(message: str, code: str = "", path: str = "created") -> Answer:
    extensions = {"code": code} if code else {}
    errors = [{"message": message, "path": [path], "extensions": extensions}]
    return json_answer({"errors": errors, "data": {path: None}})


OUT_OF_STOCK = refusal(
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again.",
    "SUPPLY_CONSTRAINT",
)


class RunPodScript:
    """A made-up account behind a `ScriptedServer`.

    Attributes:
        instead: Per operation, answers given without carrying it out.
        after: Per operation, answers given after carrying it out.
        hidden_listings: How many listings do not show new pods yet.
        address: Where the SSH server of the pods made here is.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.pods: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.instead: dict[str, list[Answer]] = {}
        self.after: dict[str, list[Answer]] = {}
        self.hidden_listings = 0
        self.address = SSH_ADDRESS
        self._numbers = itertools.count(1)
        server.script = self.answer

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != f"Bearer {API_KEY}":
            return Answer(status=401, body=b"{}")
        operation = asked.json["operationName"]
        self.counts[operation] += 1
        if self.instead.get(operation):
            return self.instead[operation].pop(0)
        wanted = asked.json.get("variables", {})
        handlers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "createPod": self.create,
            "createSpotPod": self.create,
            "listPods": lambda _wanted: {"myself": {"pods": self.listed()}},
            "findPod": lambda w: {"pod": self.pods.get(w["input"]["podId"])},
            "startPod": lambda w: self.become(w, "RUNNING"),
            "startSpotPod": lambda w: self.become(w, "RUNNING"),
            "startPodWithoutGpus": lambda w: self.become(w, "RUNNING"),
            "stopPod": lambda w: self.become(w, "EXITED"),
            "terminatePod": self.terminate,
            "renamePod": self.rename,
            "editPod": lambda w: self.become(w, "RUNNING"),
            "listGpuTypes": lambda _wanted: {
                "gpuTypes": gpu_type_rows(),
                "dataCenters": [],
            },
            "getAccount": lambda _wanted: {"myself": account_row()},
        }
        try:
            data = handlers[operation](wanted)
        except KeyError:
            return refusal("pod not found to terminate", "POD_NOT_FOUND")
        if self.after.get(operation):
            return self.after[operation].pop(0)
        return json_answer({"data": data})

    def create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        ask = wanted["input"]
        pod_id = f"pod{next(self._numbers):011d}"
        self.pods[pod_id] = pod_row(
            pod_id,
            ask["name"],
            env=[f"{e['key']}={e['value']}" for e in ask["env"]],
            gpu_type=ask["gpuTypeId"],
            is_secure=ask["cloudType"] != "COMMUNITY",
            address=self.address,
        )
        return {"created": self.pods[pod_id]}

    def listed(self) -> list[dict[str, Any]]:
        if self.hidden_listings:
            self.hidden_listings -= 1
            return []
        return list(self.pods.values())

    def become(self, wanted: dict[str, Any], desired: str) -> dict[str, Any]:
        pod = self.pods[wanted["input"]["podId"]]
        pod["desiredStatus"] = desired
        return {"changed": pod}

    def rename(self, wanted: dict[str, Any]) -> dict[str, Any]:
        pod = self.pods[wanted["input"]["podId"]]
        pod["name"] = wanted["input"]["name"]
        return {"podEditName": pod}

    def terminate(self, wanted: dict[str, Any]) -> dict[str, Any]:
        self.pods.pop(wanted["input"]["podId"])
        return {"podTerminate": None}


def pod_row(
    pod_id: str,
    name: str,
    *,
    env: list[str] | None = None,
    gpu_type: str = "NVIDIA GeForce RTX 4090",
    desired: str = "RUNNING",
    has_runtime: bool = True,
    is_secure: bool = True,
    address: tuple[str, int] = SSH_ADDRESS,
) -> dict[str, Any]:
    runtime = {
        "uptimeInSeconds": 61,
        "ports": [
            {
                "ip": address[0],
                "isIpPublic": True,
                "privatePort": 22,
                "publicPort": address[1],
                "type": "tcp",
            },
            {
                "ip": "100.65.0.9",
                "isIpPublic": False,
                "privatePort": 8188,
                "publicPort": 60141,
                "type": "http",
            },
        ],
        "gpus": [{"id": "GPU-1", "gpuUtilPercent": 7, "memoryUtilPercent": 3}],
    }
    return {
        "id": pod_id,
        "name": name,
        "desiredStatus": desired,
        "lastStatusChange": "Rented by User: Sun Nov 01 2026 00:00:00 GMT+0000",
        "imageName": "img",
        "gpuCount": 1,
        "costPerHr": 0.69,
        "adjustedCostPerHr": 0.69,
        "createdAt": "2026-11-01T00:00:00Z",
        "lastStartedAt": "2026-11-01T00:00:01.500Z",
        "machineId": "hpvdausak8xb",
        "podType": "RESERVED",
        "env": env or [],
        "ports": "22/tcp,8188/http",
        "volumeInGb": 10,
        "containerDiskInGb": 20,
        "memoryInGb": 62,
        "vcpuCount": 8.5,
        "locked": False,
        "machine": {
            "podHostId": f"{pod_id}-64410065",
            "gpuTypeId": gpu_type,
            "gpuDisplayName": gpu_type,
            "secureCloud": is_secure,
            "dataCenterId": "EU-RO-1",
        },
        "runtime": runtime if has_runtime else None,
    }


def gpu_type_rows() -> list[dict[str, Any]]:
    rows = [
        {
            "id": gpu_type,
            "displayName": name,
            "memoryInGb": memory_gb,
            "secureCloud": secure is not None,
            "communityCloud": community is not None,
            "securePrice": secure,
            "communityPrice": community or 0,
            "maxGpuCountSecureCloud": 8,
            "maxGpuCountCommunityCloud": 4,
            "secure": price_row(secure, bid, stock),
            "community": price_row(community, bid, stock),
        }
        for gpu_type, name, memory_gb, secure, community, bid, stock in GPU_TYPES
    ]
    return [{"id": "unknown", "displayName": "unknown"}, *rows]


def price_row(
    on_demand: float | None, bid: float | None, stock: str
) -> dict[str, Any] | None:
    if on_demand is None:
        return None
    return {
        "minimumBidPrice": bid,
        "uninterruptablePrice": on_demand,
        "stockStatus": stock,
    }


def account_row() -> dict[str, Any]:
    return {
        "id": "user_1",
        "clientBalance": 12.3456,
        "currentSpendPerHr": 0.69,
        "spendLimit": 80,
    }


@pytest.fixture
def runpod(http_server: ScriptedServer) -> RunPodScript:
    """Return a scripted RunPod."""
    return RunPodScript(http_server)


class _Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-test\r\n")


@pytest.fixture
def greeting(runpod: RunPodScript) -> Iterator[None]:
    """Let the pods made by the scripted RunPod have a server that greets as sshd."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Greeter) as server:
        runpod.address = ("127.0.0.1", server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def client(
    runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> Iterator[RunPodClient]:
    """Return a client of the scripted RunPod, with its state in `tmp_path`."""
    with make_client(runpod.server.base_url, tmp_path, fake_time) as made:
        yield made


def make_client(
    base_url: str,
    state_dir: Path,
    fake_time: FakeTime,
    *,
    journal: Journal | None = None,
) -> RunPodClient:
    transport = Transport(
        base_url=base_url,
        api_key=Secret(API_KEY),
        timeout_seconds=5,
        repetition=Repetition(initial_seconds=0.01, jitter_seconds=0.0),
    )
    return RunPodClient(
        GraphQLCloud(transport),
        journal or Journal(state_dir),
        IdentityStore(state_dir / "identities"),
        owner=lambda: "tester",
        patience=Patience(listings=3, pause_seconds=2, abandon_after_seconds=90),
        pace=Pace(clock=fake_time.clock, sleep=fake_time.sleep, now=fake_time.now),
    )


def environ_for(base_url: str, state_dir: Path) -> dict[str, str]:
    """Return the environment that points a tool at a scripted RunPod."""
    return {
        "RUNPOD_API_BASE_URL": base_url,
        "RUNPOD_API_KEY": API_KEY,
        "RUNPOD_DIALECT": "graphql",
        "RUNPOD_STATE_DIR": str(state_dir),
    }


def settings_for(base_url: str, state_dir: Path) -> ClientSettings:
    return ClientSettings(
        api_key=Secret(API_KEY),
        api_url=base_url,
        dialect="graphql",
        state_dir=state_dir,
    )
