"""The inputs of GraphQL's mutations, from values of the model; pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from runpod_client.marks import parse_marks
from runpod_client.model import CloudType, Placement, Pod, PodEdit, PodSpec, Template

_CLOUD_TYPES: Mapping[CloudType, str] = {
    CloudType.SECURE: "SECURE",
    CloudType.COMMUNITY: "COMMUNITY",
    CloudType.ANY: "ALL",
}
# renting spot pods knows no floor but a list, matched exactly; a version that no
# machine has does no harm in it
_CUDA_VERSIONS = (
    *((11, minor) for minor in range(9)),
    *((12, minor) for minor in range(13)),
    *((13, minor) for minor in range(10)),
)


def render_deploy(
    spec: PodSpec, placement: Placement, data_center_id: str | None
) -> dict[str, Any]:
    """Return the input of the deploying mutations."""
    has_ssh = "22/tcp" in spec.ports
    rendered: dict[str, Any] = {
        "name": spec.name,
        "imageName": spec.image or None,
        "templateId": spec.template_id or None,
        "gpuTypeId": placement.gpu_type,
        "gpuCount": placement.gpu_count,
        "cloudType": _CLOUD_TYPES[placement.cloud_type],
        "containerDiskInGb": spec.container_disk_gb,
        "volumeInGb": spec.volume_gb,
        "volumeMountPath": spec.volume_mount_path,
        "networkVolumeId": spec.network_volume_id or None,
        "ports": ",".join(spec.ports),
        "env": render_env(spec.env),
        "startSsh": has_ssh,
        # Community hosts may lack a public address, and then nothing reaches port 22
        "supportPublicIp": has_ssh,
        "dataCenterId": data_center_id,
        "bidPerGpu": placement.bid_usd_per_gpu_hour,
        # "" is not the same as absent: it keeps some images' own start script away
        "dockerArgs": spec.start_command,
        **_render_cuda(placement),
    }
    return _present(rendered)


def render_spot_start(pod: Pod, bid_usd_per_gpu_hour: Decimal | None) -> dict[str, Any]:
    """Return the input that starts a spot pod: all three entries are required."""
    gpu_count = pod.gpu_count or 1
    bid = (
        bid_usd_per_gpu_hour
        or parse_marks(pod.name, pod.env).bid_usd_per_gpu_hour
        or pod.price_usd_per_hour / gpu_count
    )
    return {"podId": pod.pod_id, "gpuCount": gpu_count, "bidPerGpu": bid}


def render_start(pod: Pod) -> dict[str, Any]:
    """Return the input that starts an on-demand pod."""
    # a pod once started without its GPUs may say 0, which no host can fulfil
    return _present({"podId": pod.pod_id, "gpuCount": pod.gpu_count or None})


def render_edit(pod: Pod, edit: PodEdit) -> dict[str, Any]:
    """Return the input that edits a pod.

    Image and disk are required. The environment is given as well, since nobody says
    whether it is kept when it is left out, and a pod's marks live in it.
    """
    ports = edit.ports if edit.ports is not None else pod.asked_ports
    return _present(
        {
            "podId": pod.pod_id,
            "imageName": edit.image or pod.image,
            "containerDiskInGb": edit.container_disk_gb or pod.container_disk_gb,
            "volumeInGb": edit.volume_gb
            if edit.volume_gb is not None
            else pod.volume_gb or None,
            "ports": None if ports is None else ",".join(ports),
            "env": render_env(edit.env if edit.env is not None else pod.env),
            "dockerArgs": edit.start_command,
        }
    )


def render_template(template: Template) -> dict[str, Any]:
    """Return the input that saves a template; RunPod wants dockerArgs and env."""
    return _present(
        {
            "name": template.name,
            "imageName": template.image,
            "containerDiskInGb": template.container_disk_gb,
            "volumeInGb": template.volume_gb,
            "volumeMountPath": template.volume_mount_path or None,
            "ports": ",".join(template.ports),
            "env": render_env(template.env),
            "dockerArgs": template.start_command,
            "isPublic": template.is_public,
            "isServerless": template.is_serverless,
            "startSsh": "22/tcp" in template.ports,
            "startJupyter": False,
        }
    )


def render_env(env: Mapping[str, str]) -> list[dict[str, str]]:
    """Return an environment as GraphQL takes it."""
    return [{"key": key, "value": value} for key, value in env.items()]


def _render_cuda(placement: Placement) -> dict[str, Any]:
    if not placement.min_cuda:
        return {}
    if placement.bid_usd_per_gpu_hour is None:
        return {"minCudaVersion": placement.min_cuda}
    major, _, minor = placement.min_cuda.partition(".")
    floor = (int(major), int(minor or 0))
    return {
        "allowedCudaVersions": [
            f"{major}.{minor}"
            for major, minor in _CUDA_VERSIONS
            if (major, minor) >= floor
        ]
    }


def _present(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that say something: null is not the same as absent."""
    return {key: value for key, value in entries.items() if value is not None}
