"""How pods, GPUs and the account look: documents for programs, sheets for people; pure.

The documents are a stable interface, described in this package's README. Values of a
pod's environment never appear in either.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_client.conditions import Condition, Diagnosis
from runpod_client.identities import Identity
from runpod_client.model import (
    Account,
    CloudType,
    GPUOffer,
    LogLine,
    Pod,
    PodStatus,
    Stock,
)
from runpod_client.prices import render_price, render_usd
from runpod_client.sheets import Cell, Page, Sheet

_COLOURS = {
    PodStatus.RUNNING: "green",
    PodStatus.STARTING: "yellow",
    PodStatus.FAILED: "red",
    PodStatus.UNKNOWN: "red",
}
_STOCK_ORDER = [Stock.HIGH, Stock.MEDIUM, Stock.LOW, Stock.UNKNOWN, Stock.NONE]


def render_ssh_command(pod: Pod, identity: Identity | None) -> str | None:
    """Return the command that reaches a pod, None while it has no direct address.

    The key of a pod of ours is encrypted, and its host key to be checked: both are
    runpod-ssh's business, which also tells the ssh command (`runpod-ssh info`).
    """
    address = pod.ssh_address
    if address is None:
        return None
    if identity is not None:
        return shlex.join(["runpod-ssh", "shell", pod.name or pod.pod_id])
    return shlex.join(
        ["ssh", f"{address.user}@{address.host}", "-p", str(address.port)]
    )


def pod_document(
    pod: Pod, identity: Identity | None, diagnosis: Diagnosis
) -> dict[str, Any]:
    """Return a pod for programs."""
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status,
        "status_reason": pod.status_reason,
        "desired_status": pod.desired,
        "condition": diagnosis.condition,
        "condition_reason": diagnosis.sentence,
        "gpu_type": pod.gpu_type,
        "gpu_count": pod.gpu_count,
        "image": pod.image,
        "price_usd_per_hour": pod.price_usd_per_hour,
        "cloud_type": pod.cloud_type,
        "is_spot": pod.is_spot,
        "data_center_id": pod.data_center_id,
        "machine_id": pod.machine_id,
        "cuda_version": pod.cuda_version or None,
        "created_at": pod.created_at,
        "started_at": pod.started_at,
        "uptime_seconds": pod.uptime_seconds,
        "container_disk_gb": pod.container_disk_gb,
        "volume_gb": pod.volume_gb,
        "network_volume_id": pod.network_volume_id or None,
        "memory_gb": pod.memory_gb,
        "vcpu_count": pod.vcpu_count,
        "is_locked": pod.is_locked,
        "owner": pod.owner,
        "lease_ends_at": pod.lease_ends_at,
        "env_names": sorted(pod.env),
        "ports": _port_documents(pod),
        "gpus": _gpu_documents(pod),
        "ssh": _ssh_document(pod, identity),
        "proxy_user": pod.proxy_user,
    }


def _port_documents(pod: Pod) -> list[dict[str, Any]]:
    return [
        {
            "private_port": port.private_port,
            "public_port": port.public_port,
            "ip": port.ip,
            "is_public": port.is_public,
            "protocol": port.protocol,
        }
        for port in pod.ports
    ]


def _gpu_documents(pod: Pod) -> list[dict[str, Any]]:
    return [
        {
            "gpu_id": gpu.gpu_id,
            "gpu_percent": gpu.gpu_percent,
            "memory_percent": gpu.memory_percent,
        }
        for gpu in pod.gpus
    ]


def _ssh_document(pod: Pod, identity: Identity | None) -> dict[str, Any] | None:
    address = pod.ssh_address
    if address is None:
        return None
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "command": render_ssh_command(pod, identity),
    }


def gpu_type_documents(offers: Iterable[GPUOffer]) -> list[dict[str, Any]]:
    """Return a document per GPU type, cheapest first; prices are per GPU-hour."""
    by_type: dict[str, list[GPUOffer]] = {}
    for offer in offers:
        by_type.setdefault(offer.gpu_type, []).append(offer)
    documents = [_gpu_type_document(group) for group in by_type.values()]
    return sorted(
        documents, key=lambda row: row["on_demand_usd_per_hour"] or Decimal("Infinity")
    )


def _gpu_type_document(offers: Sequence[GPUOffer]) -> dict[str, Any]:
    prices = {offer.cloud_type: offer.usd_per_gpu_hour for offer in offers}
    bids = [o.minimum_bid_usd_per_gpu_hour for o in offers]
    places = {p: s for offer in offers for p, s in offer.data_centers.items()}
    stock = min((o.stock for o in offers), key=_STOCK_ORDER.index)
    return {
        "gpu_type": offers[0].gpu_type,
        "display_name": offers[0].display_name,
        "memory_gb": offers[0].memory_gb,
        "is_secure": CloudType.SECURE in prices,
        "is_community": CloudType.COMMUNITY in prices,
        "stock": None if stock in {Stock.NONE, Stock.UNKNOWN} else stock,
        "on_demand_usd_per_hour": _least(prices.values()),
        "secure_usd_per_hour": prices.get(CloudType.SECURE),
        "community_usd_per_hour": prices.get(CloudType.COMMUNITY),
        "minimum_bid_usd_per_hour": _least(bids),
        "data_center_ids": sorted(p for p, s in places.items() if s is not Stock.NONE),
        "cuda_versions": sorted({v for o in offers for v in o.cuda_versions}),
    }


def _least(prices: Iterable[Decimal | None]) -> Decimal | None:
    return min((price for price in prices if price is not None), default=None)


def account_document(account: Account) -> dict[str, Any]:
    """Return the account for programs."""
    return {
        "account_id": account.account_id,
        "balance_usd": account.balance_usd,
        "spend_usd_per_hour": account.spend_usd_per_hour,
        "spend_limit_usd_per_hour": account.spend_limit_usd_per_hour,
    }


def log_documents(lines: Iterable[LogLine]) -> list[dict[str, Any]]:
    """Return log lines for programs."""
    return [
        {
            "text": line.text,
            "source": "system" if line.is_system else "container",
            "written_at": line.written_at,
        }
        for line in lines
    ]


def pod_sheet(
    pods: Iterable[Pod], diagnose: Callable[[Pod], Diagnosis], *, now: datetime
) -> Sheet:
    """Return the pods as a table."""
    headings = ("NAME", "ID", "STATUS", "GPU", ">$/H", ">UPTIME", ">LEASE", "SSH")
    rows = [_pod_row(pod, diagnose(pod), now) for pod in pods]
    return Sheet(
        headings=headings,
        rows=rows,
        empty="No pods. Rent one: runpod-client pods create --help",
    )


def _pod_row(pod: Pod, diagnosis: Diagnosis, now: datetime) -> list[str | Cell]:
    address = pod.ssh_address
    price = render_usd(pod.price_usd_per_hour) if pod.price_usd_per_hour else "-"
    return [
        pod.name,
        pod.pod_id,
        _status_cell(pod, diagnosis),
        _render_gpus(pod),
        Cell(price, "" if pod.status.is_billed else "dim"),
        render_duration(pod.uptime_seconds),
        _lease_cell(pod, now),
        str(address) if address else "-",
    ]


def _status_cell(pod: Pod, diagnosis: Diagnosis) -> Cell:
    """Return the status, and in a word or two what keeps it from being ready."""
    is_plain = diagnosis.condition in {
        Condition.READY,
        Condition.STOPPED,
        Condition.STOPPED_BY_USER,
        Condition.TERMINATED,
    }
    why = "" if is_plain else f" ({diagnosis.condition.value})"
    return Cell(f"{pod.status}{why}", _COLOURS.get(pod.status, "dim"))


def _lease_cell(pod: Pod, now: datetime) -> Cell:
    if pod.owner is None or not pod.status.is_billed:
        return Cell("-", "dim")
    if pod.lease_ends_at is None:
        return Cell("no end", "yellow")
    left = int((pod.lease_ends_at - now).total_seconds())
    if left <= 0:
        return Cell(f"over {render_duration(-left)}", "bold red")
    return Cell(render_duration(left))


def pod_page(
    pod: Pod, identity: Identity | None, diagnosis: Diagnosis, *, now: datetime
) -> Page:
    """Return all there is to say about a pod."""
    lease = _lease_cell(pod, now).text
    if pod.lease_ends_at is not None:
        lease = f"{lease} (until {pod.lease_ends_at:%Y-%m-%d %H:%M} UTC)"
    rows: Mapping[str, str | Cell] = {
        "name": pod.name,
        "id": pod.pod_id,
        "status": _status_cell(pod, diagnosis),
        "": _render_diagnosis(diagnosis),
        "wanted": f"{pod.desired}  {pod.status_reason}".strip(),
        "GPU": _render_gpus(pod),
        "price": _render_pod_price(pod),
        "uptime": render_duration(pod.uptime_seconds),
        "lease": lease,
        "image": pod.image,
        "disks": _render_disks(pod),
        "place": f"{pod.cloud_type or 'unknown'} cloud {pod.data_center_id}".strip(),
        "ports": _render_ports(pod),
        "variables": ", ".join(sorted(pod.env)) or "-",
        "owner": pod.owner or "not rented by these tools",
        "SSH": render_ssh_command(pod, identity) or "no direct address now",
    }
    return Page(tuple(rows.items()))


def _render_diagnosis(diagnosis: Diagnosis) -> str:
    sentence = diagnosis.sentence
    return f"{sentence[:1].upper()}{sentence[1:]}. {diagnosis.hint}".strip()


def gpu_type_sheet(rows: Iterable[Mapping[str, Any]]) -> Sheet:
    """Return GPU type documents as a table; prices per GPU-hour."""
    prices = ("secure", "community", "minimum_bid")

    def price(row: Mapping[str, Any], name: str) -> str:
        amount = row[f"{name}_usd_per_hour"]
        return "-" if amount is None else render_usd(amount)

    return Sheet(
        headings=("GPU", "ID", ">GB", "STOCK", ">SECURE", ">COMMUNITY", ">MIN BID"),
        rows=[
            [
                row["display_name"],
                row["gpu_type"],
                str(row["memory_gb"]),
                row["stock"] or "-",
                *(price(row, name) for name in prices),
            ]
            for row in rows
        ],
        empty="RunPod offers no such GPU.",
    )


def account_page(account: Account) -> Page:
    """Return the account's figures."""
    limit = account.spend_limit_usd_per_hour
    return Page(
        (
            ("account", account.account_id),
            ("balance", f"${render_usd(account.balance_usd)}"),
            ("spending", render_price(account.spend_usd_per_hour)),
            ("limit", "none" if limit is None else f"${render_usd(limit)}/hour"),
        )
    )


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
    if not pod.price_usd_per_hour:
        return "not told" if pod.status.is_billed else "not told while it is stopped"
    spot = " as spot" * pod.is_spot
    idle = " while it runs" * (not pod.status.is_billed)
    return f"{render_price(pod.price_usd_per_hour)}{spot}{idle}"


def _render_disks(pod: Pod) -> str:
    network = (
        f", network volume {pod.network_volume_id}" if pod.network_volume_id else ""
    )
    return f"{pod.container_disk_gb} GB container, {pod.volume_gb} GB volume{network}"


def _render_ports(pod: Pod) -> str:
    mapped = [
        f"{p.private_port}/{p.protocol} at {p.ip}:{p.public_port}" for p in pod.ports
    ]
    return ", ".join(mapped) or "-"


def _render_gpus(pod: Pod) -> str:
    if not pod.gpu_count:
        return "no GPU"
    return f"{pod.gpu_type} \N{MULTIPLICATION SIGN} {pod.gpu_count}"
