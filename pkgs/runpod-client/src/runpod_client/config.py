"""Settings, shared by all tools: declared once, loaded once, passed as arguments.

A tool declares a frozen dataclass whose fields are made with `setting(...)`. Flags,
`--help`, the table in docs/configuration.md and the origin of every value derive from
that declaration. Order of precedence: flag, environment, project file, user file,
default; a profile's table lies over the plain one of the same file.

    profile = "staging"           # $XDG_CONFIG_HOME/runpod/config.toml, or --config
    [client]                      # and, before it, the project's runpod.toml
    api_timeout_seconds = 30
    [profiles.staging.client]
    api_key_command = ["doppler", "secrets", "get", "RUNPOD_API_KEY", "--plain"]

Secrets are never flags and never stand in a file. `secret_sources` says where they come
from; what a file names (`api_key_file`, `api_key_command`) goes last, so that a variable
set for one call wins.

Nothing below the command line reads the environment.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from runpod_client import config_files
from runpod_client.config_files import Layers
from runpod_client.config_values import render_value
from runpod_client.model import Secret
from runpod_client.settings_lookup import Declared, Found, SettingInfo, find_all

SettingsT = TypeVar("SettingsT")
DEFAULT = "default"
_METADATA = "runpod.setting"


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[SettingsT]):
    """Settings, and for each field where its value came from."""

    settings: SettingsT
    sources: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Described:
    """One setting for people: the value in force, stars for a secret, its origin."""

    section: str
    name: str
    value: str
    source: str
    info: SettingInfo


def setting(
    help_text: str,
    *,
    env: str,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    unit: str = "",
    flag: str | None = None,
    is_project_safe: bool = False,
) -> Any:
    """Declare one setting as a dataclass field.

    Args:
        env: The variable it is read from. For a `Secret` also `env` + `_FILE` and
            `env` + `_COMMAND`.
        unit: Shown in help and docs, for instance `s` or `USD/h`.
        flag: The command-line flag, for instance `--timeout`; None for no flag.
        is_project_safe: Whether the file of a project nobody vouched for may set it:
            it must not redirect a key, name a file, weaken a check, raise a cost, or
            change which pods automation touches.
    """
    info = SettingInfo(
        help=help_text,
        env=env,
        unit=unit,
        flag=flag,
        is_project_safe=is_project_safe,
    )
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
    import platformdirs  # noqa: PLC0415  # 3 ms, and often the folder is named

    return Path(platformdirs.user_state_dir("runpod"))


def default_config_file() -> Path:
    """Return where the configuration file is looked for when none is named."""
    import platformdirs  # noqa: PLC0415  # kept out of --help

    return Path(platformdirs.user_config_dir("runpod")) / "config.toml"


def default_identity_secret_file() -> Path:
    """Return where the secret for SSH keys is kept when none is configured."""
    return default_config_file().with_name("identity-secret")


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
        is_project_safe=True,
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
    dialect: str = setting(
        "Which API of RunPod's to speak: auto, graphql or rest_v2; auto takes for each "
        "purpose the one that is better at it and alive",
        env="RUNPOD_DIALECT",
        default="auto",
    )
    default_lease: str = setting(
        "How long a pod may live where no --lease says, like 8h; none for no end",
        env="RUNPOD_DEFAULT_LEASE",
        default="8h",
    )
    identity_secret: Secret | None = setting(
        "Secret that pods' SSH keys are encrypted with on disk, 20 characters or more; "
        "one is made up and kept in the configuration folder where none is set",
        env="RUNPOD_IDENTITY_SECRET",
        default=None,
    )


def read_layers(
    *,
    environ: Mapping[str, str],
    config_file: Path | None = None,
    profile: str | None = None,
    directory: Path | None = None,
    section: str = "",
) -> Layers:
    """Read the configuration files in force; see `config_files.read_layers`.

    Raises:
        ConfigError: A file is malformed, not the user's, or the profile is unknown.
    """
    return config_files.read_layers(
        environ=environ,
        config_file=config_file,
        default_file=config_file or default_config_file(),
        profile=profile,
        directory=directory,
        sections=[section] if section else (),
    )


def load(
    settings_type: type[SettingsT],
    *,
    section: str,
    environ: Mapping[str, str],
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    profile: str | None = None,
    directory: Path | None = None,
) -> Loaded[SettingsT]:
    """Load settings by precedence: flag, environment, project, user file, default.

    Args:
        section: The table of the TOML files that belongs to `settings_type`.
        config_file: A file the user named, which must exist and is read alone; None
            takes the project's and the user's, either of which may be absent.
        flags: Values given on the command line, by field name; None counts as absent.
        profile: As given by `--profile`; None lets the environment or a file choose.
        directory: Where the search for the project's file starts; None is the
            working directory.

    Raises:
        ConfigError: A value does not parse, a key is unknown or not for a project to
            set, a secret's file is open to others, a secret's command fails.
    """
    layers = read_layers(
        environ=environ,
        config_file=config_file,
        profile=profile,
        directory=directory,
        section=section,
    )
    found = dict(
        find_all(_declared(settings_type), section, layers, environ, flags or {})
    )
    return Loaded(
        settings=settings_type(**{d.name: f.read() for d, f in found.items() if f}),
        sources={d.name: f.source if f else DEFAULT for d, f in found.items()},
    )


def load_table(
    name: str,
    *,
    environ: Mapping[str, str],
    config_file: Path | None = None,
    profile: str | None = None,
    directory: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Return a table that holds no settings, like `[hooks]`, and where it stands.

    Where both files have it, each key comes from the file that goes first. All of it
    is for the user to set: an untrusted project may not have the table at all.

    Raises:
        ConfigError: A file is malformed, or an untrusted project has the table.
    """
    layers = read_layers(
        environ=environ,
        config_file=config_file,
        profile=profile,
        directory=directory,
        section=name,
    )
    return config_files.merge_table(name, layers)


def describe(
    settings_type: type[Any],
    *,
    section: str,
    layers: Layers,
    environ: Mapping[str, str],
) -> list[Described]:
    """Return every setting of a section as it is in force, without reading secrets.

    Raises:
        ConfigError: As `load` does, but for what only reading a secret can show.
    """
    fields = {f.name: f for f in dataclasses.fields(settings_type)}
    rows = []
    for one, found in find_all(_declared(settings_type), section, layers, environ, {}):
        if found is None:
            value = _default_of(fields[one.name])
        else:
            value = "***" if one.is_secret else found.read()
        rows.append(
            Described(
                section=section,
                name=one.name,
                value=render_value(value),
                source=found.source if found else DEFAULT,
                info=one.info,
            )
        )
    return rows


def find_secret(
    settings_type: type[Any],
    name: str,
    *,
    section: str,
    layers: Layers,
    environ: Mapping[str, str],
) -> Found | None:
    """Return where a secret comes from, None if nowhere; `read` returns it.

    What runs for long keeps this and reads again once the secret is refused: a file
    or a command may by then give the one it was rotated to.

    Raises:
        ConfigError: As `load` does, but for what only reading a secret can show.
    """
    found = find_all(_declared(settings_type), section, layers, environ, {})
    return next((place for one, place in found if one.name == name), None)


def _declared(settings_type: type[Any]) -> list[Declared]:
    hints = typing.get_type_hints(settings_type)
    return [
        Declared(name=name, info=info, hint=hints[name])
        for name, info in infos(settings_type).items()
    ]


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
