"""Our library, measured inside a process that lives on: a child of the ssh bench.

Takes one line of JSON per task on stdin and answers with one, so that its tasks can
take turns with OpenSSH's programs. The address and the login come as an argument.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from fleet_worker import make_target

from runpod_client import logs
from runpod_ssh import Connection, HostKeyStore, connect_pod, download, upload
from runpod_ssh.forward_specs import parse_spec
from runpod_ssh.forwards import Forwarder
from runpod_ssh.sync import sync_to_pod


class Worker:
    """The tasks; each returns what is answered."""

    def __init__(self, given: dict[str, Any], stack: AsyncExitStack) -> None:
        self._store = HostKeyStore(Path(given["state_dir"]))
        self._identity = Path(given["identity_file"])
        self._port = int(given["port"])
        self._stack = stack
        self._links: dict[int, Connection] = {}

    def _open(self, port: int) -> AbstractAsyncContextManager[Connection]:
        # a pod of its own for each port: its host key is pinned for an address
        target = make_target(port, port, self._identity)
        return connect_pod(target, host_keys=self._store)

    async def _warm(self, port: int | None = None) -> Connection:
        """Return the one link to a port, opened at the first call."""
        wanted = port or self._port
        if wanted not in self._links:
            link = await self._stack.enter_async_context(self._open(wanted))
            await link.warm_up()
            self._links[wanted] = link
        return self._links[wanted]

    async def cold(self) -> float:
        """Connect, run `true`, close."""
        started = time.perf_counter()
        async with self._open(self._port) as link:
            await _run_true(link)
        return time.perf_counter() - started

    async def exec(self, count: int, port: int | None = None) -> float:
        """Run `true` so many times, one after the other; return the mean."""
        link = await self._warm(port)
        started = time.perf_counter()
        for _ in range(count):
            await _run_true(link)
        return (time.perf_counter() - started) / count

    async def exec_at_once(self, count: int, lanes: int) -> float:
        """Run `true` so many times in several lanes; return the mean."""
        link = await self._warm()

        async def lane() -> None:
            for _ in range(count // lanes):
                await _run_true(link)

        started = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(lanes)))
        return (time.perf_counter() - started) / (count // lanes * lanes)

    async def upload(
        self, local: str, remote: str, *, port: int | None = None, cold: bool = False
    ) -> float:
        """Copy to the pod, over the warm link or, cold, over a new one."""
        return await self._over(
            port, lambda link: upload(link, Path(local), remote), cold=cold
        )

    async def download(
        self, remote: str, local: str, *, port: int | None = None, cold: bool = False
    ) -> float:
        """Copy from the pod."""
        return await self._over(
            port, lambda link: download(link, remote, Path(local)), cold=cold
        )

    async def sync(self, local: str, remote: str) -> float:
        """Make the pod's folder equal to ours."""
        return await self._over(
            None, lambda link: sync_to_pod(link, Path(local), remote), cold=False
        )

    async def _over(
        self,
        port: int | None,
        work: Callable[[Connection], Awaitable[object]],
        *,
        cold: bool,
    ) -> float:
        warm = None if cold else await self._warm(port)
        started = time.perf_counter()
        if warm is not None:
            await work(warm)
        else:
            async with self._open(port or self._port) as link:
                await work(link)
        return time.perf_counter() - started

    async def forward(self, to_port: int) -> int:
        """Open a tunnel to a port of the pod; return the port here."""
        forwarder = await self._stack.enter_async_context(Forwarder())
        (spec,) = await forwarder.add(
            "bench",
            lambda: self._open(self._port),
            [parse_spec(f"0:127.0.0.1:{to_port}")],
        )
        return spec.port

    async def hold(self, ports: list[int]) -> int:
        """Connect to all ports and stay so; return how much memory that takes."""
        slots = asyncio.Semaphore(4)

        async def open_one(port: int) -> None:
            async with slots:
                await self._warm(port)

        await asyncio.gather(*map(open_one, ports))
        # the interpreter belongs to the price
        return read_memory_bytes("self")


def read_memory_bytes(pid: str) -> int:
    """Return a process' memory, shared pages counted in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell PSS")


async def _run_true(link: Connection) -> None:
    if (await link.run("true")).exit_status != 0:
        raise RuntimeError("a command did not end well")


async def serve(given: dict[str, Any]) -> None:
    """Do tasks until stdin ends."""
    async with AsyncExitStack() as stack:
        worker = Worker(given, stack)
        while line := await asyncio.to_thread(sys.stdin.readline):
            task = json.loads(line)
            try:
                answer = {"answer": await getattr(worker, task.pop("do"))(**task)}
            except Exception as error:  # noqa: BLE001  # told to the bench
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    # to stderr: stdout carries answers
    logs.configure(level="error", format_name="console")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(json.loads(sys.argv[1])))
