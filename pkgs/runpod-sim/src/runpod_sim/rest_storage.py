"""REST v2's network volumes and templates.

It turns requests into operations of the service and shows what they come to.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from runpod_sim.model import Account, Template
from runpod_sim.rest_body import DEFAULT_DISK_GB, Problem, check
from runpod_sim.rest_call import Call, Row, answer_json
from runpod_sim.rest_view import render_network_volume, render_template
from runpod_sim.service import Service


class RestStorage:
    """The handlers of /v2/network-volumes and /v2/templates."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def rows(self) -> tuple[Row, ...]:
        """Return the routes."""
        volumes, one = "/v2/network-volumes", "/v2/network-volumes/{id}"
        verb = "storage"
        templates, template = "/v2/templates", "/v2/templates/{id}"
        kind = "template"
        return (
            (volumes, "GET", "listNetworkVolumes", verb, self.list_volumes),
            (volumes, "POST", "createNetworkVolume", verb, self.create_volume),
            (one, "GET", "getNetworkVolume", verb, self.get_volume),
            (one, "PATCH", "updateNetworkVolume", verb, self.update_volume),
            (one, "DELETE", "deleteNetworkVolume", verb, self.delete_volume),
            (templates, "GET", "listTemplates", kind, self.list_templates),
            (templates, "POST", "createTemplate", kind, self.create_template),
            (template, "GET", "getTemplate", kind, self.get_template),
            (template, "PATCH", "updateTemplate", kind, self.update_template),
            (template, "DELETE", "deleteTemplate", kind, self.delete_template),
        )

    # Network volumes --------------------------------------------------------------

    async def list_volumes(self, call: Call) -> Response:
        """List the account's network volumes."""
        volumes = self._service.world.volumes.of(call.account.id)
        shown = [render_network_volume(volume) for volume in volumes]
        return answer_json({"networkVolumes": shown})

    async def create_volume(self, call: Call) -> Response:
        """Make a network volume."""
        given = check("CreateNetworkVolumeRequest", await call.body())
        volume = self._service.create_network_volume(
            call.account,
            given["name"],
            given["size"],
            given["dataCenter"],
            given.get("type", ""),
        )
        return answer_json(render_network_volume(volume), 201)

    async def get_volume(self, call: Call) -> Response:
        """Show a network volume."""
        volume = self._service.world.volumes.get(call.account.id, call.subject_id)
        return answer_json(render_network_volume(volume))

    async def update_volume(self, call: Call) -> Response:
        """Rename a network volume, or let it grow."""
        given = check("UpdateNetworkVolumeRequest", await call.body())
        volume = self._service.change_network_volume(
            call.account, call.subject_id, given.get("name"), given.get("size")
        )
        return answer_json(render_network_volume(volume))

    async def delete_volume(self, call: Call) -> Response:
        """Delete a network volume."""
        self._service.delete_network_volume(call.account, call.subject_id)
        return Response(status_code=204)

    # Templates ------------------------------------------------------------------

    async def list_templates(self, call: Call) -> Response:
        """List the account's own templates."""
        templates = self._service.world.templates.of(call.account.id)
        shown = [render_template(template, call.account.id) for template in templates]
        return answer_json({"templates": shown})

    async def create_template(self, call: Call) -> Response:
        """Make a template."""
        given = check("CreateTemplateRequest", await call.body())
        fresh = Template(
            id="",
            account_id=call.account.id,
            name=given["name"],
            image=given["image"],
            container_disk_gb=DEFAULT_DISK_GB,
        )
        saved = self._service.world.templates.save(change_template(fresh, given))
        return answer_json(render_template(saved, call.account.id), 201)

    async def get_template(self, call: Call) -> Response:
        """Show a template, one's own or a public one."""
        template = self._service.world.templates.get(call.account.id, call.subject_id)
        return answer_json(render_template(template, call.account.id))

    async def update_template(self, call: Call) -> Response:
        """Change what a PATCH names."""
        own = self._own(call.account, call.subject_id)
        given = check("UpdateTemplateRequest", await call.body())
        saved = self._service.world.templates.save(change_template(own, given))
        return answer_json(render_template(saved, call.account.id))

    async def delete_template(self, call: Call) -> Response:
        """Delete a template."""
        own = self._own(call.account, call.subject_id)
        self._service.world.delete_template(own)
        return Response(status_code=204)

    def _own(self, account: Account, template_id: str) -> Template:
        return self._service.world.templates.get_own(account.id, template_id)


def change_template(template: Template, given: Mapping[str, Any]) -> Template:
    """Return a template with a checked body applied.

    Raises:
        Problem: An image is named that is none.
    """
    if given.get("image") == "":
        raise Problem(400, "image must not be empty")
    persistent = (given.get("mounts") or {}).get("persistent") or {}
    changes: dict[str, Any] = {
        field: given[name]
        for name, field in (
            ("name", "name"),
            ("image", "image"),
            ("args", "docker_args"),
            ("disk", "container_disk_gb"),
            ("registry", "registry_id"),
            ("serverless", "is_serverless"),
            ("public", "is_public"),
            ("category", "category"),
            ("startSsh", "start_ssh"),
            ("startJupyter", "start_jupyter"),
        )
        if name in given
    }
    if "ports" in given:
        changes["ports"] = tuple(given["ports"])
    if "env" in given:
        changes["env"] = tuple(given["env"].items())
    if "allowedCudaVersions" in given:
        changes["cuda_versions"] = tuple(given["allowedCudaVersions"])
    if persistent:
        changes["volume_gb"] = persistent["size"]
        changes["volume_mount_path"] = persistent["path"]
    return replace(template, **changes)
