"""What the Jenkins steps run in an agent's shell, with the variables they set.

The Groovy around it is exercised by tests/agreement/jenkins_agreement.py, where there is
a Groovy.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from support.ci_desk import GPU, IMAGE, live_pods, make_machine
from support.sim import SimServer, serving
from support.waiting import wait_for

LIBRARY = Path(__file__).parents[2] / "integrations" / "jenkins"
BUILDS = count(3001)
SECONDS = 90


class Build:
    """The variables gpuPod sets, and its three shell steps."""

    def __init__(self, sim: SimServer, folder: Path) -> None:
        self.sim = sim
        number = next(BUILDS)
        self.pod = f"gpu-{number}-1-1"
        machine = make_machine(sim, folder)
        self.env = {
            **{k: v for k, v in machine.env.items() if "GITHUB" not in k},
            "GPU_POD": self.pod,
            "GPU_POD_RUN": f"jenkins/team-train/{number}/1",
            "GPU_POD_NAME": "gpu",
            "GPU_POD_GPU": f"\n{GPU}\n",
            "GPU_POD_GPU_COUNT": "1",
            "GPU_POD_MIN_MEMORY": "",
            "GPU_POD_MAX_PRICE": "1.00",
            "GPU_POD_SPOT": "true",
            "GPU_POD_IMAGE": IMAGE,
            "GPU_POD_LEASE": "1h",
            "GPU_POD_TIMEOUT": "60",
        }

    def start(self, step: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", LIBRARY / "resources" / f"gpu-pod-{step}.sh"],
            env={**self.env, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def execute(self, step: str, **variables: str) -> tuple[int, str, str]:
        process = self.start(step, **variables)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def shared_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    with serving(tmp_path_factory.mktemp("sim")) as server:
        yield server


@pytest.fixture
def build(shared_sim: SimServer, tmp_path: Path) -> Iterator[Build]:
    made = Build(shared_sim, tmp_path)
    yield made
    made.execute("down")


def test_pod_is_rented_used_and_ended(build: Build) -> None:
    rented = build.execute("up")
    ran = build.execute("sh", GPU_POD_COMMAND="echo 'a  b'\nfalse\necho never")
    status = build.execute("sh", GPU_POD_COMMAND="exit 7")
    ended = build.execute("down")

    assert rented[0] == 0, rented[2]
    assert ran[:2] == (1, "a  b\n"), ran[2]
    assert status[0] == 7
    assert ended[0] == 0, ended[2]
    assert build.pod not in live_pods(build.sim)
    assert build.execute("down")[0] == 0
    assert build.execute("sh", GPU_POD_COMMAND="true")[0] == 255


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_aborted_step_gives_its_pod_back(build: Build, number: signal.Signals) -> None:
    process = build.start("up")
    wait_for(
        lambda: build.pod in live_pods(build.sim), timeout_seconds=30, what="the pod"
    )

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert build.pod not in live_pods(build.sim)


def test_every_variable_the_scripts_read_is_set_by_the_groovy() -> None:
    groovy = "".join(p.read_text() for p in (LIBRARY / "vars").glob("*.groovy"))
    scripts = "".join(p.read_text() for p in (LIBRARY / "resources").glob("*.sh"))

    read = set(re.findall(r"\$(GPU_POD[A-Z_]*)", scripts))

    assert read == set(re.findall(r'"(GPU_POD[A-Z_]*)=', groovy))
