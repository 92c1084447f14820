"""How pod templates look: documents for programs, sheets for people; pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from runpod_client.config_values import render_value
from runpod_client.model import Template
from runpod_client.pod_templates import PodTemplate
from runpod_client.sheets import Cell, Sheet
from runpod_client.template_parameters import Parameter
from runpod_client.template_rendering import Change, Rendered, hide
from runpod_client.template_specs import DEFAULT


def template_document(template: PodTemplate) -> dict[str, Any]:
    """Return a template as it is written, for programs."""
    return {
        "name": template.name,
        "file": template.file.path,
        "is_project": template.file.is_project,
        "extends": list(template.extends),
        "parameters": [
            {
                "name": parameter.name,
                "type": parameter.kind,
                "default": parameter.default,
                "min": parameter.least,
                "max": parameter.most,
                "choices": list(parameter.choices),
                "help": parameter.help,
            }
            for parameter in template.parameters.values()
        ],
        "values": [
            {"key": key, "value": text, "origin": origin}
            for key, text, origin in _written(template)
        ],
    }


def template_sheet(templates: Sequence[PodTemplate]) -> Sheet:
    """Return templates for people, a line each."""
    return Sheet(
        headings=("NAME", "EXTENDS", "PARAMETERS", "FILE"),
        rows=[
            (
                template.name,
                " < ".join(template.extends) or "-",
                ", ".join(map(_render_parameter, template.parameters.values())) or "-",
                str(template.file.path),
            )
            for template in templates
        ],
        empty="No pod templates. Write one: [templates.NAME] in runpod.toml.",
    )


def template_lines(template: PodTemplate) -> Sheet:
    """Return what one template says, for people."""
    rows = list(_written(template))
    for parameter in template.parameters.values():
        text = f"{_render_parameter(parameter)}  {parameter.help}".strip()
        rows.append((f"parameter {parameter.name}", text, parameter.label))
    return Sheet(headings=("KEY", "VALUE", "FROM"), rows=rows, empty="It says nothing.")


def rendered_document(rendered: Rendered) -> dict[str, Any]:
    """Return a rendered template for programs."""
    return {
        "template": rendered.template.name,
        "file": rendered.template.file.path,
        "extends": list(rendered.template.extends),
        "profile": rendered.profile,
        "parameters": dict(rendered.parameters),
        "values": [
            {"key": line.key, "value": line.value, "origin": line.origin}
            for line in rendered.lines
        ],
        "changes": change_documents(rendered.changes),
    }


def rendered_sheet(rendered: Rendered) -> Sheet:
    """Return every value for people: those set, and `+` before what was changed."""
    changed = {change.key: change for change in rendered.changes}
    rows: list[list[str | Cell]] = []
    for line in rendered.lines:
        change = changed.pop(line.key, None)
        if line.text or change:
            style = "dim" if line.origin == DEFAULT else ""
            cells = (line.key, line.text or "-", line.origin)
            rows.append([*_mark(change), *(Cell(text, style) for text in cells)])
    # what the plain template has and this one has not
    rows += [
        [*_mark(change), key, change.after or "-", "-"]
        for key, change in changed.items()
    ]
    return Sheet(headings=("", "PLAIN TEMPLATE", "KEY", "VALUE", "FROM"), rows=rows)


def change_documents(changes: Iterable[Change]) -> list[dict[str, str]]:
    """Return differences for programs."""
    return [{"key": c.key, "before": c.before, "after": c.after} for c in changes]


def change_sheet(changes: Iterable[Change]) -> Sheet:
    """Return differences between a pod and a template for people."""
    return Sheet(
        headings=("KEY", "POD", "TEMPLATE"),
        rows=[(c.key, c.before or "-", c.after or "-") for c in changes],
        empty="The pod is as the template describes it.",
    )


def kept_document(template: Template) -> dict[str, Any]:
    """Return a template kept at RunPod, for programs; its variables by name alone."""
    return {
        "template_id": template.template_id,
        "name": template.name,
        "image": template.image,
        "container_disk_gb": template.container_disk_gb,
        "volume_gb": template.volume_gb,
        "volume_mount_path": template.volume_mount_path,
        "ports": list(template.ports),
        "env_names": sorted(template.env),
        "is_public": template.is_public,
        "is_serverless": template.is_serverless,
    }


def kept_sheet(templates: Sequence[Template]) -> Sheet:
    """Return templates kept at RunPod for people."""
    return Sheet(
        headings=("NAME", "ID", "IMAGE", ">DISK", ">VOLUME"),
        rows=[
            (t.name, t.template_id, t.image, str(t.container_disk_gb), str(t.volume_gb))
            for t in templates
        ],
        empty="Your account has no templates at RunPod.",
    )


def _mark(change: Change | None) -> tuple[str | Cell, str]:
    if change is None:
        return "", ""
    return Cell("+", "yellow"), change.before or "not set"


def _written(template: PodTemplate) -> list[tuple[str, str, str]]:
    """Return key, value and origin of all a template says, places of a matrix last."""
    rows = [(k, _render_raw(k, v.raw), v.origin) for k, v in template.values.items()]
    for number, place in enumerate(template.matrix, start=1):
        rows += [
            (f"{number}. {key}", _render_raw(key, value.raw), value.origin)
            for key, value in place.items()
        ]
    return rows


def _render_raw(key: str, raw: Any) -> str:
    """Return a value as it is written, a secret in a variable as stars."""
    if isinstance(raw, list):
        return ", ".join(render_value(part) for part in raw)
    text = render_value(raw)
    return hide(key, text) if key.startswith("env.") else hide("", text)


def _render_parameter(parameter: Parameter) -> str:
    """Return a parameter as it can be given: `size=100`, or `size=` if it must be."""
    return f"{parameter.name}={render_value(parameter.default)}"
