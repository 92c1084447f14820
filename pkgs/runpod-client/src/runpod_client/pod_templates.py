"""Pod templates: pods described in the configuration files, rented by name.

    [templates.base]
    image = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
    lease = "4h"
    env_from = ["HF_TOKEN"]             # copied from the caller's environment

    [templates.train]
    extends = "base"
    volume = "${size}"
    command = "train --gb ${size}"
    matrix = [                          # tried in this order
      { gpu = ["RTX 4090"], cloud = "community", bid = "floor+10%" },
      { gpu = ["RTX 4090", "L40S"], max_price = 1.20 },
    ]
    parameters.size = { type = "int", default = 100, min = 10 }

    [profiles.staging.templates.train]  # with --profile staging, over the above
    lease = "1h"

A project's template hides the user's of the same name, whole: a key left over from
another file would be paid for without having been asked for. What is laid over what:
the parent (`extends`), the template, the profile's part of it. `env` and `parameters`
are laid over each other name by name, everything else is replaced.

This module finds and merges; `template_specs` gives the result its meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runpod_client.config_files import (
    ConfigFile,
    Layers,
    Table,
    make_table,
    refuse_untrusted,
)
from runpod_client.errors import ConfigError, NotFoundError
from runpod_client.nearest import render_nearest
from runpod_client.template_parameters import Parameter, parse_parameter
from runpod_client.template_specs import KEYS, PLACE_KEYS, Value

_SECTION = "templates"
_STRUCTURE = ("extends", "matrix", "parameters")


@dataclass(frozen=True, kw_only=True)
class PodTemplate:
    """A template with everything it inherits.

    Attributes:
        file: Where it is defined; what it extends may be in another one.
        values: By key; variables as `env.NAME`.
        matrix: The places to try in turn, each laid over `values`; empty for none.
    """

    name: str
    file: ConfigFile
    extends: tuple[str, ...]
    values: Mapping[str, Value]
    matrix: tuple[Mapping[str, Value], ...]
    parameters: Mapping[str, Parameter]


@dataclass
class _Merged:
    """A template in the making."""

    values: dict[str, Value]
    matrix: tuple[Mapping[str, Value], ...]
    parameters: dict[str, Parameter]


def list_templates(layers: Layers) -> list[PodTemplate]:
    """Return all templates by name, each checked.

    Raises:
        ConfigError: The first fault of one of them.
    """
    return [get_template(layers, name) for name in _names(layers)]


def get_template(
    layers: Layers, name: str, *, without_profile: bool = False
) -> PodTemplate:
    """Return a template with what it inherits.

    Args:
        without_profile: Leave the chosen profile out, to see what it changes.

    Raises:
        NotFoundError: There is none of that name.
        ConfigError: A key is unknown, a value is of no use, it extends itself.
    """
    if without_profile:
        layers = Layers(files=layers.files)
    known = _names(layers)
    if name not in known:
        raise NotFoundError(
            f"there is no pod template {name!r}",
            service="configuration",
            operation="getTemplate",
            hint=render_nearest(name, known)
            or f"Write one: [templates.{name}] in runpod.toml.",
        )
    line = _find_ancestry(layers, name)
    merged = _Merged(values={}, matrix=(), parameters={})
    for ancestor in reversed(line):
        for table in _tables_of(layers, ancestor):
            _lay_over(merged, layers, table)
    return PodTemplate(
        name=name,
        file=_tables_of(layers, name)[0].file,
        extends=tuple(line[1:]),
        values=merged.values,
        matrix=merged.matrix,
        parameters=merged.parameters,
    )


def _names(layers: Layers) -> list[str]:
    tables = layers.tables(_SECTION)
    return sorted({name for table in tables for name in table.entries})


def _tables_of(layers: Layers, name: str) -> list[Table]:
    """Return a template's own tables, the plain one before the profile's."""
    tables = [t for t in layers.tables(_SECTION) if name in t.entries]
    first = tables[0].file
    return [
        make_table(first, f"{table.name}.{name}", table.entries[name])
        for table in reversed(tables)
        if table.file is first
    ]


def _find_ancestry(layers: Layers, name: str) -> list[str]:
    """Return a template's name and those of what it extends, nearest first."""
    line = [name]
    while (parent := _find_parent(layers, line[-1])) is not None:
        if parent in line:
            circle = " -> ".join([*line[line.index(parent) :], parent])
            label = _tables_of(layers, parent)[0].label
            raise ConfigError(
                f"the pod template {parent!r} of {label} extends itself: {circle}",
                setting="extends",
                source=label,
            )
        line.append(parent)
    return line


def _find_parent(layers: Layers, name: str) -> str | None:
    """Return what a template extends; the profile's part may say otherwise."""
    found = [t for t in _tables_of(layers, name) if "extends" in t.entries]
    if not found:
        return None
    table, parent = found[-1], found[-1].entries["extends"]
    known = _names(layers)
    if parent in known:
        return str(parent)
    raise ConfigError(
        f"{table.label} extends {parent!r}, which is no pod template",
        setting="extends",
        source=table.label,
        hint=render_nearest(str(parent), [n for n in known if n != name]),
    )


def _lay_over(merged: _Merged, layers: Layers, table: Table) -> None:
    """Put one table over what was merged so far."""
    for key, entry in table.entries.items():
        if key not in KEYS and key not in _STRUCTURE:
            raise _unknown_key(table, key, (*KEYS, *_STRUCTURE))
        if key == "env_from":
            refuse_untrusted(
                layers, table, key, why="it would copy variables of yours into a pod"
            )
        if key == "env":
            env = make_table(table.file, f"{table.name}.env", entry)
            for variable, value in env.entries.items():
                merged.values[f"env.{variable}"] = Value(raw=value, origin=env.label)
        elif key == "parameters":
            merged.parameters.update(_parse_parameters(table, entry))
        elif key == "matrix":
            merged.matrix = _parse_matrix(table, entry)
        elif key != "extends":
            merged.values[key] = Value(raw=entry, origin=table.label)


def _parse_parameters(table: Table, entry: Any) -> dict[str, Parameter]:
    declared = make_table(table.file, f"{table.name}.parameters", entry)
    return {
        name: parse_parameter(
            make_table(table.file, f"{declared.name}.{name}", declared.entries[name])
        )
        for name in declared.entries
    }


def _parse_matrix(table: Table, entry: Any) -> tuple[Mapping[str, Value], ...]:
    """Return the places of a matrix; it says where a pod runs, not what."""
    if not isinstance(entry, list) or not entry:
        raise ConfigError(
            f"matrix in {table.label} must be a list of tables",
            setting="matrix",
            source=table.label,
            hint='For instance: [{ gpu = ["RTX 4090"] }, { gpu = ["L40S"] }]',
        )
    places = []
    for number, row in enumerate(entry, start=1):
        place = make_table(table.file, f"{table.name}.matrix {number}", row)
        for key in place.entries:
            if key not in PLACE_KEYS:
                raise _unknown_key(place, key, PLACE_KEYS)
        places.append(
            {k: Value(raw=v, origin=place.label) for k, v in place.entries.items()}
        )
    return tuple(places)


def _unknown_key(table: Table, key: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"unknown key {key!r} in [{table.name}] of {table.file.path}",
        setting=key,
        source=table.label,
        hint=render_nearest(key, known),
    )
