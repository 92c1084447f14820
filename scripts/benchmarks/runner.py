"""The promises of runner-installer's speed at demand, against served simulators.

The receiver is asked with deliveries that are signed and told beforehand; the time from
a delivery to the create call is taken where the call passes on its way to RunPod; and
runners are counted where GitHub lists them as online, installed over SSH for real.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from benchmarks.measures import BenchError, Measure

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / ".venv" / "bin"
SECRET = "bench-secret-of-webhooks"  # noqa: S105  # of a bench on loopback
CONNECTIONS = 8
DELIVERIES = 6000
# RunPod's quota allows no more creates in so short a time
LATENCIES, WARM_UPS = 24, 3
PODS, RUNNERS_PER_POD = 6, 5
WAIT_SECONDS = 100.0
_CREATES = (b"podFindAndDeployOnDemand", b"podRentInterruptable", b"POST /v2/pods ")

RECEIVER = """
import asyncio, sys
from datetime import UTC, datetime
from runner_installer.demand import Board
from runner_installer.model import parse_scope
from runner_installer.pools import Pool
from runner_installer.webhook_server import Receiver, listen, served
from runner_installer.webhooks import Inbox
from runpod_client import Secret

async def main():
    now = lambda: datetime.now(UTC)
    pool = Pool(name="gpu", scope=parse_scope("acme/widgets"), labels=("gpu",))
    board = Board([pool], now=now)
    listener = listen("127.0.0.1", 0, allow_remote=False)
    receiver = Receiver(board, Inbox([Secret(sys.argv[1])], now=now))
    async with served(receiver, listener) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(receiver.taken, len(board.list_waiting(pool)), flush=True)

asyncio.run(main())
"""


def list_steps(
    folder: Path, _runs: int
) -> Iterator[tuple[str, Callable[[], list[Measure]]]]:
    """Yield the steps by name."""
    yield "webhooks", lambda: [measure_receiver()]
    yield "latency", lambda: [measure_latency(folder / "latency")]
    yield "runners", lambda: [measure_runners(folder / "runners")]


def measure(folder: Path) -> list[Measure]:
    """Return every measure of this module."""
    return [one for _, step in list_steps(folder, 1) for one in step()]


def render_delivery(job_id: int, *, host: str = "127.0.0.1") -> bytes:
    """Return a whole signed request that tells of a queued job."""
    now = datetime.now(UTC).isoformat()
    steps = [{"name": f"step {n}", "status": "queued", "number": n} for n in range(20)]
    body = json.dumps(
        {
            "action": "queued",
            "workflow_job": {
                "id": job_id,
                "run_id": job_id,
                "run_attempt": 1,
                "name": "train",
                "workflow_name": "bench",
                "status": "queued",
                "labels": ["gpu"],
                "created_at": now,
                "started_at": now,
                "completed_at": None,
                "runner_name": None,
                "steps": steps,
            },
            "repository": {"full_name": "acme/widgets", "description": "x" * 4000},
        }
    ).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    lines = [
        "POST /webhook HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "X-GitHub-Event: workflow_job",
        f"X-GitHub-Delivery: bench-{job_id}",
        f"X-Hub-Signature-256: sha256={digest}",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


async def _send(port: int, requests: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 202 " not in head.partition(b"\r\n")[0]:
            raise BenchError(f"a delivery was not taken: {head[:60]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        await reader.readexactly(length)
    writer.close()


def measure_receiver() -> Measure:
    """How many deliveries a second are checked, read and on the board."""
    requests = [render_delivery(number) for number in range(DELIVERIES)]
    with subprocess.Popen(
        [str(BIN / "python"), "-c", RECEIVER, SECRET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if process.stdout is None or process.stdin is None:
                raise BenchError("the receiver has no pipes")
            port = urlsplit(process.stdout.readline().strip()).port or 0

            async def fire() -> float:
                began = time.perf_counter()
                parts = [requests[n::CONNECTIONS] for n in range(CONNECTIONS)]
                await asyncio.gather(*(_send(port, part) for part in parts))
                return time.perf_counter() - began

            seconds = asyncio.run(fire())
            busy = _cpu_seconds(process.pid)
            process.stdin.close()
            taken, waiting = map(int, process.stdout.readline().split())
        finally:
            process.kill()
    if (taken, waiting) != (DELIVERIES, DELIVERIES):
        raise BenchError(f"of {DELIVERIES} deliveries {taken} and {waiting} arrived")
    return Measure(
        name="webhooks taken",
        value=DELIVERIES / seconds,
        bar=2000.0,
        unit="/s",
        is_floor=True,
        detail=f"{DELIVERIES} in {seconds:.2f} s over {CONNECTIONS} connections, "
        f"{busy / DELIVERIES * 1000:.2f} ms of CPU each, the start included",
    )


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used so far; it does not depend on who else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Passage:
    """A relay that notes when a request with one of these marks passes."""

    target: int
    marks: tuple[bytes, ...]
    port: int = 0
    passed: list[float] = field(default_factory=list)

    async def wait_for(self, since: float) -> float:
        """Return when the first one after a moment has passed."""
        async with asyncio.timeout(30):
            while True:
                passed = next((at for at in self.passed if at > since), None)
                if passed is not None:
                    return passed
                await asyncio.sleep(0.001)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Passage"]:
        """Relay while the block runs."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)

        async def pump(
            source: asyncio.StreamReader,
            sink: asyncio.StreamWriter,
            *,
            looks: bool = False,
        ) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    if looks and any(mark in data for mark in self.marks):
                        self.passed.append(time.perf_counter())
                    sink.write(data)
                    await sink.drain()
            sink.close()

        with contextlib.suppress(asyncio.CancelledError):  # the block has ended
            await asyncio.gather(pump(reader, back, looks=True), pump(there, writer))


@dataclass(frozen=True, kw_only=True)
class Site:
    """A simulator, and a `serve` to be run against it."""

    base_url: str
    environ: dict[str, str]
    folder: Path

    def call(self, path: str, body: Any = None) -> Any:
        """Pull a lever of the simulator."""
        request = Request(  # noqa: S310  # a loopback address
            f"{self.base_url}/_sim/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310  # loopback
            return json.load(answer)

    @contextlib.contextmanager
    def serving(self, **environ: str) -> Iterator[int]:
        """Run `serve`; yields the port of its receiver."""
        log = self.folder / "serve.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(BIN / "runner-installer"), "serve", "--yes", "--listen", "0",
                 "--log-level", "warning"],
                env=self.environ | environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while "/webhook" not in (said := log.read_text()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"serve does not begin: {said}")
                time.sleep(0.05)
            url = said.partition("webhooks at ")[2].partition("/webhook")[0]
            yield urlsplit(url).port or 0
        finally:
            process.kill()
            process.wait(30)


@contextlib.contextmanager
def opened_site(folder: Path, *, pull_seconds: float, pools: str) -> Iterator[Site]:
    """Start a simulator of our own; it and its pods end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runners.toml").write_text(pools)
    process = subprocess.Popen(
        [str(BIN / "runpod-sim"), "serve", "--json", "--seed", "1",
         "--pull-seconds", str(pull_seconds), "--ports-seconds", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        printed = json.loads(process.stdout.readline() if process.stdout else "")
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RUNPOD_STATE_DIR": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "GITHUB_WEBHOOK_SECRET": SECRET,
            **printed,
        }
        base_url = printed["RUNPOD_API_BASE_URL"]
        yield Site(base_url=base_url, environ=environ, folder=folder)
    finally:
        process.terminate()
        process.wait(60)


def measure_latency(folder: Path) -> Measure:
    """From a delivery's first byte to the create call on its way to RunPod."""
    pools = _render_pool(most=LATENCIES + 20, per_pod=1)
    with opened_site(folder, pull_seconds=3600, pools=pools) as site:
        times = asyncio.run(_take_latencies(site))
    worst = statistics.quantiles(times, n=20)[-1]
    return Measure(
        name="webhook to create call, p95",
        value=worst * 1000,
        bar=100.0,
        unit="ms",
        detail=f"{len(times)} jobs one after the other, "
        f"median {statistics.median(times) * 1000:.0f} ms",
    )


async def _take_latencies(site: Site) -> list[float]:
    """Queue jobs at GitHub one by one; time from its webhook to the create call."""
    target = urlsplit(site.base_url).port or 0
    async with Passage(target=target, marks=_CREATES).opened() as creates:
        through = f"http://127.0.0.1:{creates.port}"
        api = site.environ["RUNPOD_API_BASE_URL"]
        renamed = {
            key: value.replace(api, through)
            for key, value in site.environ.items()
            if key.startswith("RUNPOD_")
        }
        with site.serving(**renamed) as port:
            hooks = Passage(target=port, marks=(b"POST /webhook",))
            async with hooks.opened():
                times = await _queue_jobs(site, hooks, creates)
    # the first ones plan, and open connections
    return times[WARM_UPS:]


async def _queue_jobs(site: Site, hooks: Passage, creates: Passage) -> list[float]:
    url = f"http://127.0.0.1:{hooks.port}/webhook"
    hook = {"scope": "acme/widgets", "url": url, "secret": SECRET}
    await asyncio.to_thread(site.call, "github/hooks", hook)
    job = {"repository": "acme/widgets", "name": "n", "labels": ["gpu"], "script": ":"}
    times = []
    for _ in range(LATENCIES + WARM_UPS):
        began = time.perf_counter()
        await asyncio.to_thread(site.call, "github/jobs", job)
        told = await hooks.wait_for(began)
        # where a GPU is out of stock the next is asked for: the first call counts
        times.append(await creates.wait_for(told) - told)
        await asyncio.sleep(0.5)
    return times


def measure_runners(folder: Path) -> Measure:
    """Runners online a minute: rented, booted, installed over SSH, registered."""
    wanted = PODS * RUNNERS_PER_POD
    pools = _render_pool(most=wanted, per_pod=RUNNERS_PER_POD)
    with (
        opened_site(folder, pull_seconds=0.1, pools=pools) as site,
        site.serving(RUNNER_TICK_SECONDS="2") as port,
    ):
        url = f"http://127.0.0.1:{port}/webhook"
        hook = {"scope": "acme/widgets", "url": url, "secret": SECRET}
        site.call("github/hooks", hook)
        job = {"repository": "acme/widgets", "name": "n", "labels": ["gpu"]}
        began = time.perf_counter()
        for _ in range(wanted):
            site.call("github/jobs", {**job, "script": "sleep 120"})
        online, seconds = 0, 0.0
        while online < wanted and seconds < WAIT_SECONDS:
            time.sleep(0.25)
            listed = site.call("github/state")["runners"]
            online = sum(runner["status"] == "online" for runner in listed)
            seconds = time.perf_counter() - began
    return Measure(
        name="runners brought online",
        value=online / seconds * 60,
        bar=180.0,
        unit="/min",
        is_floor=True,
        detail=f"{online} on {PODS} pods in {seconds:.1f} s",
    )


def _render_pool(*, most: int, per_pod: int) -> str:
    return (
        '[pools.gpu]\nrepo = "acme/widgets"\nlabels = ["gpu"]\n'
        "min_memory_gb = 16\n"
        'image = "runpod/base:0.0.0"\n'
        f"max = {most}\nrunners_per_pod = {per_pod}\n"
    )


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        named = dict(list_steps(Path(scratch), 1))
        for name in sys.argv[1:] or named:
            for found in named[name]():
                print(f"{found.name}: {found.value} {found.unit} ({found.detail})")
