"""Request bodies of REST v2: checked against our OpenAPI document, read into specs.

It knows the shapes; it does nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from runpod_sim.catalog import Catalog
from runpod_sim.model import PodSpec, Template
from runpod_sim.templates import DEFAULT_IMAGE, apply_template, check_for_pods

DEFAULT_DISK_GB = 20


class Problem(Exception):  # noqa: N818 - an answer of the API
    """A refusal as RFC 9457 words it."""

    def __init__(self, status: int, detail: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


@cache
def load_openapi() -> dict[str, Any]:
    """Return the OpenAPI document the simulator serves by."""
    text = (resources.files("runpod_sim") / "openapi.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def validator(schema_name: str) -> Draft202012Validator:
    """Return the validator of a schema of the OpenAPI document."""
    root = {
        "$ref": f"#/components/schemas/{schema_name}",
        "components": load_openapi()["components"],
    }
    return Draft202012Validator(root)


def parse_json(body: bytes) -> Any:
    """Return a JSON body.

    Raises:
        Problem: It is not JSON.
    """
    try:
        return json.loads(body)
    except ValueError as error:
        raise Problem(400, "request body is not valid JSON") from error


def check(schema_name: str, body: Any) -> dict[str, Any]:
    """Return a body that matches its schema.

    Raises:
        Problem: It does not; every violation and every unknown key is named.
    """
    # rule SIM-REST-1
    errors: list[str] = []
    for error in validator(schema_name).iter_errors(body):
        errors += describe(error)
    if errors:
        raise Problem(422, "Request validation failed.", tuple(sorted(errors)))
    checked: dict[str, Any] = body
    return checked


def describe(error: ValidationError) -> list[str]:
    """Return a violation's sentences, one for each unknown key."""
    path = "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in error.absolute_path
    )
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        schema = error.schema if isinstance(error.schema, Mapping) else {}
        known = schema.get("properties", {})
        return [
            f"{path}: additional properties '{key}' not allowed"
            for key in error.instance
            if key not in known
        ]
    if error.validator == "required":
        return [f"{path}: missing property {error.message.split(' is ')[0]}"]
    return [f"{path}: {error.message}"]


# A body's keys, and the settings they give.
KEYS = {
    "image": "image",
    "args": "docker_args",
    "disk": "container_disk_gb",
    "ports": "ports",
    "startSsh": "start_ssh",
    "startJupyter": "start_jupyter",
}


def parse_create(
    body: Any, catalog: Catalog, find_template: Callable[[str], Template]
) -> PodSpec:
    """Return what a create asks for.

    Args:
        find_template: Returns the template of an id, or declines.

    Raises:
        Problem: The body does not match (422) or breaks a rule (400).
        DeclinedError: There is no such template, or it is for serverless.
    """
    given = check("CreatePodRequest", body)
    check_rules(given)
    mounts = given.get("mounts") or {}
    persistent = mounts.get("persistent") or {}
    network = (mounts.get("network") or [{}])[0]
    gpu = given.get("gpu") or {}
    spec = PodSpec(
        name=given["name"],
        image=given.get("image") or DEFAULT_IMAGE,
        gpu_type_ids=(gpu["id"],) if gpu else (),
        gpu_count=gpu.get("count", 1) if gpu else 0,
        cloud_type=given.get("cloud") or "SECURE",
        docker_args=given.get("args") or "",
        env=tuple((given.get("env") or {}).items()),
        ports=tuple(given.get("ports") or ()),
        container_disk_gb=given.get("disk") or DEFAULT_DISK_GB,
        volume_gb=persistent.get("size", 0),
        volume_mount_path=persistent.get("path") or network.get("path") or "",
        network_volume_id=network.get("volumeId"),
        data_center_ids=tuple(given.get("dataCenterIds") or ()),
        start_ssh=bool(given.get("startSsh")),
        start_jupyter=bool(given.get("startJupyter")),
        support_public_ip=True,
        cuda_versions=tuple(gpu.get("allowedCudaVersions") or ()),
        minimum_cuda_version=gpu.get("minCudaVersion"),
    )
    spec = with_cpu(spec, given["cpu"], catalog) if given.get("cpu") else spec
    if "templateId" not in given:
        return spec
    template = check_for_pods(find_template(given["templateId"]))
    return apply_template(template, spec, given_fields(given))


def given_fields(given: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the settings a create sets itself."""
    fields = {field for key, field in KEYS.items() if key in given}
    if given.get("mounts"):
        fields.add("volume_gb")
    gpu = given.get("gpu") or {}
    # Either field replaces the template's constraint entirely.
    if "allowedCudaVersions" in gpu or "minCudaVersion" in gpu:
        fields.add("cuda_versions")
    return frozenset(fields)


def check_rules(given: Mapping[str, Any]) -> None:
    """Check what a schema cannot say.

    Raises:
        Problem: A rule across fields is broken.
    """
    if bool(given.get("gpu")) == bool(given.get("cpu")):
        raise Problem(400, "exactly one of gpu or cpu must be set")
    mounts = given.get("mounts") or {}
    if "persistent" in mounts and "network" in mounts:
        raise Problem(400, "mounts.persistent and mounts.network exclude each other")
    if "network" in mounts and not mounts["network"]:
        raise Problem(400, "mounts.network must not be empty")
    if given.get("cpu") and "persistent" in mounts:
        raise Problem(400, "mounts.persistent is not available on CPU pods")
    gpu = given.get("gpu") or {}
    if gpu.get("allowedCudaVersions") and gpu.get("minCudaVersion"):
        raise Problem(400, "gpu.allowedCudaVersions and gpu.minCudaVersion conflict")


def with_cpu(spec: PodSpec, cpu: Mapping[str, Any], catalog: Catalog) -> PodSpec:
    """Return the spec of a CPU pod.

    Raises:
        Problem: There is no such flavor or size.
    """
    flavor = catalog.find_cpu_flavor(cpu["id"])
    vcpu = cpu["vcpuCount"]
    if flavor is None or vcpu & (vcpu - 1) or vcpu > flavor.max_vcpu:
        raise Problem(400, f"no CPU flavor {cpu['id']} with {vcpu} vCPUs")
    return replace(
        spec,
        cpu_flavor_id=flavor.id,
        vcpu_count=vcpu,
        memory_gb=vcpu * flavor.ram_gb_per_vcpu,
    )


def parse_update(
    given: Mapping[str, Any], spec: PodSpec, find_template: Callable[[str], Template]
) -> PodSpec:
    """Return a pod's settings with a checked PATCH applied.

    Raises:
        Problem: It changes the kind of mount or the network volume, or shrinks one.
        DeclinedError: There is no such template, or it is for serverless.
    """
    if "templateId" in given:
        given = from_template(given, check_for_pods(find_template(given["templateId"])))
    changed = replace(
        spec,
        name=given.get("name", spec.name),
        image=given.get("image", spec.image),
        docker_args=given.get("args", spec.docker_args),
        container_disk_gb=given.get("disk", spec.container_disk_gb),
        ports=tuple(given.get("ports", spec.ports)),
        env=tuple(given["env"].items()) if "env" in given else spec.env,
    )
    mounts = given.get("mounts") or {}
    check_mounts(mounts, spec)
    if "persistent" in mounts:
        size, path = mounts["persistent"]["size"], mounts["persistent"]["path"]
        return replace(changed, volume_gb=size, volume_mount_path=path)
    if "network" in mounts:
        return replace(changed, volume_mount_path=mounts["network"][0]["path"])
    return changed


def from_template(given: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """Return a PATCH as if the template's settings stood in it; its own win."""
    return {
        "image": template.image,
        "args": template.docker_args,
        "disk": template.container_disk_gb,
        "ports": list(template.ports),
        **given,
        "env": dict(template.env) | (given.get("env") or {}),
    }


def check_mounts(mounts: Mapping[str, Any], spec: PodSpec) -> None:
    """Check that a PATCH leaves a pod's storage what it is.

    Raises:
        Problem: It does not.
    """
    # rule SIM-REST-7
    persistent, network = mounts.get("persistent"), mounts.get("network")
    if network == []:
        raise Problem(400, "mounts.network must not be empty")
    if (persistent and not spec.volume_gb) or (network and not spec.network_volume_id):
        raise Problem(400, "the kind of mount is fixed at create")
    if persistent and persistent["size"] < spec.volume_gb:
        raise Problem(400, "a volume cannot shrink")
    if network and network[0]["volumeId"] != spec.network_volume_id:
        raise Problem(400, "the network volume of a pod is fixed at create")
