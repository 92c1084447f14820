"""RunPod's own SDK against a simulator, one call after the other.

Runs in an environment that has the unmodified SDK and none of our packages. Prints what
happened as one JSON object.
"""

import json
import os
import sys
from typing import Any

import runpod  # type: ignore[import-not-found]  # in an environment of its own
from runpod import error


def refusal_of_impossible_pod() -> str:
    """Return the SDK's error for a pod that cannot be had."""
    try:
        runpod.create_pod(
            name="too-large",
            image_name="runpod/base",
            gpu_type_id="NVIDIA L4",
            gpu_count=1000,
        )
    except error.QueryError as refused:
        return str(refused)
    return "no error"


def refusal_of_unknown_gpu() -> str:
    """Return the SDK's error for a GPU type that does not exist."""
    try:
        runpod.create_pod(name="x", image_name="runpod/base", gpu_type_id="NVIDIA L5")
    except ValueError as refused:
        return str(refused)
    return "no error"


def main() -> None:
    """Use every pod call of the SDK."""
    runpod.api_key = os.environ["RUNPOD_API_KEY"]
    said: dict[str, Any] = {"gpu_count": len(runpod.get_gpus())}
    runpod.update_user_settings("ssh-ed25519 AAAAC3Nza sdk")
    said["pub_key"] = runpod.get_user()["pubKey"]
    created = runpod.create_pod(
        name="sdk",
        image_name="runpod/base",
        gpu_type_id="NVIDIA L4",
        ports="22/tcp, 8888/http",
        volume_in_gb=20,
        env={"A": "1"},
    )
    pod_id = created["id"]
    said["env"] = created["env"]
    said["listed"] = [pod["id"] == pod_id for pod in runpod.get_pods()]
    said["got"] = runpod.get_pod(pod_id)["desiredStatus"]
    said["stopped"] = runpod.stop_pod(pod_id)["desiredStatus"]
    said["resumed"] = runpod.resume_pod(pod_id, 1)["desiredStatus"]
    runpod.terminate_pod(pod_id)
    said["left"] = runpod.get_pods()
    said["gone"] = runpod.get_pod(pod_id)
    said["no_capacity"] = refusal_of_impossible_pod()
    said["unknown_gpu"] = refusal_of_unknown_gpu()
    cpu = runpod.create_pod(name="cpu", image_name="x", instance_id="cpu3c-2-4")
    said["cpu_pod"] = runpod.get_pod(cpu["id"])["vcpuCount"]
    runpod.terminate_pod(cpu["id"])
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
