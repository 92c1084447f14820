"""Renting pods of a served simulator over GraphQL and running commands in them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from support.sim import SimServer
from support.waiting import wait_for

DEPLOY = """
mutation($input: PodFindAndDeployOnDemandInput) {
  podFindAndDeployOnDemand(input: $input) { id machineId machine { podHostId } env }
}
"""
GPU_TYPE = "NVIDIA L4"
SSH_SECONDS = 30


@dataclass(frozen=True)
class RunningPod:
    """A pod whose SSH port is known."""

    id: str
    port: int
    identity: Path

    def ssh_command(self, *command: str) -> list[str]:
        """Return the OpenSSH client's command line."""
        options = (
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
        )
        flags = [part for option in options for part in ("-o", option)]
        return [
            "ssh", "-F", "none", "-p", str(self.port), "-i", str(self.identity),
            *flags, "root@127.0.0.1", *command,
        ]  # fmt: skip

    def run(self, command: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the pod."""
        return subprocess.run(
            self.ssh_command(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SSH_SECONDS,
            check=False,
        )


@dataclass(frozen=True)
class Pods:
    """Rents pods of one simulator."""

    sim: SimServer
    identity: Path
    public_key: str

    def deploy(self, **given: Any) -> str:
        """Rent a pod and return its id."""
        wanted = {
            "name": "test",
            "imageName": "runpod/base",
            "gpuTypeId": GPU_TYPE,
            "ports": "8188/http,22/tcp",
            "env": [{"key": "PUBLIC_KEY", "value": self.public_key}],
        }
        answer = self.sim.graphql(DEPLOY, input=wanted | given)
        return str(answer["data"]["podFindAndDeployOnDemand"]["id"])

    def get(self, pod_id: str) -> dict[str, Any]:
        """Return a pod as GraphQL shows it."""
        answer = self.sim.graphql(
            "query($id: String!) { pod(input: {podId: $id}) { desiredStatus podType"
            " lastStatusChange costPerHr uptimeSeconds gpuCount name imageName"
            " runtime { uptimeInSeconds ports"
            " { ip isIpPublic privatePort publicPort type } } } }",
            id=pod_id,
        )
        pod = answer["data"]["pod"]
        assert isinstance(pod, dict), answer
        return pod

    def find_port(self, pod_id: str) -> int | None:
        """Return the public port of the pod's SSH server, None while it has none."""
        ports = (self.get(pod_id)["runtime"] or {}).get("ports") or ()
        return next((p["publicPort"] for p in ports if p["privatePort"] == 22), None)

    def wait_until_up(self, pod_id: str) -> RunningPod:
        """Return the pod once its SSH port is mapped."""
        port = wait_for(lambda: self.find_port(pod_id), what="the pod's SSH port")
        return RunningPod(pod_id, port, self.identity)

    def start(self, **given: Any) -> RunningPod:
        """Rent a pod and return it once its SSH port is mapped."""
        return self.wait_until_up(self.deploy(**given))

    def call(self, field: str, pod_id: str, **given: Any) -> dict[str, Any]:
        """Call a mutation that takes a pod's id, and return the whole answer."""
        types = {"podTerminate": "PodTerminateInput!", "podStop": "PodStopInput!"}
        types |= {"podResume": "PodResumeInput!", "podBidResume": "PodBidResumeInput!"}
        types |= {"podResumeZeroGpu": "podResumeZeroGpuInput!"}
        types |= {"podReset": "PodResetInput!", "podEditName": "PodEditNameInput!"}
        types |= {"podEditJob": "PodEditJobInput!"}
        selection = "" if field == "podTerminate" else "{ id desiredStatus gpuCount }"
        return self.sim.graphql(
            f"mutation($input: {types[field]}) {{ {field}(input: $input) {selection} }}",
            input={"podId": pod_id, **given},
        )

    def wait_until_idle(self) -> None:
        """Return once every machine has done what the platform decided."""
        wait_for(
            lambda: not self.sim.world()["busy"],
            timeout_seconds=20,
            what="the machines to be done",
        )


def make_identity(folder: Path) -> tuple[Path, str]:
    """Return a fresh private key's path and its public line."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="tests")
    path = folder / "identity"
    path.write_bytes(key.export_private_key("openssh"))
    path.chmod(0o600)
    return path, key.export_public_key("openssh").decode().strip()


@pytest.fixture
def pods(sim: SimServer, tmp_path: Path) -> Pods:
    """Rent pods of the test's simulator."""
    identity, public_key = make_identity(tmp_path)
    return Pods(sim, identity, public_key)
