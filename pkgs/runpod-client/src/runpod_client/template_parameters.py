"""The parameters of a pod template: declared in TOML, given as text, put in place; pure.

    [templates.train.parameters.size]
    type = "int"            # str (the default), int, float, bool or choice
    default = 100           # without one it must be given
    min = 10
    help = "GB of volume"

`${size}` stands for its value in any text of the template; a text that is nothing else
takes the value with its type. `$${` writes `${` itself, for the shell in a command.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runpod_client.config_files import Table
from runpod_client.config_values import parse_value, render_value
from runpod_client.errors import ConfigError
from runpod_client.nearest import render_nearest

_KINDS: Mapping[str, type] = {
    "str": str,
    "int": int,
    "float": Decimal,  # exact, since many are prices
    "bool": bool,
    "choice": str,
}
_KEYS = ("type", "default", "min", "max", "choices", "help")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter.

    Attributes:
        kind: str, int, float, bool or choice.
        default: None where it must be given.
        least: With `most`, the range of a number; None for no limit.
        choices: The values allowed; empty allows any.
        label: Where it is declared.
    """

    name: str
    kind: str
    default: Any
    least: Decimal | None
    most: Decimal | None
    choices: tuple[str, ...]
    help: str
    label: str


def parse_parameter(table: Table) -> Parameter:
    """Return the parameter a table declares; its name is the last of the table's.

    Raises:
        ConfigError: A key is unknown, or the declaration contradicts itself.
    """
    name = table.name.rpartition(".")[2]
    entries = table.entries
    if not _NAME.fullmatch(name):
        raise _fault(table, f"{name!r} is no name for a parameter")
    for key in entries:
        if key not in _KEYS:
            raise _fault(table, f"unknown key {key!r}", render_nearest(key, _KEYS))
    kind = entries.get("type", "str")
    if kind not in _KINDS:
        raise _fault(table, f"unknown type {kind!r}", render_nearest(str(kind), _KINDS))
    parameter = Parameter(
        name=name,
        kind=kind,
        default=None,
        least=_limit(table, "min", kind),
        most=_limit(table, "max", kind),
        choices=_parse(entries.get("choices", []), tuple[str, ...], "choices", table),
        help=_parse(entries.get("help", ""), str, "help", table),
        label=table.label,
    )
    if kind == "choice" and not parameter.choices:
        raise _fault(table, "a choice needs choices")
    if "default" not in entries:
        return parameter
    default = parse_argument(parameter, entries["default"], source=table.label)
    return Parameter(**{**vars(parameter), "default": default})


def parse_argument(parameter: Parameter, value: Any, *, source: str) -> Any:
    """Return a value for a parameter, of its type and within its limits.

    Raises:
        ConfigError: It is not.
    """
    name = f"parameter {parameter.name}"
    parsed = parse_value(value, _KINDS[parameter.kind], name=name, source=source)
    least, most, choices = parameter.least, parameter.most, parameter.choices
    if choices and render_value(parsed) not in choices:
        known = f"Choose from {', '.join(choices)}."
        near = render_nearest(render_value(parsed), choices)
        raise ConfigError(
            f"{name} from {source} is {parsed!r}, which is none of its choices",
            setting=parameter.name,
            source=source,
            hint=f"{near} {known}" if near.startswith("Did") else known,
        )
    if least is not None and parsed < least:
        raise _out_of_range(parameter, parsed, source, f"at least {least:f}")
    if most is not None and parsed > most:
        raise _out_of_range(parameter, parsed, source, f"at most {most:f}")
    return parsed


def parse_rows(rows: Iterable[str]) -> dict[str, str]:
    """Return `KEY=VALUE` rows as a mapping; the last of a key wins.

    Raises:
        ConfigError: A row has no key or no `=`.
    """
    given = {}
    for row in rows:
        name, separator, value = row.partition("=")
        if not separator or not _NAME.fullmatch(name.strip()):
            raise ConfigError(
                "what --set was given is not written KEY=VALUE",
                setting="set",
                source="--set",
            )
        given[name.strip()] = value
    return given


def bind(
    parameters: Mapping[str, Parameter], given: Mapping[str, str], *, template: str
) -> dict[str, Any]:
    """Return the value of every parameter, from what was given or its default.

    Raises:
        ConfigError: One is unknown, missing, or not of its type.
    """
    for name in given:
        if name not in parameters:
            raise ConfigError(
                f"the template {template!r} has no parameter {name!r}",
                setting=name,
                source="--set",
                hint=render_nearest(name, parameters) or "It has none at all.",
            )
    bound = {}
    for name, parameter in parameters.items():
        if name in given:
            bound[name] = parse_argument(parameter, given[name], source="--set")
        elif parameter.default is None:
            raise ConfigError(
                f"the template {template!r} needs a value for its parameter {name!r}",
                setting=name,
                source=parameter.label,
                hint=f"Say --set {name}=VALUE. {parameter.help}".strip(),
            )
        else:
            bound[name] = parameter.default
    return bound


def substitute(value: Any, bound: Mapping[str, Any], *, source: str) -> Any:
    """Return a TOML value with parameters in place of the references to them.

    Raises:
        ConfigError: A reference is to no parameter.
    """
    if isinstance(value, list):
        return [substitute(part, bound, source=source) for part in value]
    if isinstance(value, dict):
        return {k: substitute(v, bound, source=source) for k, v in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(found: re.Match[str]) -> Any:
        name = found[1]
        if name is None:
            return "${"
        if name not in bound:
            near = render_nearest(name, bound)
            raise ConfigError(
                f"there is no parameter {name!r}, which {source} refers to",
                setting=name,
                source=source,
                hint=f"{near} For the text itself write $${{{name}}}.".strip(),
            )
        return bound[name]

    whole = _REFERENCE.fullmatch(value)
    if whole is not None and whole[1] is not None:
        return look_up(whole)
    return _REFERENCE.sub(lambda found: render_value(look_up(found)), value)


def _limit(table: Table, key: str, kind: str) -> Decimal | None:
    if key not in table.entries:
        return None
    if kind not in {"int", "float"}:
        raise _fault(table, f"{key} makes no sense for a {kind}")
    limit: Decimal = _parse(table.entries[key], Decimal, key, table)
    return limit


def _parse(value: Any, hint: Any, name: str, table: Table) -> Any:
    return parse_value(value, hint, name=name, source=table.label)


def _fault(table: Table, what: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{what} in {table.label}", setting=table.name, source=table.label, hint=hint
    )


def _out_of_range(
    parameter: Parameter, value: Any, source: str, limit: str
) -> ConfigError:
    return ConfigError(
        f"parameter {parameter.name} from {source} is {value}, but must be {limit}",
        setting=parameter.name,
        source=source,
    )
