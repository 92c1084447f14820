"""The promises of runpod-client's speed; needs scripts/bootstrap --sdk."""

import contextlib
import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.measures import (
    COMMAND_SECONDS,
    BenchError,
    Measure,
    medians,
    read,
    timed,
)

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / ".venv" / "bin"
SDK_BIN = ROOT / ".venv-sdk" / "bin"
LISTED_PODS = 100
MANY_PODS = 5000

LIST_AND_DIFF = """
import os, time
from runpod_client import Tracker, open_client
from runpod_client.config import ClientSettings, load

settings = load(ClientSettings, section="client", environ=os.environ).settings
with open_client(settings) as client:
    tracker = Tracker()
    tracker.observe(client.list_pods())
    started = time.process_time()
    pods = client.list_pods()
    listed = time.process_time()
    changes = tracker.observe(pods)
    print(len(pods), listed - started, time.process_time() - listed)
"""


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A simulator of our own and the variables that point tools at it."""

    environ: Mapping[str, str]

    def read(self, path: str) -> dict[str, Any]:
        """Return what the simulator tells of itself."""
        url = f"{self.environ['RUNPOD_API_BASE_URL']}/_sim/{path}"
        with urlopen(url, timeout=COMMAND_SECONDS) as answer:  # noqa: S310  # loopback
            told: dict[str, Any] = json.load(answer)
        return told

    def add_pods(self, count: int) -> None:
        """Let the account have that many more pods."""
        body = {"count": count, "key": self.environ["RUNPOD_API_KEY"]}
        request = Request(  # noqa: S310  # a loopback address
            f"{self.environ['RUNPOD_API_BASE_URL']}/_sim/pods",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=COMMAND_SECONDS) as answer:  # noqa: S310
            answer.read()


@contextlib.contextmanager
def simulated(folder: Path) -> Iterator[Simulator]:
    """Start a simulator; it ends with the block, and its pods with it."""
    process = subprocess.Popen(
        [str(BIN / "runpod-sim"), "serve", "--json", "--seed", "1",
         "--pull-seconds", "0.1", "--ports-seconds", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        printed = json.loads(process.stdout.readline() if process.stdout else "")
        home = folder / "home"
        # the official command line reads its key from this file alone
        (home / ".runpod").mkdir(parents=True)
        (home / ".runpod" / "config.toml").write_text(
            f'[default]\napi_key = "{printed["RUNPOD_API_KEY"]}"\n'
        )
        yield Simulator(
            environ={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_RUNTIME_DIR": str(home),
                "RUNPOD_STATE_DIR": str(folder / "state"),
                **printed,
            }
        )
    finally:
        process.terminate()
        process.wait(COMMAND_SECONDS)


def list_steps(
    folder: Path, runs: int
) -> Iterator[tuple[str, Callable[[], list[Measure]]]]:
    """Yield the steps by name, while a simulator runs for them."""
    with simulated(folder) as simulator:
        yield "help", lambda: [_measure_help(simulator, runs)]
        yield "list", lambda: [_measure_list(simulator, runs)]
        yield "many", lambda: _measure_many(simulator, max(runs // 3, 3))


def _measure_help(simulator: Simulator, runs: int) -> Measure:
    """What `--help` costs beside a Python that does nothing."""
    plain, ours = medians(
        runs,
        timed([str(BIN / "python"), "-c", "pass"], simulator.environ),
        timed([str(BIN / "runpod-client"), "--help"], simulator.environ),
    )
    return Measure(
        name="runpod-client --help / python -c pass",
        value=ours / plain,
        bar=4.0,
        unit="x",
        detail=f"{ours * 1000:.0f} ms / {plain * 1000:.0f} ms",
    )


def _measure_list(simulator: Simulator, runs: int) -> Measure:
    """What listing pods costs beside RunPod's own command line."""
    name = f"runpod-client pods list / runpod pod list, {LISTED_PODS} pods"
    if not (SDK_BIN / "runpod").exists():
        why = "RunPod's own program is not here; install it: scripts/bootstrap --sdk"
        return Measure(name=name, value=None, bar=0.15, unit="x", detail=why)
    simulator.add_pods(LISTED_PODS)
    theirs, ours = medians(
        runs,
        timed([str(SDK_BIN / "runpod"), "pod", "list"], simulator.environ),
        timed([str(BIN / "runpod-client"), "pods", "list"], simulator.environ),
    )
    return Measure(
        name=name,
        value=ours / theirs,
        bar=0.15,
        unit="x",
        detail=f"{ours * 1000:.0f} ms / {theirs * 1000:.0f} ms",
    )


def _measure_many(simulator: Simulator, runs: int) -> list[Measure]:
    """The processor time of listing, parsing and comparing very many pods."""
    simulator.add_pods(MANY_PODS)
    return [
        _measure_many_over(simulator, runs, wire) for wire in ("graphql", "rest_v2")
    ]


def _measure_many_over(simulator: Simulator, runs: int, dialect: str) -> Measure:
    taken = []
    parts = ""
    for _ in range(runs):
        told = read(
            [str(BIN / "python"), "-c", LIST_AND_DIFF],
            {**simulator.environ, "RUNPOD_DIALECT": dialect},
        )
        count, listed, compared = told.split()
        if int(count) < MANY_PODS:
            raise BenchError(f"only {count} pods were listed")
        taken.append(float(listed) + float(compared))
        parts = f"listed and parsed {listed[:5]} s, compared {compared[:5]} s"
    return Measure(
        name=f"{MANY_PODS} pods listed, parsed and compared, over {dialect}",
        value=statistics.median(taken),
        bar=0.5,
        unit="s CPU",
        detail=parts,
    )
