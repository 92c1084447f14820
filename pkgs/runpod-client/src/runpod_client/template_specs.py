"""What the keys of a pod template mean: merged values in, a `PodSpec` out; pure.

Every value keeps its origin up to the last: an error names the file and table, and what
is shown before spending names them for each line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from runpod_client.bids import parse_bid
from runpod_client.config_values import parse_value, render_value
from runpod_client.errors import ConfigError, Error
from runpod_client.leases import parse_lease
from runpod_client.model import CloudType, Constraints, PodSpec, Preference
from runpod_client.specs import check_spec, parse_port
from runpod_client.template_parameters import substitute
from runpod_client.wanted import DEFAULT_IMAGE

ValueT = TypeVar("ValueT")
DEFAULT = "default"

# key -> the field of `Constraints` it fills, and its type
_PLACE: Mapping[str, tuple[str, Any]] = {
    "gpu": ("gpu_types", tuple[str, ...]),
    "gpu_count": ("gpu_count", int),
    "cloud": ("cloud_type", CloudType),
    "data_centers": ("data_center_ids", tuple[str, ...]),
    "min_memory": ("min_memory_gb", int),
    "min_cuda": ("min_cuda", str),
    "max_price": ("max_price_usd_per_hour", Decimal),
    "bid": ("bid", str),
    "prefer": ("prefer", Preference),
}
# key -> the field of `PodSpec` it fills, and its type
_POD: Mapping[str, tuple[str, Any]] = {
    "name": ("name", str),
    "image": ("image", str),
    "disk": ("container_disk_gb", int),
    "volume": ("volume_gb", int),
    "volume_mount_path": ("volume_mount_path", str),
    "network_volume": ("network_volume_id", str),
    "runpod_template": ("template_id", str),
    "ports": ("ports", tuple[str, ...]),
    "command": ("start_command", str),
    "lease": ("lease", str),
}
PLACE_KEYS = tuple(_PLACE)
KEYS = (*_POD, *_PLACE, "env", "env_from")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value as a file has it, and the table it stands in."""

    raw: Any = field(repr=False)
    origin: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One value of a finished spec and where it is from; secrets are stars already."""

    key: str
    value: Any
    origin: str

    @property
    def text(self) -> str:
        """Return the value for people."""
        return render_value(self.value)


def make_spec(
    name: str,
    values: Mapping[str, Value],
    matrix: tuple[Mapping[str, Value], ...],
    *,
    bound: Mapping[str, Any],
    environ: Mapping[str, str] | None,
    default_lease: timedelta | None,
) -> PodSpec:
    """Return the pod a template describes.

    Args:
        name: The pod's name where the template gives none.
        bound: The parameters' values.
        environ: What `env_from` takes variables from; None takes each as there but
            empty, to check the rest.
        default_lease: For a template without a lease; None for no end.

    Raises:
        ConfigError: A value is of the wrong type or makes no sense; a parameter or a
            variable it refers to does not exist.
    """
    parsed = {
        field_name: _parse(values[key], hint, key, bound)
        for key, (field_name, hint) in _POD.items()
        if key in values
    }
    if "ports" in parsed:
        parsed["ports"] = _checked(
            values["ports"], "ports", lambda: tuple(map(parse_port, parsed["ports"]))
        )
    if "lease" in parsed:
        text = parsed["lease"]
        parsed["lease"] = _checked(values["lease"], "lease", lambda: parse_lease(text))
    places = [_make_place({**values, **row}, bound) for row in matrix or ({},)]
    image = "" if parsed.get("template_id") else DEFAULT_IMAGE
    spec = PodSpec(
        **{"name": name, "image": image, "lease": default_lease, **parsed},
        env=_make_env(values, bound, environ),
        place=places[0],
        fallbacks=tuple(places[1:]),
    )
    try:
        check_spec(spec)
    except ConfigError as error:
        raise ConfigError(
            f"the pod template {name!r} describes no pod: {error.message}",
            setting=name,
            hint=error.hint,
        ) from error
    return spec


def render_lines(
    spec: PodSpec,
    values: Mapping[str, Value],
    matrix: tuple[Mapping[str, Value], ...],
    *,
    render_lease: Callable[[timedelta | None], str],
    hide: Callable[[str, str], str],
) -> list[Line]:
    """Return every value of a template's spec with its origin.

    Args:
        hide: Given a variable's or key's name and value, returns what may be shown.
    """
    lines = [
        Line(
            key=key,
            value=_shown(getattr(spec, field_name), key, hide),
            origin=_origin(values, key),
        )
        for key, (field_name, _) in _POD.items()
        if key != "lease"
    ]
    lease_origin = _origin(values, "lease", default="setting default_lease")
    lines.append(Line(key="lease", value=render_lease(spec.lease), origin=lease_origin))
    for number, place in enumerate((spec.place, *spec.fallbacks)):
        row = matrix[number] if matrix else {}
        prefix = f"{number + 1}. " if matrix else ""
        lines += [
            Line(
                key=prefix + key,
                value=getattr(place, field_name),
                origin=_origin({**values, **row}, key),
            )
            for key, (field_name, _) in _PLACE.items()
        ]
    for variable, text in sorted(spec.env.items()):
        key = f"env.{variable}"
        is_copied = key not in values or variable in _copied(values)
        origin = _origin(values, "env_from" if is_copied else key)
        shown = "***" if is_copied else hide(variable, text)
        lines.append(Line(key=key, value=shown, origin=origin))
    return lines


def _shown(value: Any, key: str, hide: Callable[[str, str], str]) -> Any:
    return hide(key, value) if isinstance(value, str) else value


def _origin(values: Mapping[str, Value], key: str, default: str = DEFAULT) -> str:
    return values[key].origin if key in values else default


def _copied(values: Mapping[str, Value]) -> list[Any]:
    raw = values["env_from"].raw if "env_from" in values else []
    return raw if isinstance(raw, list) else [raw]


def _make_place(values: Mapping[str, Value], bound: Mapping[str, Any]) -> Constraints:
    parsed = {
        field_name: _parse(values[key], hint, key, bound)
        for key, (field_name, hint) in _PLACE.items()
        if key in values
    }
    if parsed.get("bid"):
        _checked(values["bid"], "bid", lambda: parse_bid(parsed["bid"]))
    return Constraints(**parsed)


def _make_env(
    values: Mapping[str, Value],
    bound: Mapping[str, Any],
    environ: Mapping[str, str] | None,
) -> dict[str, str]:
    env = {}
    for key, value in values.items():
        if key.startswith("env."):
            found = substitute(value.raw, bound, source=f"{key} of {value.origin}")
            if not isinstance(found, str | int | float | Decimal):
                raise ConfigError(
                    f"{key} from {value.origin} is no text",
                    setting=key,
                    source=value.origin,
                )
            env[key.removeprefix("env.")] = render_value(found)
    if "env_from" in values:
        copied = values["env_from"]
        for name in _parse(copied, tuple[str, ...], "env_from", bound):
            if environ is not None and name not in environ:
                raise ConfigError(
                    f"{copied.origin} wants the variable {name} of your environment, "
                    "which has none",
                    setting="env_from",
                    source=copied.origin,
                    hint=f"Set it: export {name}=...",
                )
            env[name] = environ[name] if environ is not None else ""
    return env


def _parse(value: Value, hint: Any, key: str, bound: Mapping[str, Any]) -> Any:
    raw = substitute(value.raw, bound, source=f"{key} of {value.origin}")
    if key == "bid" and isinstance(raw, int | float | Decimal):
        raw = str(raw)  # a price per GPU-hour
    if hint is Decimal and isinstance(raw, Decimal):
        return raw
    return parse_value(raw, hint, name=key, source=value.origin)


def _checked(value: Value, key: str, make: Callable[[], ValueT]) -> ValueT:
    """Return what `make` does; its error gets the value's origin.

    Raises:
        ConfigError: It failed.
    """
    try:
        return make()
    except Error as error:
        raise ConfigError(
            f"{key} from {value.origin}: {error.message}",
            setting=key,
            source=value.origin,
            hint=error.hint,
        ) from error
