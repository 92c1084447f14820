"""Which of the places that can set a setting does: flag, environment, files, default.

It decides also what may stand in a file at all. How settings are declared is `config`'s
business; where secrets come from is `secret_sources`'.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_client import config_files
from runpod_client.config_files import Layers, Table
from runpod_client.config_values import parse_value, plain_type
from runpod_client.errors import ConfigError
from runpod_client.model import Secret
from runpod_client.nearest import render_nearest
from runpod_client.secret_sources import (
    SecretSource,
    find_secret_source,
    make_command_source,
    make_file_source,
)

_COMMAND = "_command"
_FILE = "_file"
_RUNS_COMMAND = "it would run a command on this machine"


@dataclass(frozen=True, kw_only=True)
class SettingInfo:
    """How one setting is named and explained; `setting` makes it."""

    help: str
    env: str
    unit: str = ""
    flag: str | None = None
    is_project_safe: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """A value's origin; `read` returns it, and may read a file or run a command."""

    source: str
    read: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A setting as its dataclass declares it; `hint` is its type."""

    name: str
    info: SettingInfo
    hint: Any

    @property
    def is_secret(self) -> bool:
        """Return whether its value must not be shown, nor stand in a file."""
        return plain_type(self.hint) is Secret


def find_all(
    declared: Sequence[Declared],
    section: str,
    layers: Layers,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Iterator[tuple[Declared, Found | None]]:
    """Yield each setting with the value of highest precedence, None for the default.

    Raises:
        ConfigError: A table of the section, of whatever profile, has a key it may not
            have; a value does not parse.
    """
    for table in layers.all_tables(section):
        _check_keys(declared, layers, table)
    tables = layers.tables(section)
    for one in declared:
        if flags.get(one.name) is not None:
            flag = f"flag {one.info.flag or one.name}"
            read = functools.partial(flags.get, one.name)
            yield one, Found(source=flag, read=read)
        elif one.is_secret:
            yield one, _find_secret(one, environ, tables)
        else:
            yield one, _find(one, environ, tables)


def _find(
    one: Declared, environ: Mapping[str, str], tables: list[Table]
) -> Found | None:
    name, env = one.name, one.info.env
    places: list[tuple[str, Mapping[str, Any], str]] = [
        (f"environment variable {env}", environ, env),
        *((table.label, table.entries, name) for table in tables),
    ]
    for source, values, key in places:
        # a variable set to nothing is as good as none
        if key in values and not (values is environ and not values[key]):
            value = parse_value(values[key], one.hint, name=name, source=source)
            return Found(source=source, read=functools.partial(_constant, value))
    return None


def _find_secret(
    one: Declared, environ: Mapping[str, str], tables: list[Table]
) -> Found | None:
    source = find_secret_source(one.info.env, environ)
    if source is None:
        found = (_find_in_table(one.name, table, environ) for table in tables)
        source = next((place for place in found if place is not None), None)
    return Found(source=source.source, read=source.read) if source else None


def _find_in_table(
    name: str, table: Table, environ: Mapping[str, str]
) -> SecretSource | None:
    """Return the file or command a table names for a secret."""
    file_key, command_key = name + _FILE, name + _COMMAND
    if file_key in table.entries:
        text = table.entries[file_key]
        named = parse_value(text, Path, name=file_key, source=table.label)
        # a relative one lies beside the file that names it, wherever we stand
        path = table.file.path.parent / named
        return make_file_source(
            path, setting=file_key, source=f"file {path} named in {table.label}"
        )
    if command_key not in table.entries:
        return None
    config_files.check_unwritable_by_others(table.file, command_key)
    return make_command_source(
        table.entries[command_key],
        setting=command_key,
        source=f"command {command_key} of {table.label}",
        environ=environ,
    )


def _check_keys(declared: Sequence[Declared], layers: Layers, table: Table) -> None:
    """Refuse keys that are unknown, hold a secret, or are not for a project to set."""
    secrets = {one.name: one for one in declared if one.is_secret}
    plain = {one.name: one for one in declared if not one.is_secret}
    places = [name + ending for name in secrets for ending in (_FILE, _COMMAND)]
    for key in table.entries:
        if key not in (*secrets, *plain, *places):
            raise ConfigError(
                f"unknown setting {key!r} in [{table.name}] of {table.file.path}",
                setting=key,
                source=table.label,
                hint=render_nearest(key, [*plain, *places]),
            )
        if key in secrets:
            raise ConfigError(
                f"{table.label} holds the secret {key!r} in clear",
                setting=key,
                source=table.label,
                hint=f"Remove it there and name a file in {secrets[key].info.env}_FILE "
                f"or in {key}{_FILE} instead, or a command in {key}{_COMMAND}.",
            )
        if key in places or not plain[key].info.is_project_safe:
            is_command = key in places and key.endswith(_COMMAND)
            why = _RUNS_COMMAND if is_command else config_files.FOR_THE_USER
            config_files.refuse_untrusted(layers, table, key, why=why)


def _constant(value: Any) -> Any:
    return value
