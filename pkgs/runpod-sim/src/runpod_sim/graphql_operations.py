"""GraphQL's root fields as operations of the service.

Each method bears the field's name and takes its arguments; graphql-core calls them.
"""

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from runpod_sim.graphql_catalog import (
    render_cpu_flavor,
    render_data_center,
    render_gpu_type,
)
from runpod_sim.graphql_input import (
    Input,
    given_fields,
    parse_env,
    parse_instance,
    parse_spec,
    parse_template,
    split_ports,
)
from runpod_sim.graphql_view import (
    render_network_volume,
    render_pod,
    render_template,
    render_user,
)
from runpod_sim.model import Account, DeclinedError, Pod, PodSpec, Refusal
from runpod_sim.refusals import (
    NO_CAPACITY,
    POD_UNKNOWN,
    SOMETHING_WRONG,
    TEMPLATE_UNKNOWN,
)
from runpod_sim.service import Service
from runpod_sim.templates import apply_template, check_for_pods

# The verb a fault may name instead of the field, the same for both wire faces.
VERBS = {
    "podFindAndDeployOnDemand": "deploy",
    "podRentInterruptable": "deploy",
    "deployCpuPod": "deploy",
    "podResume": "resume",
    "podBidResume": "resume",
    "podResumeZeroGpu": "resume",
    "podStop": "stop",
    "podTerminate": "terminate",
    "podEditJob": "edit",
    "podEditName": "edit",
    "podReset": "restart",
    "myself": "list",
    "pod": "get",
    "gpuTypes": "catalog",
    "cpuTypes": "catalog",
    "cpuFlavors": "catalog",
    "dataCenters": "catalog",
    "updateUserSettings": "account",
    "createNetworkVolume": "storage",
    "updateNetworkVolume": "storage",
    "deleteNetworkVolume": "storage",
    "podTemplates": "template",
    "podTemplate": "template",
    "saveTemplate": "template",
    "deleteTemplate": "template",
}
WIRE = "graphql"
UNAUTHENTICATED = Refusal("Unauthorized", "UNAUTHENTICATED", 401)


class Operations:
    """The root of one request, on behalf of the key's account."""

    def __init__(self, service: Service, account: Account | None) -> None:
        self._service = service
        self._maybe_account = account
        self._now = service.now()

    @property
    def _account(self) -> Account:
        if self._maybe_account is None:
            raise DeclinedError(UNAUTHENTICATED)
        return self._maybe_account

    def _render(self, pod: Pod) -> dict[str, Any]:
        return render_pod(self._service, pod, self._now)

    def _require(self, pod_id: str) -> Pod:
        pod = self._service.world.find_pod(self._account.id, pod_id)
        if pod is None:
            raise DeclinedError(POD_UNKNOWN)
        return pod

    # Queries --------------------------------------------------------------------

    def myself(self, _info: Any) -> dict[str, Any]:
        """Return the account behind the key."""
        return render_user(self._service, self._account, self._now)

    def pod(self, _info: Any, *, input: Input | None = None) -> dict[str, Any] | None:  # noqa: A002 - the API's name
        """Return one pod, None when there is none."""
        if not input:
            return None
        pod = self._service.world.find_pod(self._account.id, input["podId"])
        return self._render(pod) if pod else None

    def gpuTypes(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> list[dict[str, Any]]:
        """Return the GPU types."""
        wanted = input or {}
        ids = set(wanted.get("ids") or ())
        if wanted.get("id"):
            ids.add(wanted["id"])
        return [
            render_gpu_type(self._service, gpu_type)
            for gpu_type in self._service.world.catalog.gpu_types
            if not ids or gpu_type.id in ids
        ]

    def cpuTypes(self, _info: Any) -> list[dict[str, Any]]:  # noqa: N802 - the API's name
        """Return the processor models."""
        return [
            {
                "id": "AMD EPYC 9754",
                "displayName": "AMD EPYC 9754",
                "manufacturer": "AMD",
                "cores": 128,
                "threadsPerCore": 2,
                "groupId": "cpu5",
            }
        ]

    def cpuFlavors(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> list[dict[str, Any]]:
        """Return the families of CPU pods."""
        wanted = (input or {}).get("id")
        return [
            render_cpu_flavor(self._service, flavor)
            for flavor in self._service.world.catalog.cpu_flavors
            if wanted in {None, flavor.id}
        ]

    def dataCenters(self, _info: Any) -> list[dict[str, Any]]:  # noqa: N802 - the API's name
        """Return the data centers."""
        return [
            render_data_center(self._service, center)
            for center in self._service.world.catalog.data_centers
        ]

    # Pods -----------------------------------------------------------------------

    def podFindAndDeployOnDemand(  # noqa: N802 - the API's name
        self,
        info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Rent a pod on demand."""
        return self._deploy(info, parse_spec(input or {}), input or {})

    def podRentInterruptable(  # noqa: N802 - the API's name
        self,
        info: Any,
        *,
        input: Input,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Rent a spot pod."""
        bid = Decimal(repr(input.get("bidPerGpu") or 0.0))
        spec = replace(parse_spec(input), bid_usd_per_hour=bid)
        return self._deploy(info, spec, input)

    def deployCpuPod(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Rent a CPU pod."""
        flavor_id, vcpu, memory_gb = parse_instance(input["instanceId"])
        flavor = self._service.world.catalog.find_cpu_flavor(flavor_id)
        if flavor is None or not flavor.min_vcpu <= vcpu <= flavor.max_vcpu:
            raise DeclinedError(NO_CAPACITY)
        spec = replace(
            parse_spec(input),
            gpu_type_ids=(),
            gpu_count=0,
            cpu_flavor_id=flavor.id,
            vcpu_count=vcpu,
            memory_gb=memory_gb,
        )
        return self._deploy(info, spec, input)

    def _deploy(self, info: Any, spec: PodSpec, given: Input) -> dict[str, Any]:
        if spec.template_id is not None:
            templates = self._service.world.templates
            found = templates.get(self._account.id, spec.template_id)
            spec = apply_template(check_for_pods(found), spec, given_fields(given))
        names = (WIRE, "deploy", info.field_name)
        return self._render(self._service.deploy(self._account, spec, names))

    def podResume(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped on-demand pod."""
        pod = self._service.resume(
            self._account,
            input["podId"],
            (WIRE, "resume", info.field_name),
            gpu_count=input.get("gpuCount"),
        )
        return self._render(pod)

    def podBidResume(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped spot pod."""
        bid = input["bidPerGpu"]
        pod = self._service.resume(
            self._account,
            input["podId"],
            (WIRE, "resume", info.field_name),
            gpu_count=input["gpuCount"],
            bid_usd_per_hour=Decimal(repr(bid)) if math.isfinite(bid) else Decimal(0),
        )
        return self._render(pod)

    def podResumeZeroGpu(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped pod with CPUs alone."""
        pod = self._service.resume(
            self._account,
            input["podId"],
            (WIRE, "resume", info.field_name),
            zero_gpu=True,
        )
        return self._render(pod)

    def podStop(self, _info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Stop a pod."""
        return self._render(self._service.stop(self._account, input["podId"]))

    def podTerminate(self, _info: Any, *, input: Input) -> None:  # noqa: A002, N802 - the API's names
        """Delete a pod."""
        self._service.terminate(self._account, input["podId"])

    def podReset(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Restart a pod's container."""
        pod = self._service.restart(
            self._account, input["podId"], (WIRE, "restart", info.field_name)
        )
        return self._render(pod)

    def podEditJob(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Change a pod's container."""
        pod = self._require(input["podId"])
        old = pod.spec
        env = input.get("env")
        ports = input.get("ports")
        spec = replace(
            old,
            image=input["imageName"],
            container_disk_gb=input["containerDiskInGb"],
            env=old.env if env is None else parse_env(env),
            ports=old.ports if ports is None else split_ports(ports),
            docker_args=input.get("dockerArgs") or old.docker_args,
            volume_gb=int(input.get("volumeInGb") or old.volume_gb),
            volume_mount_path=input.get("volumeMountPath") or old.volume_mount_path,
        )
        edited = self._service.edit(
            self._account, pod.id, spec, (WIRE, "edit", info.field_name)
        )
        return self._render(edited)

    def podEditName(self, _info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Rename a pod."""
        pod = self._service.rename(self._account, input["podId"], input["name"])
        return self._render(pod)

    # Account --------------------------------------------------------------------

    def updateUserSettings(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Replace the account's SSH public keys."""
        world = self._service.world
        if input is not None:
            world.set_pub_key(self._account.id, input["pubKey"])
        return render_user(self._service, self._account, self._now)

    # Storage and templates --------------------------------------------------------

    def createNetworkVolume(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Make a network volume."""
        volume = self._service.create_network_volume(
            self._account,
            input.get("name") or "",
            input.get("size") or 10,
            input["dataCenterId"],
        )
        return render_network_volume(self._service, volume)

    def updateNetworkVolume(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Rename a network volume, or let it grow."""
        volume = self._service.change_network_volume(
            self._account, input["id"], input.get("name"), input.get("size")
        )
        return render_network_volume(self._service, volume)

    def deleteNetworkVolume(self, _info: Any, *, input: Input) -> None:  # noqa: A002, N802 - the API's names
        """Delete a network volume."""
        self._service.delete_network_volume(self._account, input["id"])

    def podTemplates(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> list[dict[str, Any]]:
        """Return the templates one can use, RunPod's and one's own."""
        wanted = input or {}
        templates = self._service.world.templates
        readable = {t.id: t for t in templates.public()}
        readable |= {t.id: t for t in templates.of(self._account.id)}
        return [
            shown
            for template in readable.values()
            if all(
                (shown := render_template(template))[name] == value
                for name, value in wanted.items()
                if value is not None
            )
        ]

    def podTemplate(self, _info: Any, *, id: str) -> dict[str, Any] | None:  # noqa: A002, N802 - the API's names
        """Return a template, None when there is none."""
        try:
            template = self._service.world.templates.get(self._account.id, id)
        except DeclinedError:
            return None
        return render_template(template)

    def saveTemplate(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Make a template, or change the one of the given id."""
        if input is None:
            raise DeclinedError(SOMETHING_WRONG)
        templates = self._service.world.templates
        if input.get("id"):
            templates.get_own(self._account.id, input["id"])
        return render_template(templates.save(parse_template(input, self._account.id)))

    def deleteTemplate(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        templateName: str | None = None,  # noqa: N803 - the API's name
    ) -> None:
        """Delete one's template of that name."""
        world = self._service.world
        template = world.templates.find_by_name(self._account.id, templateName or "")
        if template is None:
            raise DeclinedError(TEMPLATE_UNKNOWN)
        world.delete_template(template)
