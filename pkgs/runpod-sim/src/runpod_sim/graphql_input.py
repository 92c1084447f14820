"""GraphQL's inputs, read into the world's values. It knows the shapes; it does nothing."""

import re
from collections.abc import Mapping
from typing import Any

from runpod_sim.model import DeclinedError, PodSpec, Refusal, Template
from runpod_sim.refusals import SOMETHING_WRONG
from runpod_sim.templates import DEFAULT_IMAGE

VERSION = re.compile(r"\d+(\.\d+)?")

Input = Mapping[str, Any]


# An input's keys, and the settings they give.
KEYS = {
    "imageName": "image",
    "dockerArgs": "docker_args",
    "ports": "ports",
    "containerDiskInGb": "container_disk_gb",
    "volumeInGb": "volume_gb",
    "startSsh": "start_ssh",
    "startJupyter": "start_jupyter",
    "allowedCudaVersions": "cuda_versions",
    "minCudaVersion": "minimum_cuda_version",
}


def split_ports(text: str | None) -> tuple[str, ...]:
    """Return the entries of a ports string such as `8888/http,22/tcp`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def parse_env(rows: list[Mapping[str, str]] | None) -> tuple[tuple[str, str], ...]:
    """Return environment variables given as key and value rows."""
    return tuple((row["key"], row["value"]) for row in rows or ())


def parse_spec(given: Input) -> PodSpec:
    """Return what a deploy asks for.

    Raises:
        DeclinedError: There is neither an image nor a template.
    """
    if not given.get("imageName") and not given.get("templateId"):
        raise DeclinedError(SOMETHING_WRONG)
    center = given.get("dataCenterId")
    types = given.get("gpuTypeIdList") or [given.get("gpuTypeId")]
    return PodSpec(
        name=given.get("name") or "",
        image=given.get("imageName") or DEFAULT_IMAGE,
        gpu_type_ids=tuple(item for item in types if item),
        gpu_count=given.get("gpuCount") or 1,
        cloud_type=given.get("cloudType") or "ALL",
        docker_args=given.get("dockerArgs") or "",
        env=parse_env(given.get("env")),
        ports=split_ports(given.get("ports")),
        container_disk_gb=given.get("containerDiskInGb") or 10,
        volume_gb=given.get("volumeInGb") or 0,
        volume_mount_path=given.get("volumeMountPath") or "/workspace",
        network_volume_id=given.get("networkVolumeId"),
        data_center_ids=(center,) if center else (),
        country_code=given.get("countryCode"),
        support_public_ip=bool(given.get("supportPublicIp")),
        start_ssh=bool(given.get("startSsh")),
        start_jupyter=bool(given.get("startJupyter")),
        template_id=given.get("templateId"),
        minimum_memory_gb=given.get("minMemoryInGb") or 0,
        minimum_vcpu_count=given.get("minVcpuCount") or 0,
        cuda_versions=tuple(given.get("allowedCudaVersions") or ()),
        minimum_cuda_version=parse_minimum_cuda(given),
    )


def given_fields(given: Input) -> frozenset[str]:
    """Return the names of the settings a deploy sets itself."""
    return frozenset(f for key, f in KEYS.items() if given.get(key) is not None)


def parse_template(given: Input, account_id: str) -> Template:
    """Return the template an input describes."""
    return Template(
        id=given.get("id") or "",
        account_id=account_id,
        name=given["name"],
        image=given.get("imageName") or DEFAULT_IMAGE,
        docker_args=given["dockerArgs"],
        container_disk_gb=given["containerDiskInGb"],
        volume_gb=given["volumeInGb"],
        volume_mount_path=given.get("volumeMountPath") or "",
        ports=split_ports(given.get("ports")),
        env=parse_env([row for row in given["env"] if row]),
        registry_id=given.get("containerRegistryAuthId"),
        is_serverless=bool(given.get("isServerless")),
        is_public=bool(given.get("isPublic")),
        category=given.get("category") or "NVIDIA",
        start_ssh=given.get("startSsh") is not False,
        start_jupyter=given.get("startJupyter") is not False,
        readme=given.get("readme") or "",
    )


def parse_minimum_cuda(given: Mapping[str, Any]) -> str | None:
    """Return the lowest CUDA version an input asks for; None for any.

    Raises:
        DeclinedError: It is no version.
    """
    version = given.get("minCudaVersion")
    if not version:
        return None
    if not VERSION.fullmatch(version):
        message = f"{version} is no CUDA version"
        raise DeclinedError(Refusal(message, "BAD_USER_INPUT", 400))
    return str(version)


def parse_instance(instance_id: str) -> tuple[str, int, int]:
    """Return flavor, vCPUs and GB of a CPU instance id such as cpu3c-2-4.

    Raises:
        DeclinedError: It is not of that form.
    """
    flavor, _, rest = instance_id.partition("-")
    vcpu, _, memory = rest.partition("-")
    if not (flavor and vcpu.isdigit() and memory.isdigit()):
        message = f"{instance_id} is no CPU instance"
        raise DeclinedError(Refusal(message, "BAD_USER_INPUT", 400))
    return flavor, int(vcpu), int(memory)
