"""One command on every server of a farm, and the end: a child of the ssh bench.

`fleet_worker.py FARM STATE`: FARM is JSON, STATE the folder of the pinned host keys.
It imports what `runpod-ssh exec --all` would, in the same order, and nothing else: that
is part of the time.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from runpod_client import Pod, PodStatus, SSHAddress, logs
from runpod_ssh import Credentials, HostKeyStore, PodTarget
from runpod_ssh.fleet_model import Job, Order
from runpod_ssh.quick_start import load_transport
from runpod_ssh.settings import SSHSettings


def make_target(number: int, port: int, identity_file: Path) -> PodTarget:
    """Return how to reach a server on this machine, as if it were a pod."""
    pod = Pod(
        pod_id=f"bench{number}",
        name=f"bench-{number}",
        status=PodStatus.RUNNING,
        gpu_type="",
        gpu_count=0,
        image="",
        price_usd_per_hour=Decimal(0),
    )
    return PodTarget(
        pod=pod,
        address=SSHAddress(host="127.0.0.1", port=port),
        identity=None,
        credentials=Credentials(identity_file=identity_file),
    )


async def run_fleet(farm: dict[str, Any], state_dir: Path) -> None:
    """Run `true` on all servers of a farm, as `runpod-ssh exec --all` does."""
    from runpod_ssh import connect_pod  # noqa: PLC0415  # as a command does
    from runpod_ssh.fleet import Fleet  # noqa: PLC0415

    identity, store = Path(farm["identity_file"]), HostKeyStore(state_dir)
    targets = [make_target(n, port, identity) for n, port in enumerate(farm["ports"])]
    jobs = [Job(pod_id=t.pod.pod_id, name=t.pod.name, target=t) for t in targets]

    async def ignore(_event: object) -> None:
        pass

    fleet = Fleet(lambda t: connect_pod(t, host_keys=store), jobs, parallel=32)
    outcomes = await fleet.run(Order(command="true", env={}), ignore)
    if not all(outcome.is_success for outcome in outcomes):
        raise RuntimeError("a command did not end well")


if __name__ == "__main__":
    logs.configure(level="error", format_name="console")
    load_transport(SSHSettings())
    import asyncio

    asyncio.run(run_fleet(json.loads(sys.argv[1]), Path(sys.argv[2])))
