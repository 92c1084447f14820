"""All the configuration there is: every setting of every tool, and whether it holds.

It reads no secrets and runs no commands: it looks at what is written.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runpod_client import config
from runpod_client.config import Described
from runpod_client.config_files import SECTIONS, Layers, list_profiles, merge_table
from runpod_client.errors import ConfigError
from runpod_client.hook_settings import parse_hooks
from runpod_client.pod_templates import list_templates
from runpod_client.sheets import Cell, Page, Sheet
from runpod_client.template_rendering import check_template


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found to hold."""

    files: tuple[Path, ...]
    profiles: tuple[str, ...]
    sections: tuple[str, ...]
    templates: tuple[str, ...]


def describe_all(layers: Layers, environ: Mapping[str, str]) -> list[Described]:
    """Return every setting of every tool that is installed, as it is in force.

    Raises:
        ConfigError: The first fault.
    """
    return [
        row
        for section, settings_type in _find_types().items()
        for row in config.describe(
            settings_type, section=section, layers=layers, environ=environ
        )
    ]


def check_all(layers: Layers, environ: Mapping[str, str]) -> Checked:
    """Return what holds: the settings in force, the hooks, the templates of each profile.

    Raises:
        ConfigError: The first fault.
    """
    profiles = list_profiles(layers.files)
    describe_all(layers, environ)
    names: set[str] = set()
    for profile in (None, *profiles):
        layered = replace(layers, profile=profile)
        describe_all(layered, environ)
        _check_hooks(layered)
        for template in list_templates(layered):
            check_template(template)
            names.add(template.name)
    return Checked(
        files=tuple(file.path for file in layers.files if file.path.exists()),
        profiles=tuple(profiles),
        sections=tuple(_find_types()),
        templates=tuple(sorted(names)),
    )


def settings_document(layers: Layers, rows: list[Described]) -> dict[str, Any]:
    """Return settings for programs."""
    return {
        "profile": layers.profile,
        "files": [
            {
                "path": file.path,
                "exists": file.path.exists(),
                "is_project": file.is_project,
                "is_trusted": file.is_trusted,
            }
            for file in layers.files
        ],
        "settings": [
            {
                "setting": f"{row.section}.{row.name}",
                "value": row.value,
                "unit": row.info.unit,
                "source": row.source,
                "environment": row.info.env,
            }
            for row in rows
        ],
    }


def settings_sheet(rows: list[Described]) -> Sheet:
    """Return settings for people; defaults are dim."""
    lines = []
    for row in rows:
        style = "dim" if row.source == config.DEFAULT else ""
        shown = f"{row.value} {row.info.unit}".strip() if row.value else "-"
        cells = (f"{row.section}.{row.name}", shown, row.source, row.info.env)
        lines.append([Cell(text, style) for text in cells])
    return Sheet(headings=("SETTING", "VALUE", "SOURCE", "ENVIRONMENT"), rows=lines)


def checked_document(checked: Checked) -> dict[str, Any]:
    """Return the result of a check for programs."""
    return {
        "is_valid": True,
        "files": list(checked.files),
        "profiles": list(checked.profiles),
        "sections": list(checked.sections),
        "templates": list(checked.templates),
    }


def checked_page(checked: Checked) -> Page:
    """Return the result of a check for people."""
    rows = {
        "configuration": "ok",
        "files": ", ".join(map(str, checked.files)),
        "profiles": ", ".join(checked.profiles),
        "templates": ", ".join(checked.templates),
    }
    return Page([(label, text or "none") for label, text in rows.items()])


def _check_hooks(layers: Layers) -> None:
    hooks, source = merge_table("hooks", layers)
    try:
        parse_hooks(hooks, source=source)
    except ConfigError as error:
        raise ConfigError(
            f"{error.message}, in {source}",
            setting=error.setting,
            source=source,
            hint=error.hint,
        ) from error


def _find_types() -> dict[str, type[Any]]:
    """Return the settings types of the tools that are installed, by section."""
    found = {}
    for section, (module_name, type_name) in SECTIONS.items():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name.partition(".")[0]:
                raise
            continue
        found[section] = getattr(module, type_name)
    return found
