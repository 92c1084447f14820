"""The composition root: one application of world, machines and every wire face.

`build_app` puts the parts together and owns what they start; nothing else does.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.routing import Route

from runpod_sim.admin import Admin
from runpod_sim.catalog import Catalog
from runpod_sim.clock import Clock
from runpod_sim.faults import FaultBook
from runpod_sim.forge import Forge
from runpod_sim.gate import KeyBook
from runpod_sim.github import github_routes
from runpod_sim.graphql_api import GraphQLFace
from runpod_sim.levers import Levers
from runpod_sim.machines import Machines, choose_openssh
from runpod_sim.quota import Quota
from runpod_sim.rest import RestFace
from runpod_sim.service import Service
from runpod_sim.ssh_proxy import SSHProxy
from runpod_sim.world import World, WorldSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SimConfig:
    """What a simulator is built from.

    Args:
        base_url: Where it will be reached, without a trailing slash.
        state_dir: Where pods live; the caller makes and removes it.
        ssh: auto, openssh or asyncssh.
        required_key: The one API key let in; None for any of RunPod's form.
        quota_per_minute: REST v2 requests a key has; None to count and not refuse.
        proxy_socket: Where the SSH proxy listens; None for no proxy.
    """

    base_url: str
    state_dir: Path
    seed: int = 0
    ssh: str = "auto"
    required_key: str | None = None
    introspection: bool = True
    retire_graphql: bool = False
    quota_per_minute: int | None = None
    proxy_socket: socket.socket | None = None
    settings: WorldSettings = field(default_factory=WorldSettings)


def build_service(config: SimConfig, clock: Clock) -> Service:
    """Return the platform's service with its world and machines."""
    world = World(Catalog(), config.settings, seed=config.seed)
    openssh = choose_openssh(config.ssh, os.environ.get("PATH", os.defpath))

    def append_log(pod_id: str, source: str, line: str) -> None:
        world.append_log(pod_id, source, line, clock.now())

    machines = Machines(world, config.state_dir, openssh, append_log=append_log)
    return Service(world, machines, clock, FaultBook())


def build_app(config: SimConfig, *, clock: Clock | None = None) -> Starlette:
    """Return the application; its lifespan owns every pod's processes.

    Raises:
        OpenSSHUnusableError: sshd was demanded and there is none.
    """
    used_clock = clock or Clock()
    service = build_service(config, used_clock)
    keys = KeyBook(config.required_key)
    quota = Quota()
    if config.quota_per_minute is not None:
        quota.set_limits(minute=config.quota_per_minute, is_enforced=True)
    if config.retire_graphql:
        service.faults.add({"kind": "gone", "wire": "graphql", "times": None})
    graphql = GraphQLFace(service, keys, introspection=config.introspection)
    forge = Forge(used_clock, seed=config.seed, base_url=config.base_url)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(service.run(), name="time")
        ticking.add_done_callback(_report_end)
        proxy = SSHProxy(service)
        if config.proxy_socket is not None:
            await proxy.start(config.proxy_socket)
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await proxy.stop()
            await service.machines.close()

    routes = [
        Route("/graphql", graphql.answer, methods=["POST"]),
        *RestFace(service, keys, quota).routes(),
        *Admin(service).routes(),
        *Levers(service, keys, quota).routes(),
        *github_routes(forge),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("time_stopped", error_detail=str(task.exception()))
