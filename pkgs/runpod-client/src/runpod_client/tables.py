"""How results look: documents for `--json`, tables and pages for people; pure.

The JSON documents are a stable interface, described in this package's README. Values
of a pod's environment never appear in either.
"""

import shlex
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from runpod_client import marks
from runpod_client.identities import Identity
from runpod_client.model import Account, GPUType, Pod, PodStatus
from runpod_client.offers import render_price, render_usd

_COLOURS = {
    PodStatus.RUNNING: "green",
    PodStatus.STARTING: "yellow",
    PodStatus.UNKNOWN: "red",
}

_BILLING = (PodStatus.STARTING, PodStatus.RUNNING, PodStatus.UNKNOWN)


def render_ssh_command(pod: Pod, identity: Identity | None) -> str | None:
    """Return the command that reaches a pod, None while it has no direct address."""
    address = pod.ssh_address
    if address is None:
        return None
    words = ["ssh", f"{address.user}@{address.host}", "-p", str(address.port)]
    if identity is not None:
        words += ["-i", str(identity.private_key_file)]
    return shlex.join(words)


def pod_document(pod: Pod, identity: Identity | None = None) -> dict[str, Any]:
    """Return a pod for `--json`."""
    address = pod.ssh_address
    ssh = address and {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "command": render_ssh_command(pod, identity),
    }
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status,
        "status_reason": pod.status_reason,
        "gpu_type": pod.gpu_type,
        "gpu_count": pod.gpu_count,
        "image": pod.image,
        "price_usd_per_hour": pod.price_usd_per_hour,
        "cloud_type": pod.cloud_type,
        "is_spot": pod.is_spot,
        "data_center_id": pod.data_center_id,
        "machine_id": pod.machine_id,
        "created_at": pod.created_at,
        "started_at": pod.started_at,
        "uptime_seconds": pod.uptime_seconds,
        "container_disk_gb": pod.container_disk_gb,
        "volume_gb": pod.volume_gb,
        "memory_gb": pod.memory_gb,
        "vcpu_count": pod.vcpu_count,
        "is_locked": pod.is_locked,
        "owner": marks.find_owner(pod.env),
        "env_names": sorted(pod.env),
        "ports": [
            {
                "private_port": port.private_port,
                "public_port": port.public_port,
                "ip": port.ip,
                "is_public": port.is_public,
                "protocol": port.protocol,
            }
            for port in pod.ports
        ],
        "gpus": [
            {
                "gpu_id": gpu.gpu_id,
                "gpu_percent": gpu.gpu_percent,
                "memory_percent": gpu.memory_percent,
            }
            for gpu in pod.gpus
        ],
        "ssh": ssh,
        "proxy_user": pod.proxy_user,
    }


def gpu_type_document(gpu_type: GPUType) -> dict[str, Any]:
    """Return a GPU type for `--json`; prices are per GPU, null where not offered."""
    return {
        "gpu_type": gpu_type.gpu_type,
        "display_name": gpu_type.display_name,
        "memory_gb": gpu_type.memory_gb,
        "is_secure": gpu_type.is_secure,
        "is_community": gpu_type.is_community,
        "stock": gpu_type.stock or None,
        "on_demand_usd_per_hour": gpu_type.on_demand_usd_per_hour,
        "secure_usd_per_hour": gpu_type.secure_usd_per_hour,
        "community_usd_per_hour": gpu_type.community_usd_per_hour,
        "minimum_bid_usd_per_hour": gpu_type.minimum_bid_usd_per_hour,
    }


def account_document(account: Account) -> dict[str, Any]:
    """Return the account for `--json`."""
    return {
        "account_id": account.account_id,
        "balance_usd": account.balance_usd,
        "spend_usd_per_hour": account.spend_usd_per_hour,
        "spend_limit_usd_per_hour": account.spend_limit_usd_per_hour,
    }


def pod_table(pods: Iterable[Pod]) -> Table | Text:
    """Return the pods as a table, or a line that says what to do without any."""
    table = _table("NAME", "ID", "STATUS", "GPU", "$/H", "UPTIME", "SSH")
    for pod in pods:
        address = pod.ssh_address
        table.add_row(
            Text(pod.name),
            pod.pod_id,
            Text(pod.status, style=_COLOURS.get(pod.status, "dim")),
            Text(_render_gpus(pod)),
            Text(
                render_usd(pod.price_usd_per_hour),
                style="" if pod.status in _BILLING else "dim",
            ),
            render_duration(pod.uptime_seconds),
            str(address) if address else "-",
        )
    if not table.row_count:
        return Text("No pods. Rent one: runpod-client pods create --help")
    return table


def pod_page(pod: Pod, identity: Identity | None) -> Table:
    """Return all there is to say about a pod."""
    grid = Table.grid(padding=(0, 2))
    command = render_ssh_command(pod, identity)
    ports = ", ".join(
        f"{p.private_port}/{p.protocol} at {p.ip}:{p.public_port}" for p in pod.ports
    )
    rows = {
        "name": pod.name,
        "id": pod.pod_id,
        "status": f"{pod.status}  {pod.status_reason}".strip(),
        "GPU": _render_gpus(pod),
        "price": _render_pod_price(pod),
        "uptime": render_duration(pod.uptime_seconds),
        "image": pod.image,
        "disks": f"{pod.container_disk_gb} GB container, {pod.volume_gb} GB volume",
        "place": f"{pod.cloud_type or 'unknown'} cloud {pod.data_center_id}".strip(),
        "ports": ports or "-",
        "variables": ", ".join(sorted(pod.env)) or "-",
        "owner": marks.find_owner(pod.env) or "not rented by these tools",
        "SSH": command or "no direct address now",
    }
    for label, value in rows.items():
        grid.add_row(Text(label, style="dim"), Text(value, overflow="fold"))
    return grid


def gpu_type_table(gpu_types: Iterable[GPUType]) -> Table:
    """Return the GPU catalogue as a table; prices per GPU-hour."""
    table = _table("GPU", "ID", "GB", "STOCK", "SECURE", "COMMUNITY", "MIN BID")
    for gpu_type in gpu_types:
        prices = (
            gpu_type.secure_usd_per_hour,
            gpu_type.community_usd_per_hour,
            gpu_type.minimum_bid_usd_per_hour,
        )
        table.add_row(
            Text(gpu_type.display_name),
            Text(gpu_type.gpu_type),
            str(gpu_type.memory_gb),
            gpu_type.stock or "-",
            *("-" if price is None else render_usd(price) for price in prices),
        )
    return table


def account_page(account: Account) -> Table:
    """Return the account's figures."""
    grid = Table.grid(padding=(0, 2))
    limit = account.spend_limit_usd_per_hour
    rows = {
        "account": account.account_id,
        "balance": f"${render_usd(account.balance_usd)}",
        "spending": render_price(account.spend_usd_per_hour),
        "limit": "none" if limit is None else f"${render_usd(limit)}/hour",
    }
    for label, value in rows.items():
        grid.add_row(Text(label, style="dim"), Text(value))
    return grid


def render_duration(seconds: int | None) -> str:
    """Return a duration in its two largest units, `-` for None."""
    if seconds is None:
        return "-"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count}{unit}" for count, unit in parts[:2])


def _render_pod_price(pod: Pod) -> str:
    spot = " as spot" * pod.is_spot
    idle = " while it runs" * (pod.status not in _BILLING)
    return f"{render_price(pod.price_usd_per_hour)}{spot}{idle}"


def _render_gpus(pod: Pod) -> str:
    return f"{pod.gpu_type} \N{MULTIPLICATION SIGN} {pod.gpu_count}"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading in {"$/H", "GB", "SECURE", "COMMUNITY", "MIN BID"}
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    return table
