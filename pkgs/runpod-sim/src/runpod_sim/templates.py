"""Templates: a container's settings under a name, RunPod's own and each account's.

Pure. A template is a source of settings at the moment it is used; what is made from it
does not follow its later changes.
"""

import random
from dataclasses import replace

from runpod_sim.model import DeclinedError, PodSpec, Template
from runpod_sim.refusals import (
    TEMPLATE_NAME_TAKEN,
    TEMPLATE_SERVERLESS,
    TEMPLATE_UNKNOWN,
)
from runpod_sim.stock import new_id

DEFAULT_IMAGE = "runpod/base:0.0.0"


def _listed(id_: str, name: str, image: str, **given: object) -> Template:
    template = Template(
        id=id_,
        account_id=None,
        name=name,
        image=image,
        container_disk_gb=50,
        ports=("8888/http", "22/tcp"),
        is_public=True,
        source="official",
    )
    return replace(template, **given)  # type: ignore[arg-type]  # fields of a Template


# rule SIM-TPL-1
PUBLIC_TEMPLATES: tuple[Template, ...] = (
    _listed(
        "30zmvf89kd",
        "PyTorch 2.8",
        "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
        cuda_versions=("12.8", "13.0"),
        volume_gb=20,
        volume_mount_path="/workspace",
    ),
    _listed("runpod-ubuntu", "Ubuntu 24.04", "runpod/base:1.0.2-ubuntu2404"),
    _listed("runpod-cpu", "CPU base", "runpod/base:1.0.2-ubuntu2404", category="CPU"),
    _listed(
        "sd-worker", "Image worker", "runpod/worker-sdxl:2.0.1", is_serverless=True
    ),
    _listed("cw3nka7d08", "ComfyUI", "runpod/comfyui:latest", source="verified"),
    _listed("someones01", "My notebook", "example/nb:latest", source="community"),
)


class Templates:
    """RunPod's templates and every account's own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._templates = {template.id: template for template in PUBLIC_TEMPLATES}

    def of(self, account_id: str) -> tuple[Template, ...]:
        """Return the account's own templates."""
        return tuple(t for t in self._templates.values() if t.account_id == account_id)

    def public(self) -> tuple[Template, ...]:
        """Return all that everybody sees."""
        return tuple(t for t in self._templates.values() if t.is_public)

    def get(self, account_id: str, template_id: str) -> Template:
        """Return a template the account can read, its own or a public one.

        Raises:
            DeclinedError: There is none.
        """
        template = self._templates.get(template_id)
        if template is None or not (
            template.is_public or template.account_id == account_id
        ):
            raise DeclinedError(TEMPLATE_UNKNOWN)
        return template

    def get_own(self, account_id: str, template_id: str) -> Template:
        """Return one of the account's own templates.

        Raises:
            DeclinedError: There is none; a public one is none either.
        """
        template = self.get(account_id, template_id)
        if template.account_id != account_id:
            raise DeclinedError(TEMPLATE_UNKNOWN)
        return template

    def find_by_name(self, account_id: str, name: str) -> Template | None:
        """Return the account's template of that name, None when there is none."""
        return next((t for t in self.of(account_id) if t.name == name), None)

    def save(self, template: Template) -> Template:
        """Make a template, or change the one of its id.

        Raises:
            DeclinedError: The account has another of that name.
        """
        namesake = self.find_by_name(template.account_id or "", template.name)
        # rule SIM-TPL-2
        if namesake is not None and namesake.id != template.id:
            raise DeclinedError(TEMPLATE_NAME_TAKEN)
        saved = replace(template, id=template.id or new_id(self._rng, 10))
        self._templates[saved.id] = saved
        return saved

    def delete(self, template: Template) -> None:
        """Delete a template, which nothing refers to any more."""
        del self._templates[template.id]


def check_for_pods(template: Template) -> Template:
    """Return a template a pod can be made from.

    Raises:
        DeclinedError: It is for serverless.
    """
    # rule SIM-TPL-4
    if template.is_serverless:
        raise DeclinedError(TEMPLATE_SERVERLESS)
    return template


def apply_template(template: Template, spec: PodSpec, given: frozenset[str]) -> PodSpec:
    """Return a pod's settings with a template's in place of what was not given.

    Args:
        given: The names of the spec's fields the request set itself.
    """
    # rule SIM-TPL-3
    settings: dict[str, object] = {
        "image": template.image,
        "docker_args": template.docker_args,
        "container_disk_gb": template.container_disk_gb,
        "ports": template.ports,
        "start_ssh": template.start_ssh,
        "start_jupyter": template.start_jupyter,
    }
    if spec.cpu_flavor_id is None:
        settings |= _for_gpus(template, spec, given)
    missing = {name: value for name, value in settings.items() if name not in given}
    env = tuple((dict(template.env) | dict(spec.env)).items())
    return replace(spec, **missing, env=env)  # type: ignore[arg-type]  # fields of a PodSpec


def _for_gpus(
    template: Template, spec: PodSpec, given: frozenset[str]
) -> dict[str, object]:
    """Return what a template says of volume and CUDA, which CPU pods ignore."""
    settings: dict[str, object] = {}
    if spec.network_volume_id is None and "volume_gb" not in given:
        settings["volume_gb"] = template.volume_gb
        settings["volume_mount_path"] = template.volume_mount_path
    if not given & {"cuda_versions", "minimum_cuda_version"}:
        settings["cuda_versions"] = template.cuda_versions
    return settings
