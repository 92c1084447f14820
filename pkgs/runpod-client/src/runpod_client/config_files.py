"""The TOML files settings and pod templates stand in: found, read, checked, layered.

Two files at most: the project's (`runpod.toml`, searched from the working directory
upwards to the folder with `.git` or the root) before the user's own. A file named with
`--config` is read alone and counts as the user's. A profile, `[profiles.NAME.client]`,
lies over `[client]` of the same file.

A project file may come with a cloned repository, so it is not trusted: what it may set
is decided where the settings are declared. The user's file can list folders in
`trusted_projects`, each by its exact path, since trusting a folder of clones would
trust them all.

Nothing here knows what a setting or a template means.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_client.errors import ConfigError
from runpod_client.nearest import render_nearest

PROJECT_FILE_NAME = "runpod.toml"
PROFILE_VARIABLE = "RUNPOD_PROFILE"
# section -> module and class that declare its settings. Only names: one tool's file
# may hold the tables of all tools, of which some may not be installed.
SECTIONS: Mapping[str, tuple[str, str]] = {
    "client": ("runpod_client.config", "ClientSettings"),
    "ssh": ("runpod_ssh.settings", "SSHSettings"),
    "audit": ("runpod_ssh.audit", "AuditSettings"),
    "github": ("runner_installer", "GitHubSettings"),
    "serve": ("runner_installer.serving", "ServeSettings"),
    "hub": ("runpod_hub.config", "HubSettings"),
}
# tables of the files that hold no settings; their own modules read them
OTHER_TABLES = ("hooks", "templates")
FOR_THE_USER = "it is for the user alone to set"
_TRUSTED = "trusted_projects"


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """One file as read.

    Attributes:
        is_trusted: It is the user's own, or the user's own file lists its folder.
    """

    path: Path
    document: Mapping[str, Any] = field(repr=False)
    is_project: bool = False
    is_trusted: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of one file; `name` is as in its brackets."""

    file: ConfigFile
    name: str
    entries: Mapping[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        """Return the origin of its values for people."""
        return f"{self.file.path} [{self.name}]"


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The files in force, the one that goes first first, and the profile chosen."""

    files: tuple[ConfigFile, ...]
    profile: str | None = None
    profile_source: str = ""

    def tables(self, section: str) -> list[Table]:
        """Return the tables of a section in force, highest precedence first."""
        chosen = f"profiles.{self.profile}.{section}"
        return [
            table
            for table in self.all_tables(section)
            if table.name in {section, chosen}
        ]

    def all_tables(self, section: str) -> list[Table]:
        """Return a section's tables of all profiles too, to check what is written.

        Raises:
            ConfigError: One of them is no table.
        """
        return [table for file in self.files for table in _tables_of(file, section)]


def read_layers(
    *,
    environ: Mapping[str, str],
    config_file: Path | None,
    default_file: Path,
    profile: str | None = None,
    directory: Path | None = None,
    sections: Iterable[str] = (),
) -> Layers:
    """Read the files in force and choose the profile.

    Args:
        config_file: A file the user named, which must exist and is read alone.
        default_file: The user's file where none is named; it may be absent.
        profile: As given on the command line; None lets the environment or a file say.
        directory: Where the search for the project's file starts; None is the
            working directory.
        sections: Names of tables allowed beside those of `SECTIONS`.

    Raises:
        ConfigError: A file is unreadable, no TOML, has an unknown table, belongs to
            somebody else, or the profile is defined nowhere.
    """
    own = _read_file(config_file or default_file, may_be_absent=config_file is None)
    project = None if config_file else find_project_file(directory)
    files = [own]
    if project is not None:
        files.insert(0, _read_project_file(project, own))
    for file in files:
        check_layout(file, [*SECTIONS, *sections])
    name, source = _choose_profile(files, profile, environ)
    _check_choice(files, name, source)
    return Layers(files=tuple(files), profile=name, profile_source=source)


def find_project_file(directory: Path | None = None) -> Path | None:
    """Return the project's file that holds for a folder, None where there is none."""
    try:
        start = (directory or Path.cwd()).absolute()
    except FileNotFoundError:  # the working directory was removed
        return None
    for folder in (start, *start.parents):
        path = folder / PROJECT_FILE_NAME
        if path.is_file():
            return path
        if (folder / ".git").exists():
            return None
    return None


def list_profiles(files: Iterable[ConfigFile]) -> list[str]:
    """Return the names of all profiles, in order."""
    return sorted({k for file in files for k in file.document.get("profiles", {})})


def check_layout(file: ConfigFile, sections: Iterable[str]) -> None:
    """Do nothing for a file whose tables are all known.

    Raises:
        ConfigError: Names the file, the table or key, and the nearest valid one.
    """
    tables = [*sections, *OTHER_TABLES]
    own_keys = [] if file.is_project else [_TRUSTED]
    _check_names(file, "", file.document, ["profile", "profiles", *own_keys, *tables])
    for name, profile in _named_tables(file, "profiles", file.document):
        _check_names(file, f"profiles.{name}", profile, tables)
    if not isinstance(file.document.get("profile", ""), str):
        raise ConfigError(
            f"profile in {file.path} must be text",
            setting="profile",
            source=str(file.path),
        )


def check_unwritable_by_others(file: ConfigFile, setting: str) -> None:
    """Do nothing for a file nobody else can change; its commands are run.

    Raises:
        ConfigError: Group or others may write it, or it belongs to somebody else.
    """
    status = file.path.stat()
    is_foreign = status.st_uid not in {os.geteuid(), 0}
    if is_foreign or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{file.path} names a command to run, but others can change that file",
            setting=setting,
            source=str(file.path),
            hint=f"Close it: chmod go-w {file.path}, and let it belong to you.",
        )


def _read_project_file(path: Path, own: ConfigFile) -> ConfigFile:
    is_trusted = path.parent.resolve() in _trusted_folders(own)
    # the folder may be one where anybody writes, like /tmp: git's safe.directory
    if not is_trusted and path.stat().st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"the project file {path} belongs to another user",
            source=str(path),
            hint=_render_trust_hint(path, own),
        )
    read = _read_file(path, may_be_absent=False)
    return ConfigFile(
        path=path, document=read.document, is_project=True, is_trusted=is_trusted
    )


def refuse_untrusted(layers: Layers, table: Table, key: str, *, why: str) -> None:
    """Do nothing if the table's file is trusted.

    Args:
        why: What the key could do to the user, for the error.

    Raises:
        ConfigError: It is not; the hint says how to trust it.
    """
    if not table.file.is_trusted:
        raise ConfigError(
            f"the project file {table.file.path} may not set {key!r} in "
            f"[{table.name}]: {why}",
            setting=key,
            source=table.label,
            hint=_render_trust_hint(table.file.path, layers.files[-1]),
        )


def merge_table(name: str, layers: Layers) -> tuple[dict[str, Any], str]:
    """Return a table that holds no settings, like `[hooks]`, and where it stands.

    Where several have it, each key comes from the one that goes first.

    Raises:
        ConfigError: An untrusted project has the table.
    """
    for table in layers.all_tables(name):
        for key in table.entries:
            refuse_untrusted(layers, table, key, why=FOR_THE_USER)
    tables = layers.tables(name)
    merged = {k: v for table in reversed(tables) for k, v in table.entries.items()}
    return merged, ", ".join(table.label for table in tables)


def _render_trust_hint(path: Path, own: ConfigFile) -> str:
    return (
        f'If you trust it, put trusted_projects = ["{path.parent}"] at the top of '
        f"{own.path}."
    )


def _trusted_folders(own: ConfigFile) -> set[Path]:
    listed = own.document.get(_TRUSTED, [])
    if not isinstance(listed, list) or not all(isinstance(p, str) for p in listed):
        raise ConfigError(
            f"{_TRUSTED} in {own.path} must be a list of folders",
            setting=_TRUSTED,
            source=str(own.path),
        )
    folders = [Path(folder).expanduser() for folder in listed]
    for folder in folders:
        if not folder.is_absolute():  # "." would trust wherever we stand
            raise ConfigError(
                f"{_TRUSTED} in {own.path} names {str(folder)!r}, which is no full path",
                setting=_TRUSTED,
                source=str(own.path),
            )
    return {folder.resolve() for folder in folders}


def _choose_profile(
    files: Iterable[ConfigFile], flag: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str]:
    """Return the profile in force and who chose it, None for none."""
    asked = [
        (flag, "flag --profile"),
        (environ.get(PROFILE_VARIABLE), f"environment variable {PROFILE_VARIABLE}"),
        *((file.document.get("profile"), str(file.path)) for file in files),
    ]
    name, source = next((pair for pair in asked if pair[0]), (None, ""))
    known = list_profiles(files)
    if name is None or name in known:
        return name, source
    raise ConfigError(
        f"there is no profile {name!r}, which {source} asks for",
        setting="profile",
        source=source,
        hint=f"Known profiles: {', '.join(known)}."
        if known
        else "No configuration file defines a profile.",
    )


def _check_choice(files: Sequence[ConfigFile], name: str | None, source: str) -> None:
    """Refuse an untrusted project's choice of a profile the user made for other work.

    It could be the one with the key of another account.
    """
    project, own = files[0], [f for f in files if not f.is_project]
    is_chosen = not project.is_trusted and source == str(project.path)
    if is_chosen and name in list_profiles(own):
        raise ConfigError(
            f"the project file {project.path} may not choose your profile {name!r}",
            setting="profile",
            source=source,
            hint=f"Choose it yourself with --profile {name}. "
            + _render_trust_hint(project.path, own[0]),
        )


def _read_file(path: Path, *, may_be_absent: bool) -> ConfigFile:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if may_be_absent:
            return ConfigFile(path=path, document={})
        raise ConfigError(
            f"there is no configuration file {path}", source=str(path)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    import tomllib  # noqa: PLC0415  # 3 ms, and most machines have no file

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(path, error) from error
    return ConfigFile(path=path, document=document)


def _tables_of(file: ConfigFile, section: str) -> Iterator[Table]:
    """Yield a file's tables of a section, those of profiles first."""
    for name, profile in _named_tables(file, "profiles", file.document):
        if section in profile:
            yield make_table(file, f"profiles.{name}.{section}", profile[section])
    if section in file.document:
        yield make_table(file, section, file.document[section])


def _named_tables(
    file: ConfigFile, key: str, within: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, entries in make_table(file, key, within.get(key, {})).entries.items():
        yield name, make_table(file, f"{key}.{name}", entries).entries


def make_table(file: ConfigFile, name: str, entries: Any) -> Table:
    """Return a table of a file.

    Raises:
        ConfigError: The entries are no table.
    """
    if not isinstance(entries, dict):
        raise ConfigError(
            f"[{name}] in {file.path} must be a table", source=str(file.path)
        )
    return Table(file=file, name=name, entries=entries)


def _check_names(
    file: ConfigFile, table: str, entries: Mapping[str, Any], known: list[str]
) -> None:
    place = f"in [{table}] of {file.path}" if table else f"at the top of {file.path}"
    for name in entries:
        if name in known:
            continue
        if name == _TRUSTED:
            raise ConfigError(
                f"{_TRUSTED} stands in the project file {file.path}, which cannot "
                "trust itself",
                setting=name,
                source=str(file.path),
            )
        raise ConfigError(
            f"unknown table or key {name!r} {place}",
            setting=name,
            source=str(file.path),
            hint=render_nearest(name, known),
        )


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"cannot read the configuration file {path}: {error}", source=str(path)
    )
