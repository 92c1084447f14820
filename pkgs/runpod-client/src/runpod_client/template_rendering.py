"""A pod template made into a spec, with where each value is from and what it changes.

This is what is shown before anything is spent; `template_tables` draws it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from runpod_client.config_files import Layers
from runpod_client.leases import render_lease
from runpod_client.logs import STARS, scrub
from runpod_client.model import Pod, PodSpec
from runpod_client.pod_templates import PodTemplate, get_template
from runpod_client.template_parameters import bind, substitute
from runpod_client.template_specs import Line, make_spec, render_lines

_SECRET_NAME = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that differs; empty text: it is not there."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A template's spec.

    Attributes:
        parameters: The value of each.
        lines: Every value in force, with its origin.
        changes: What the profile and the parameters given make different.
    """

    template: PodTemplate
    profile: str | None
    spec: PodSpec
    parameters: Mapping[str, Any]
    lines: tuple[Line, ...]
    changes: tuple[Change, ...]


def render_template(
    layers: Layers,
    name: str,
    *,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    default_lease: timedelta | None,
) -> Rendered:
    """Return the pod a template describes.

    Args:
        given: The parameters, as text.
        environ: What `env_from` takes variables from.
        default_lease: For a template without a lease; None for no end.

    Raises:
        NotFoundError: There is no such template.
        ConfigError: It, or a parameter, is faulty.
    """
    template = get_template(layers, name)
    bound = bind(template.parameters, given, template=name)
    spec, lines = _make(template, bound, environ, default_lease)
    before = _render_plain(layers, template, bound, environ, default_lease)
    return Rendered(
        template=template,
        profile=layers.profile,
        spec=spec,
        parameters=bound,
        lines=tuple(lines),
        changes=tuple(_compare(before, lines)),
    )


def check_template(template: PodTemplate) -> None:
    """Do nothing for a template that can be rendered, given the parameters it needs.

    With parameters that have to be given only the references are checked: what they
    will stand for is not known. Variables of `env_from` count as there.

    Raises:
        ConfigError: Its first fault.
    """
    parameters = template.parameters.values()
    bound = {parameter.name: parameter.default for parameter in parameters}
    if None in bound.values():
        for place in (template.values, *template.matrix):
            for key, value in place.items():
                substitute(value.raw, bound, source=f"{key} of {value.origin}")
        return
    _make(template, bound, None, None)


def check_arguments(template: PodTemplate, given: Mapping[str, str]) -> None:
    """Do nothing where a template can be rendered with these parameters.

    Raises:
        ConfigError: One is unknown, missing, or not of its type.
    """
    bind(template.parameters, given, template=template.name)


def compare_with_pod(
    rendered: Rendered, pod: Pod, gpu_names: Mapping[str, str]
) -> list[Change]:
    """Return what is different about a pod from what the template describes.

    Compared is what RunPod tells of a pod. One of the template's GPU types is as good
    as another. Of variables only those of the template count.

    Args:
        gpu_names: The display name of each GPU type by its id; a template may write
            either.
    """
    spec = rendered.spec
    places = (spec.place, *spec.fallbacks)
    wanted_gpus = sorted({gpu for place in places for gpu in place.gpu_types})
    names = {pod.gpu_type, gpu_names.get(pod.gpu_type, pod.gpu_type)}
    is_wanted = not wanted_gpus or not names.isdisjoint(wanted_gpus)
    rows = [
        ("name", pod.name, spec.name),
        ("image", pod.image, spec.image or pod.image),
        ("gpu", pod.gpu_type, pod.gpu_type if is_wanted else ", ".join(wanted_gpus)),
        ("gpu_count", pod.gpu_count, spec.place.gpu_count),
        ("disk", pod.container_disk_gb, spec.container_disk_gb),
        ("volume", pod.volume_gb, spec.volume_gb),
        ("network_volume", pod.network_volume_id, spec.network_volume_id),
    ]
    if pod.asked_ports is not None:
        rows.append(("ports", ", ".join(pod.asked_ports), ", ".join(spec.ports)))
    changes = [
        Change(key=key, before=str(there), after=str(wanted))
        for key, there, wanted in rows
        if there != wanted
    ]
    for name, value in sorted(spec.env.items()):
        there = pod.env.get(name)
        if there != value:
            shown = "" if there is None else hide(name, there)
            new = hide(name, value)
            # two secrets look alike: say at least that they are not
            new += " (another)" * (shown == new)
            changes.append(Change(key=f"env.{name}", before=shown, after=new))
    return changes


def hide(name: str, value: str) -> str:
    """Return what may be shown of a variable: stars if it looks like a secret."""
    if _SECRET_NAME.search(name):
        return STARS
    return scrub(value)


def _make(
    template: PodTemplate,
    bound: Mapping[str, Any],
    environ: Mapping[str, str] | None,
    default_lease: timedelta | None,
) -> tuple[PodSpec, list[Line]]:
    spec = make_spec(
        template.name,
        template.values,
        template.matrix,
        bound=bound,
        environ=environ,
        default_lease=default_lease,
    )
    lines = render_lines(
        spec, template.values, template.matrix, render_lease=render_lease, hide=hide
    )
    return spec, lines


def _render_plain(
    layers: Layers,
    template: PodTemplate,
    bound: Mapping[str, Any],
    environ: Mapping[str, str],
    default_lease: timedelta | None,
) -> list[Line]:
    """Return the lines of a template without its profile and with its defaults.

    A parameter without a default keeps the value given; a template that only the
    profile has is compared with nothing.
    """
    plain = Layers(files=layers.files)
    if not any(template.name in t.entries for t in plain.tables("templates")):
        return []
    base = get_template(layers, template.name, without_profile=True)
    defaults = {
        name: bound.get(name) if parameter.default is None else parameter.default
        for name, parameter in base.parameters.items()
    }
    return _make(base, {**bound, **defaults}, environ, default_lease)[1]


def _compare(before: list[Line], after: list[Line]) -> list[Change]:
    was = {line.key: line.text for line in before}
    now = {line.key: line.text for line in after}
    return [
        Change(key=key, before=was.get(key, ""), after=now.get(key, ""))
        for key in dict.fromkeys([*now, *was])
        if was.get(key, "") != now.get(key, "")
    ]
