import json
import os
import subprocess
from pathlib import Path

import pytest

from support.sim import SimServer

ROOT = Path(__file__).resolve().parents[2]
MAKE = (
    "python3 -m venv .venv-sdk && .venv-sdk/bin/pip install --require-hashes"
    " --no-deps -r tests/sdk/requirements.lock"
)
SESSION_SECONDS = 90

pytestmark = pytest.mark.sdk


def sdk_python() -> str:
    named = os.environ.get("RUNPOD_SDK_PYTHON")
    python = Path(named) if named else ROOT / ".venv-sdk" / "bin" / "python"
    if not python.exists():
        pytest.fail(f"RunPod's SDK is not there; make it with: {MAKE}")
    return str(python)


def test_unmodified_sdk_takes_a_pod_through_its_whole_life(sim: SimServer) -> None:
    ended = subprocess.run(
        [sdk_python(), str(ROOT / "tests" / "sdk" / "session.py")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": sim.state_dir,
            "RUNPOD_API_BASE_URL": sim.base_url,
            "RUNPOD_API_KEY": sim.env["RUNPOD_API_KEY"],
        },
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said.pop("gpu_count") > 10
    assert said == {
        "pub_key": "ssh-ed25519 AAAAC3Nza sdk",
        "env": ["A=1", "PUBLIC_KEY=ssh-ed25519 AAAAC3Nza sdk"],
        "listed": [True],
        "got": "RUNNING",
        "stopped": "EXITED",
        "resumed": "RUNNING",
        "left": [],
        "gone": None,
        "no_capacity": "There are no longer any instances available with the requested"
        " specifications. Please refresh and try again.",
        "unknown_gpu": "No GPU found with the specified ID, run runpod.get_gpus() to"
        " get a list of all GPUs",
        "cpu_pod": 2,
    }
