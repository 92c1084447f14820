"""The promises of runpod-ssh's speed, beside OpenSSH's programs on the same sshd."""

import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.client import BIN
from benchmarks.measures import BenchError, Measure, Timed, medians, ratio, run, timed
from benchmarks.ssh_world import (
    Worker,
    World,
    end,
    read_memory_bytes,
    require_programs,
    ssh_world,
    wait_for_path,
)

MIB = 1024**2
LONG_LINK_MS = 50.0
AT_ONCE = 8
NO_BACKGROUND = {"RUNPOD_SSH_BACKGROUND": "false"}

PARALLEL_SSH = """
import sys
from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig
key, *ports = sys.argv[1:]
configs = [HostConfig(port=int(port), user="root", private_key=key) for port in ports]
client = ParallelSSHClient(["127.0.0.1"] * len(ports), host_config=configs,
                           pool_size=len(ports))
outputs = client.run_command("true")
client.join(outputs)
sys.exit(any(output.exit_code != 0 for output in outputs))
"""
# headers, then the body a moment later, as programs answer that work it out
WEB_PAGE = """
import http.server, time
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        body = b"x" * 1024
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(0.0005)
        self.wfile.write(body)
    def log_message(self, *given):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is moved and how often."""

    runs: int
    heavy_runs: int
    big_mib: int = 1024
    long_link_mib: int = 128
    files: int = 10_000
    pods: int = 200
    execs: int = 200


def list_steps(
    folder: Path, sizes: Sizes, parallel_ssh: str
) -> Iterator[tuple[str, Callable[[], list[Measure]]]]:
    """Yield the steps by name, while a simulated pod runs for them."""
    require_programs()
    with ssh_world(folder) as world:
        yield "cold", lambda: measure_cold(world, sizes)
        yield "process", lambda: measure_process(world, sizes)
        yield "warm", lambda: measure_warm(world, sizes)
        yield "long-warm", lambda: measure_warm_far(world, sizes)
        yield "fleet", lambda: measure_fleet(world, sizes, parallel_ssh)
        yield "held", lambda: measure_held(world, sizes)
        yield "big", lambda: measure_big(world, sizes)
        yield "long-big", lambda: measure_big_far(world, sizes)
        yield "small", lambda: measure_small(world, sizes)
        yield "forward", lambda: measure_forward(world, sizes)


def measure_cold(world: World, sizes: Sizes) -> list[Measure]:
    """A connection and a command, in a process that runs already."""
    with world.worker() as worker:
        theirs, ours = medians(
            sizes.runs,
            timed(world.openssh.exec("true")),
            lambda: worker.ask("cold"),
        )
    return [ratio("cold connect + exec, in process / ssh", ours, theirs, 0.4)]


def measure_process(world: World, sizes: Sizes) -> list[Measure]:
    """`runpod-ssh exec` as a person meets it: the whole process."""
    command = world.ours("exec", "bench", "--", "true")
    alone = {**world.environ, **NO_BACKGROUND}
    # the first call starts the background process
    run(command, world.environ)
    with world.master() as master:
        cold, warm, ours, one_shot = medians(
            sizes.runs,
            timed(world.openssh.exec("true")),
            timed(world.openssh.exec("true", master)),
            timed(command, world.environ),
            timed(command, alone),
        )
    return [
        ratio("runpod-ssh exec, second call / ssh", ours, cold, 0.25),
        ratio("runpod-ssh exec, second call / ssh over its master", ours, warm, 4.0),
        ratio("runpod-ssh exec, no background process / ssh", one_shot, cold, 1.4),
    ]


def measure_warm(world: World, sizes: Sizes) -> list[Measure]:
    """Commands over a link that stands."""
    with world.worker() as worker, world.master() as master:
        theirs, ours = medians(
            sizes.runs,
            timed(world.openssh.exec("true", master)),
            lambda: worker.ask("exec", count=5),
        )
        worker.ask("exec_at_once", count=sizes.execs, lanes=4)
        (mean,) = medians(
            3, lambda: worker.ask("exec_at_once", count=sizes.execs, lanes=4)
        )
    return [
        ratio(
            "exec on a warm link, in process / ssh over its master", ours, theirs, 0.6
        ),
        Measure(
            name="commands per second over one link",
            value=1 / mean,
            bar=300,
            unit="/s",
            detail=f"{sizes.execs} commands, 4 at a time; {1 / ours:.0f}/s one by one",
            is_floor=True,
        ),
    ]


def measure_warm_far(world: World, sizes: Sizes) -> list[Measure]:
    """The same, over a link with a round-trip time."""
    with (
        world.slow_link(LONG_LINK_MS) as port,
        world.worker() as worker,
        world.master(port) as master,
    ):
        theirs, ours = medians(
            sizes.runs,
            timed(world.openssh.exec("true", master, port=port)),
            lambda: worker.ask("exec", count=3, port=port),
        )
    name = f"the same over {LONG_LINK_MS:g} ms round trips"
    return [ratio(name, ours, theirs, 0.6)]


def measure_fleet(world: World, sizes: Sizes, parallel_ssh: str) -> list[Measure]:
    """One command on many pods that were never met before."""
    with world.farm(sizes.pods) as farm:
        ports = [str(port) for port in farm["ports"]]
        login = [
            "ssh", "-F", "none", "-i", farm["identity_file"], "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={farm['known_hosts']}",
        ]  # fmt: skip
        xargs = [
            "xargs",
            "-P",
            "32",
            "-I{}",
            *login,
            "-p",
            "{}",
            "root@127.0.0.1",
            "true",
        ]
        program = Path(__file__).parent / "fleet_worker.py"
        told = _to_json(farm)
        fleet = [str(BIN / "python"), str(program), told,
                 str(world.folder / "fleet_keys")]  # fmt: skip
        pssh = [parallel_ssh, "-c", PARALLEL_SSH, farm["identity_file"], *ports]
        tools: list[Timed] = [
            lambda: run(xargs, stdin="\n".join(ports)),
            timed(fleet),
        ]
        if parallel_ssh:
            tools.append(timed(pssh))
        run(fleet)  # pins the host keys, which OpenSSH was given
        times = medians(sizes.heavy_runs, *tools, warm_up=False)
    name = f"{sizes.pods} pods, one command each, cold / "
    measures = [ratio(f"{name}xargs -P 32 ssh", times[1], times[0], 0.35)]
    if parallel_ssh:
        return [*measures, ratio(f"{name}parallel-ssh", times[1], times[2], 0.85)]
    why = (
        "python -m venv D; D/bin/pip install parallel-ssh; --parallel-ssh D/bin/python"
    )
    return [
        *measures,
        Measure(name=f"{name}parallel-ssh", value=None, bar=0.85, unit="x",
                detail=f"not installed: {why}", is_optional=True),
    ]  # fmt: skip


def measure_held(world: World, sizes: Sizes) -> list[Measure]:
    """The memory of connections that stand and wait."""
    with world.farm(sizes.pods) as farm:
        given = {
            "identity_file": farm["identity_file"],
            "port": 0,
            "state_dir": str(world.folder / "held_keys"),
        }
        ours = _hold_ours(world, given, farm["ports"])
        theirs = _hold_masters(world, farm)
    return [
        Measure(
            name=f"{sizes.pods} connections held, memory / as many ssh masters",
            value=ours / theirs,
            bar=0.25,
            unit="x",
            detail=f"{ours / MIB:.0f} MiB / {theirs / MIB:.0f} MiB (PSS), "
            f"{ours / MIB / sizes.pods:.2f} MiB a link",
        )
    ]


def _hold_ours(world: World, given: dict[str, Any], ports: list[int]) -> float:
    worker = Worker(given, world.folder / "worker.log")
    try:
        return worker.ask("hold", ports=ports)
    finally:
        worker.close()


def _hold_masters(world: World, farm: dict[str, Any]) -> float:
    """Hold a master connection to each server; return their memory in bytes."""
    folder = world.folder / "masters"
    folder.mkdir(exist_ok=True)
    held: list[subprocess.Popen[bytes]] = []
    try:
        for number, port in enumerate(farm["ports"]):
            command = [
                "ssh", "-F", "none", "-i", farm["identity_file"], "-o", "BatchMode=yes",
                "-o", f"UserKnownHostsFile={farm['known_hosts']}", "-p", str(port),
                "-M", "-N", "-S", str(folder / str(number)), "root@127.0.0.1",
            ]  # fmt: skip
            held.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
            if number >= AT_ONCE:
                earlier = number - AT_ONCE
                wait_for_path(folder / str(earlier), held[earlier])
        for number, process in enumerate(held):
            wait_for_path(folder / str(number), process)
        return float(sum(read_memory_bytes(process.pid) for process in held))
    finally:
        for process in held:
            process.terminate()
        for process in held:
            end(process)


def measure_big(world: World, sizes: Sizes) -> list[Measure]:
    """A big file, both ways, whole processes."""
    source = _make_file(world.folder / "big", sizes.big_mib)
    target = world.folder / "there"
    openssh = world.openssh
    measures = []
    for word, bar, pair in (
        ("up", 0.85, (f"{source}", f":{target}")),
        ("down", 0.95, (f":{source}", f"{target}")),
    ):
        places = [f"bench{p}" if p.startswith(":") else p for p in pair]
        ours, scp, rsync = medians(
            sizes.heavy_runs,
            _fresh(timed(world.ours("copy", *places), world.environ), target),
            _fresh(timed(openssh.scp(*pair)), target),
            _fresh(timed(openssh.rsync(*pair)), target),
            warm_up=False,
        )
        run(world.ours("copy", *places), world.environ)
        _require_equal(source, target)
        target.unlink()
        best = "scp" if scp < rsync else "rsync"
        name = f"{sizes.big_mib} MiB {word} / the faster of scp and rsync -a"
        found = ratio(name, ours, min(scp, rsync), bar)
        others = f"{best} was faster; scp {scp:.2f} s, rsync {rsync:.2f} s"
        measures.append(_with_detail(found, others))
    source.unlink()
    return measures


def measure_big_far(world: World, sizes: Sizes) -> list[Measure]:
    """A file over a long link."""
    source = _make_file(world.folder / "far", sizes.long_link_mib)
    target = world.folder / "there"
    measures = []
    with world.slow_link(LONG_LINK_MS) as port, world.worker() as worker:
        for word, bar in (("up", 0.4), ("down", 0.35)):
            if word == "up":
                scp = world.openssh.scp(str(source), f":{target}", port=port)
                given = {"do": "upload", "local": str(source), "remote": str(target)}
            else:
                scp = world.openssh.scp(f":{source}", str(target), port=port)
                given = {"do": "download", "remote": str(source), "local": str(target)}
            ask = functools.partial(worker.ask, **given, port=port, cold=True)
            ours, theirs = medians(
                sizes.heavy_runs,
                _fresh(ask, target),
                _fresh(timed(scp), target),
                warm_up=False,
            )
            ask()
            _require_equal(source, target)
            target.unlink()
            name = f"{sizes.long_link_mib} MiB {word} over {LONG_LINK_MS:g} ms / scp"
            measures.append(ratio(name, ours, theirs, bar))
    source.unlink()
    return measures


def measure_small(world: World, sizes: Sizes) -> list[Measure]:
    """Many small files, both ways, as one command and over a link that stands."""
    tree = _make_tree(world.folder / "tree", sizes.files)
    target = world.folder / "there"
    openssh, name = world.openssh, f"{sizes.files} files of 4 KiB"
    measures = []
    with world.worker() as worker:
        for word, one_shot_bar, warm_bar in (("up", 1.0, 0.7), ("down", 0.8, 0.5)):
            if word == "up":
                places = (str(tree), f"bench:{target}")
                rsync = openssh.rsync(f"{tree}/", f":{target}/")
                given = {"do": "upload", "local": str(tree), "remote": str(target)}
            else:
                places = (f"bench:{tree}", str(target))
                rsync = openssh.rsync(f":{tree}/", f"{target}/")
                given = {"do": "download", "remote": str(tree), "local": str(target)}
            ask = functools.partial(worker.ask, **given)
            theirs, one_shot, warm = medians(
                sizes.heavy_runs,
                _fresh(timed(rsync), target),
                _fresh(timed(world.ours("copy", *places), world.environ), target),
                _fresh(ask, target),
            )
            ask()
            _require_equal(tree, target)
            shutil.rmtree(target)
            measures += [
                ratio(
                    f"{name} {word}, one-shot / rsync -a",
                    one_shot,
                    theirs,
                    one_shot_bar,
                ),
                ratio(f"{name} {word}, warm / rsync -a", warm, theirs, warm_bar),
            ]
        worker.ask("sync", local=str(tree), remote=str(target))
        theirs, ours = medians(
            sizes.heavy_runs + 2,
            timed(openssh.rsync(f"{tree}/", f":{target}/")),
            lambda: worker.ask("sync", local=str(tree), remote=str(target)),
        )
        _require_equal(tree, target)
    measures.append(
        ratio(f"{name}, nothing changed, sync warm / rsync -a", ours, theirs, 0.4)
    )
    shutil.rmtree(tree)
    shutil.rmtree(target)
    return measures


def measure_forward(world: World, sizes: Sizes) -> list[Measure]:
    """A web page of the pod, fetched again and again through a tunnel."""
    with ExitStack() as stack:
        web = subprocess.Popen(
            [str(BIN / "python"), "-c", WEB_PAGE], stdout=subprocess.PIPE, text=True
        )
        stack.callback(end, web)
        port = int(web.stdout.readline()) if web.stdout else 0
        worker = stack.enter_context(world.worker())
        ours = int(worker.ask("forward", to_port=port))
        theirs = _free_port()
        tunnel = subprocess.Popen(
            world.openssh.ssh("-N", "-L", f"127.0.0.1:{theirs}:127.0.0.1:{port}"),
            stdin=subprocess.DEVNULL,
        )
        stack.callback(end, tunnel)
        pages = [stack.enter_context(_Page(found)) for found in (ours, theirs, port)]
        # a new connection is acknowledged at once for a while; that is not its rule
        for page in pages:
            for _ in range(60):
                page.get()
        p50, p50_ssh, direct = medians(sizes.runs * 5, *(page.get for page in pages))
    found = ratio("HTTP GET through a forward, p50 / ssh -N -L", p50, p50_ssh, 0.1)
    return [_with_detail(found, f"{direct * 1000:.2f} ms with no tunnel")]


class _Page:
    """A connection that stays open to a page behind a port."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 20
        while True:
            try:
                self._connection.connect()
            except OSError:
                if time.monotonic() > deadline:
                    raise BenchError("the tunnel did not open") from None
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_given: object) -> None:
        self._connection.close()

    def get(self) -> float:
        """Fetch the page; return the seconds."""
        started = time.perf_counter()
        self._connection.request("GET", "/")
        answer = self._connection.getresponse()
        if answer.status != 200 or len(answer.read()) != 1024:
            raise BenchError("the page did not come whole")
        return time.perf_counter() - started


def _fresh(one: Timed, target: Path) -> Timed:
    """Return the same with its target removed after each time."""

    def timed_alone() -> float:
        taken = one()
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        return taken

    return timed_alone


def _make_file(path: Path, size_mib: int) -> Path:
    """Write a file of noise, each part of it different."""
    noise = os.urandom(16 * MIB)
    with path.open("wb") as file:
        for number in range(0, size_mib, 16):
            part = noise[: min(16, size_mib - number) * MIB]
            file.write(number.to_bytes(8, "big") + part[8:])
    return path


def _make_tree(path: Path, count: int) -> Path:
    noise = os.urandom(4096 + count)
    for number in range(count):
        folder = path / f"{number // 100:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}.bin").write_bytes(noise[number : number + 4096])
    return path


def _require_equal(one: Path, other: Path) -> None:
    """Compare every byte: a fast copy that is wrong is no copy."""
    done = subprocess.run(
        ["diff", "-rq", str(one), str(other)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise BenchError(f"the copy differs: {done.stdout[:200]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _with_detail(measure: Measure, more: str) -> Measure:
    return replace(measure, detail=f"{measure.detail}; {more}")


def _to_json(farm: dict[str, Any]) -> str:
    return json.dumps({key: farm[key] for key in ("identity_file", "ports")})
