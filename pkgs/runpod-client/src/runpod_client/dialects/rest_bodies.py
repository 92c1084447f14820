"""The bodies of REST v2's changes, from values of the model; pure.

What v2 does not do for its callers is done here: it has no default ports and volumes,
no cloud that means both, and no volume disk below 10 GB.
"""

from collections.abc import Mapping
from typing import Any

from runpod_client.dialects.capabilities import Dialect, render_missing
from runpod_client.errors import RejectedError
from runpod_client.model import (
    Capability,
    CloudType,
    Placement,
    PodEdit,
    PodSpec,
    Template,
)

MIN_VOLUME_GB = 10
CLOUDS: Mapping[CloudType, str] = {
    CloudType.SECURE: "SECURE",
    CloudType.COMMUNITY: "COMMUNITY",
}


def render_create(spec: PodSpec, placement: Placement) -> dict[str, Any]:
    """Return the body that rents a pod.

    Raises:
        CapabilityMissingError: It is a spot pod.
        RejectedError: It names no single cloud, or a volume disk too small.
    """
    if placement.bid_usd_per_gpu_hour is not None:
        raise render_missing(Capability.SPOT, Dialect.REST_V2, operation="createPod")
    if placement.cloud_type not in CLOUDS:
        raise RejectedError(
            "REST v2 rents in one cloud at a time, and none was named",
            operation="createPod",
            hint="Name one: --cloud secure or --cloud community",
        )
    gpu: dict[str, Any] = {"id": placement.gpu_type, "count": placement.gpu_count}
    if placement.min_cuda:
        gpu["minCudaVersion"] = _render_cuda(placement.min_cuda)
    body: dict[str, Any] = {
        "name": spec.name,
        "image": spec.image or None,
        "templateId": spec.template_id or None,
        "gpu": gpu,
        "cloud": CLOUDS[placement.cloud_type],
        "disk": max(spec.container_disk_gb, 1),
        "mounts": _render_mounts(spec),
        "ports": list(spec.ports),
        "env": dict(spec.env),
        "args": spec.start_command,
        "dataCenterIds": list(placement.data_center_ids) or None,
        "startSsh": "22/tcp" in spec.ports,
    }
    return _present(body)


def render_update(edit: PodEdit, *, volume_mount_path: str = "") -> dict[str, Any]:
    """Return the body that edits a pod; the name is not touched here.

    Args:
        volume_mount_path: Where its volume disk is; needed to change that disk's size.
    """
    mounts = None
    if edit.volume_gb is not None:
        mounts = _render_volume_disk(edit.volume_gb, volume_mount_path, "editPod")
    return _present(
        {
            "image": edit.image,
            "env": None if edit.env is None else dict(edit.env),
            "ports": None if edit.ports is None else list(edit.ports),
            "disk": edit.container_disk_gb,
            "mounts": mounts,
            "args": edit.start_command,
        }
    )


def render_template(template: Template) -> dict[str, Any]:
    """Return the body that keeps a template."""
    mounts = None
    if template.volume_gb:
        mounts = _render_volume_disk(
            template.volume_gb,
            template.volume_mount_path or "/workspace",
            "createTemplate",
        )
    return _present(
        {
            "name": template.name,
            "image": template.image,
            "args": template.start_command or None,
            "disk": template.container_disk_gb or None,
            "mounts": mounts,
            "ports": list(template.ports),
            "env": dict(template.env),
            "public": template.is_public,
            "serverless": template.is_serverless,
            # both are true when they are left out
            "startSsh": "22/tcp" in template.ports,
            "startJupyter": False,
        }
    )


def _render_mounts(spec: PodSpec) -> dict[str, Any] | None:
    path = spec.volume_mount_path
    if spec.network_volume_id:
        return {"network": [{"volumeId": spec.network_volume_id, "path": path}]}
    if not spec.volume_gb:
        return None
    return _render_volume_disk(spec.volume_gb, path, "createPod")


def _render_volume_disk(size_gb: int, path: str, operation: str) -> dict[str, Any]:
    if size_gb < MIN_VOLUME_GB:
        # a larger one would be paid for though nobody asked for it
        raise RejectedError(
            f"REST v2 has no volume disks below {MIN_VOLUME_GB} GB, "
            f"and {size_gb} GB were asked for",
            operation=operation,
            hint=f"Ask for a volume of {MIN_VOLUME_GB} GB or more, or for none.",
        )
    return {"persistent": {"size": size_gb, "path": path}}


def _render_cuda(version: str) -> str:
    """Return a version as `major.minor`; v2 takes no bare major here."""
    return version if "." in version else f"{version}.0"


def _present(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}
