"""Settings, shared by all tools: declared once, loaded once, passed as arguments.

A tool declares a frozen dataclass whose fields are made with `setting(...)`. Flags,
`--help`, the table in docs/configuration.md and the origin of every value derive from
that declaration. Order of precedence: flag, environment, file, default. Secrets are
never flags: a file named by `NAME_FILE` or a systemd credential comes first, the
variable second.

    [client]                      # $XDG_CONFIG_HOME/runpod/config.toml, or --config
    api_timeout_seconds = 30

Nothing below the command line reads the environment.
"""

import dataclasses
import difflib
import stat
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Generic, TypeVar

import platformdirs

from runpod_client.errors import ConfigError
from runpod_client.model import Secret

SettingsT = TypeVar("SettingsT")
_METADATA = "runpod.setting"


@dataclass(frozen=True, kw_only=True)
class SettingInfo:
    """How one setting is named and explained; `setting` makes it."""

    help: str
    env: str
    unit: str = ""
    flag: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[SettingsT]):
    """Settings, and for each field where its value came from."""

    settings: SettingsT
    sources: Mapping[str, str]


def setting(
    help_text: str,
    *,
    env: str,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    unit: str = "",
    flag: str | None = None,
) -> Any:
    """Declare one setting as a dataclass field.

    Args:
        env: The variable it is read from. For a `Secret` also `env` + `_FILE`.
        unit: Shown in help and docs, for instance `s` or `USD/h`.
        flag: The command-line flag, for instance `--timeout`; None for no flag.
    """
    info = SettingInfo(help=help_text, env=env, unit=unit, flag=flag)
    return dataclasses.field(
        default=default, default_factory=default_factory, metadata={_METADATA: info}
    )


def infos(settings_type: type[Any]) -> dict[str, SettingInfo]:
    """Return the declared settings of a dataclass by field name."""
    return {
        f.name: f.metadata[_METADATA]
        for f in dataclasses.fields(settings_type)
        if _METADATA in f.metadata
    }


def default_state_dir() -> Path:
    """Return the folder for journal, identities and pinned host keys."""
    return Path(platformdirs.user_state_dir("runpod"))


def default_config_file() -> Path:
    """Return where the configuration file is looked for when none is named."""
    return Path(platformdirs.user_config_dir("runpod")) / "config.toml"


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What every tool needs to reach RunPod."""

    api_key: Secret | None = setting(
        "RunPod API key", env="RUNPOD_API_KEY", default=None
    )
    api_url: str = setting(
        "Base URL of RunPod's API",
        env="RUNPOD_API_BASE_URL",
        default="https://api.runpod.io",
    )
    api_timeout_seconds: float = setting(
        "Time limit of one API call",
        env="RUNPOD_API_TIMEOUT",
        default=30.0,
        unit="s",
    )
    state_dir: Path = setting(
        "Folder for journal, identities and pinned host keys",
        env="RUNPOD_STATE_DIR",
        default_factory=default_state_dir,
    )
    owner: str = setting(
        "Name that marks the pods this machine rents; automation touches no others",
        env="RUNPOD_OWNER",
        default="",
    )


def load(
    settings_type: type[SettingsT],
    *,
    section: str,
    environ: Mapping[str, str],
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded[SettingsT]:
    """Load settings by precedence: flag, environment, file, default.

    Args:
        section: The table of the TOML file that belongs to `settings_type`.
        config_file: A file the user named, which must exist; None looks at the
            default place, where it may be absent.
        flags: Values given on the command line, by field name; None counts as absent.

    Raises:
        ConfigError: A value does not parse, a key is unknown, a secret's file is
            unreadable or readable by others.
    """
    table, table_source = _read_table(section, config_file, settings_type)
    hints = typing.get_type_hints(settings_type)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, info in infos(settings_type).items():
        found = _find(name, info, hints[name], environ, table, table_source, flags)
        if found is None:
            sources[name] = "default"
            continue
        values[name], sources[name] = found
    return Loaded(settings=settings_type(**values), sources=sources)


def _find(
    name: str,
    info: SettingInfo,
    hint: Any,
    environ: Mapping[str, str],
    table: Mapping[str, Any],
    table_source: str,
    flags: Mapping[str, Any] | None,
) -> tuple[Any, str] | None:
    """Return the value of highest precedence and its source, None for the default."""
    if flags and flags.get(name) is not None:
        return flags[name], f"flag {info.flag or name}"
    kind = _plain_type(hint)
    if kind is Secret:
        secret = _find_secret(info, environ)
        if secret is not None:
            return secret
    elif environ.get(info.env):
        source = f"environment variable {info.env}"
        return _parse(environ[info.env], kind, name, source), source
    if name in table:
        if kind is Secret:
            raise ConfigError(
                f"{table_source} holds the secret {name!r} in clear",
                setting=name,
                source=table_source,
                hint=f"Remove it there and name a file in {info.env}_FILE instead.",
            )
        return _parse(table[name], kind, name, table_source), table_source
    return None


def _find_secret(
    info: SettingInfo, environ: Mapping[str, str]
) -> tuple[Secret, str] | None:
    """Look for a secret: named file, systemd credential, variable."""
    named = environ.get(f"{info.env}_FILE")
    if named:
        return _read_secret(Path(named), info.env), f"file {named}"
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        path = Path(folder) / info.env.lower().replace("_", "-")
        if path.exists():
            return _read_secret(path, info.env), f"systemd credential {path.name}"
    if environ.get(info.env):
        return Secret(environ[info.env]), f"environment variable {info.env}"
    return None


def _read_secret(path: Path, env: str) -> Secret:
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ConfigError(
            f"cannot read the secret file {path}: {reason}",
            setting=env,
            source=f"{env}_FILE",
            hint=f"Point {env}_FILE at a readable file that holds only the secret.",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ConfigError(
            f"the secret file {path} is open to other users (mode {mode & 0o777:o})",
            setting=env,
            source=f"{env}_FILE",
            hint=f"Close it: chmod 600 {path}",
        )
    if not text:
        raise ConfigError(
            f"the secret file {path} is empty", setting=env, source=f"{env}_FILE"
        )
    return Secret(text)


def _read_table(
    section: str, config_file: Path | None, settings_type: type[Any]
) -> tuple[Mapping[str, Any], str]:
    path = config_file or default_config_file()
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if config_file is None:
            return {}, str(path)
        raise ConfigError(
            f"there is no configuration file {path}", source=str(path)
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read the configuration file {path}: {error}", source=str(path)
        ) from error
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{section}] in {path} must be a table", source=str(path))
    known = infos(settings_type)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"unknown setting {key!r} in [{section}] of {path}",
                setting=key,
                source=str(path),
                hint=f"Did you mean {near[0]!r}?" if near else "",
            )
    return table, f"{path} [{section}]"


def _plain_type(hint: Any) -> Any:
    """Return T for `T | None`, else the hint itself."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def _parse(value: Any, kind: Any, name: str, source: str) -> Any:
    """Turn text or a TOML value into the field's type."""
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        if kind is Decimal:
            return Decimal(str(value))
        if kind in (int, float, str, Path):
            return kind(value)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation):
        pass
    else:
        raise TypeError(f"setting {name} has the unsupported type {kind}")
    raise ConfigError(
        f"{name} from {source} is {value!r}, which is no {kind.__name__}",
        setting=name,
        source=source,
    )
