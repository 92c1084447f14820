import enum
import os
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import ClientSettings, ConfigError, Secret
from runpod_client.config import (
    Loaded,
    describe,
    load,
    load_table,
    read_layers,
    setting,
)


class Level(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True)
class Settings:
    port: int = setting(
        "Port", env="T_PORT", default=1, flag="--port", is_project_safe=True
    )
    limit: Decimal = setting("Limit", env="T_LIMIT", default=Decimal(5), unit="USD/h")
    is_on: bool = setting("On", env="T_ON", default=False)
    token: Secret | None = setting("Token", env="T_TOKEN", default=None)
    level: Level = setting("Level", env="T_LEVEL", default=Level.LOW)
    names: tuple[str, ...] = setting("Names", env="T_NAMES", default=())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_flag_goes_before_environment_before_file_before_default(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "c.toml", "[t]\nport = 2\nlimit = 2.5\nis_on = true\n")

    loaded = load(
        Settings,
        section="t",
        environ={"T_PORT": "3", "T_LIMIT": "3.5"},
        config_file=file,
        flags={"port": 4, "limit": None},
    )

    assert loaded.settings == Settings(port=4, limit=Decimal("3.5"), is_on=True)
    assert loaded.sources == {
        "port": "flag --port",
        "limit": "environment variable T_LIMIT",
        "is_on": f"{file} [t]",
        "token": "default",
        "level": "default",
        "names": "default",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[t]\nprot = 2\n", "unknown setting 'prot'"),
        ("[t]\nport = 'x'\n", "which is no int"),
        ("[t]\ntoken = 'planted-secret'\n", "holds the secret 'token' in clear"),
        ("t = 3\n", "must be a table"),
        ("[t\n", "cannot read the configuration file"),
    ],
)
def test_malformed_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = write(tmp_path / "c.toml", text)

    with pytest.raises(ConfigError, match=sentence) as caught:
        load(Settings, section="t", environ={}, config_file=file)

    assert "planted" not in str(caught.value)


def test_named_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load(Settings, section="t", environ={}, config_file=tmp_path / "absent")


def test_environment_value_that_does_not_parse_names_its_source() -> None:
    with pytest.raises(ConfigError) as caught:
        load(ClientSettings, section="client", environ={"RUNPOD_API_TIMEOUT": "soon"})

    assert caught.value.setting == "api_timeout_seconds"
    assert caught.value.source == "environment variable RUNPOD_API_TIMEOUT"


# ---- files, profiles and whom they are trusted by


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's own configuration file, which is not there yet."""
    folder = tmp_path / "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "runpod").mkdir(parents=True)
    return folder / "runpod" / "config.toml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository's configuration file, which is not there yet."""
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    (folder / "sub" / "deep").mkdir(parents=True)
    return folder / "runpod.toml"


def load_in(project: Path, **environ: str) -> Loaded[Settings]:
    return load(
        Settings,
        section="t",
        environ=environ,
        directory=project.parent / "sub" / "deep",
    )


def test_project_file_above_goes_before_the_users(home: Path, project: Path) -> None:
    write(home, "[t]\nport = 2\nlimit = 2\n")
    write(project, "[t]\nport = 3\n")

    loaded = load_in(project)

    assert loaded.settings == Settings(port=3, limit=Decimal(2))
    assert loaded.sources["port"] == f"{project} [t]"
    assert loaded.sources["limit"] == f"{home} [t]"


def test_search_for_the_project_file_ends_at_the_repositorys_root(
    home: Path, project: Path
) -> None:
    write(home, "")
    write(project.parent.parent / "runpod.toml", "[t]\nport = 3\n")

    assert load_in(project).settings == Settings()


def test_named_file_is_read_alone(home: Path, project: Path, tmp_path: Path) -> None:
    write(home, "[t]\nport = 2\n")
    write(project, "[t]\nport = 3\n")
    named = write(tmp_path / "named.toml", "[t]\nlimit = 9\n")

    loaded = load(
        Settings,
        section="t",
        environ={},
        config_file=named,
        directory=project.parent,
    )

    assert loaded.settings == Settings(limit=Decimal(9))


PROFILES = """\
[t]
port = 2
limit = 2
[profiles.staging.t]
port = 3
[profiles.live.t]
port = 4
"""


def test_profile_lies_over_the_plain_table_of_its_file(
    home: Path, project: Path
) -> None:
    write(home, PROFILES)

    plain = load_in(project)
    staging = load_in(project, RUNPOD_PROFILE="staging")

    assert plain.settings == Settings(port=2, limit=Decimal(2))
    assert staging.settings == Settings(port=3, limit=Decimal(2))
    assert staging.sources["port"] == f"{home} [profiles.staging.t]"
    assert staging.sources["limit"] == f"{home} [t]"


def test_profile_is_chosen_by_flag_before_variable_before_project_before_user(
    home: Path, project: Path
) -> None:
    more = "".join(f"[profiles.{n}.t]\nport = {p}\n" for n, p in (("a", 5), ("b", 6)))
    trust = f'trusted_projects = ["{project.parent}"]\n'
    write(home, 'profile = "live"\n' + trust + PROFILES + more)

    def port(profile: str | None = None, **environ: str) -> int:
        loaded = load(
            Settings,
            section="t",
            environ=environ,
            profile=profile,
            directory=project.parent,
        )
        return loaded.settings.port

    assert port() == 4
    write(project, 'profile = "staging"\n')
    assert port() == 3
    assert port(RUNPOD_PROFILE="a") == 5
    assert port("b", RUNPOD_PROFILE="a") == 6


def test_untrusted_project_chooses_only_among_profiles_of_its_own(
    home: Path, project: Path
) -> None:
    write(home, PROFILES)
    write(project, 'profile = "ci"\n[profiles.ci.t]\nport = 9\n')

    assert load_in(project).settings.port == 9

    write(project, 'profile = "live"\n')
    with pytest.raises(ConfigError, match="may not choose your profile 'live'"):
        load_in(project)
    assert load_in(project, RUNPOD_PROFILE="live").settings.port == 4


def test_unknown_profile_is_refused_with_the_known_ones(
    home: Path, project: Path
) -> None:
    write(home, PROFILES)

    with pytest.raises(ConfigError) as caught:
        load_in(project, RUNPOD_PROFILE="stagin")

    assert caught.value.message == (
        "there is no profile 'stagin', which environment variable RUNPOD_PROFILE "
        "asks for"
    )
    assert caught.value.hint == "Known profiles: live, staging."


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[clinet]\n", "'clinet' at the top of {file}", "Did you mean 'client'?"),
        ("prfile = 'x'\n", "'prfile' at the top of {file}", "Did you mean 'profile'?"),
        (
            "[profiles.x.templtes]\n",
            "'templtes' in [profiles.x] of {file}",
            "Did you mean 'templates'?",
        ),
        ("[t]\nprot = 1\n", "'prot' in [t] of {file}", "Did you mean 'port'?"),
        (
            "[profiles.x.t]\nprot = 1\n",
            "'prot' in [profiles.x.t] of {file}",
            "Did you mean 'port'?",
        ),
        (
            "[t]\nqqq = 1\n",
            "'qqq' in [t] of {file}",
            "Known here: port, limit, is_on, level, names, token_file, token_command.",
        ),
    ],
)
def test_typo_is_an_error_that_names_file_table_key_and_nearest(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    file = write(tmp_path / "c.toml", text)

    with pytest.raises(ConfigError) as caught:
        load(Settings, section="t", environ={}, config_file=file)

    assert message.format(file=file) in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "line",
    ["limit = 9", "token_command = 'x'", "token_file = '/x'", "is_on = true"],
)
@pytest.mark.parametrize("table", ["t", "profiles.unused.t"])
def test_untrusted_project_sets_only_what_is_declared_safe(
    home: Path, project: Path, line: str, table: str
) -> None:
    write(home, "")
    write(project, f"[{table}]\n{line}\n")

    with pytest.raises(ConfigError, match="may not set") as caught:
        load_in(project)

    assert str(project) in caught.value.message
    assert f'trusted_projects = ["{project.parent}"]' in caught.value.hint
    assert str(home) in caught.value.hint


def test_project_cannot_redirect_the_api_key_nor_move_the_state(
    home: Path, project: Path
) -> None:
    write(home, "")
    for line in ('api_url = "http://evil"', 'state_dir = "/x"', 'owner = "you"'):
        write(project, f"[client]\n{line}\n")

        with pytest.raises(ConfigError, match="may not set"):
            load(
                ClientSettings,
                section="client",
                environ={},
                directory=project.parent,
            )


def test_project_the_user_trusts_may_set_everything(home: Path, project: Path) -> None:
    write(home, f'trusted_projects = ["{project.parent}"]\n')
    write(project, "[t]\nlimit = 9\ntoken_command = 'sh -c \"echo from-project\"'\n")

    assert load_in(project).settings == Settings(
        limit=Decimal(9), token=Secret("from-project")
    )


def test_trust_is_in_the_folder_itself_not_in_those_below_it(
    home: Path, project: Path
) -> None:
    write(home, f'trusted_projects = ["{project.parent.parent}"]\n')
    write(project, "[t]\nlimit = 9\n")

    with pytest.raises(ConfigError, match="may not set"):
        load_in(project)


def test_project_cannot_trust_itself(home: Path, project: Path) -> None:
    write(home, "")
    write(project, f'trusted_projects = ["{project.parent}"]\n')

    with pytest.raises(ConfigError, match="cannot trust itself"):
        load_in(project)


@pytest.mark.parametrize("folders", ['["."]', '["a/b"]', '"/x"', "[1]"])
def test_trust_in_anything_but_full_paths_is_refused(
    home: Path, project: Path, folders: str
) -> None:
    write(home, f"trusted_projects = {folders}\n")
    write(project, "[t]\nlimit = 9\n")

    with pytest.raises(ConfigError, match="trusted_projects"):
        load_in(project)


def test_project_file_of_another_user_is_refused(home: Path, project: Path) -> None:
    write(home, "")
    write(project, "[t]\nport = 3\n")
    if os.geteuid() == 0:
        os.chown(project, 65534, 65534)
        with pytest.raises(ConfigError, match="belongs to another user"):
            load_in(project)
    else:  # only root can give files away, so the other way round
        assert load_in(project).settings.port == 3


# ---- tables that are no settings


def hooks_in(project: Path) -> tuple[dict[str, object], str]:
    return load_table("hooks", environ={}, directory=project.parent)


def test_table_of_another_module_is_layered_key_by_key(
    home: Path, project: Path
) -> None:
    write(home, f'trusted_projects = ["{project.parent}"]\n[hooks]\na = 1\nb = 1\n')
    write(project, "[hooks]\nb = 2\n")

    entries, source = hooks_in(project)

    assert entries == {"a": 1, "b": 2}
    assert source == f"{project} [hooks], {home} [hooks]"


def test_hooks_of_an_untrusted_project_are_refused(home: Path, project: Path) -> None:
    write(home, "[hooks]\na = 1\n")
    write(project, "[hooks]\nb = 2\n")

    with pytest.raises(ConfigError, match="may not set 'b' in \\[hooks\\]"):
        hooks_in(project)


# ---- values, and settings for people


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("port = 2.5", "port from .* is 2.5, which is no int"),
        ("port = true", "port from .* is True, which is no int"),
        ("limit = 'nan'", "limit from .* is 'nan', which is no Decimal"),
        ("is_on = 3", "is_on from .* is 3, which is no bool"),
        ("level = 'hgh'", "level from .* is 'hgh', which is no Level"),
        ("names = 3", "names from .* is 3, which is no list of texts"),
    ],
)
def test_value_of_the_wrong_kind_is_refused(
    tmp_path: Path, line: str, sentence: str
) -> None:
    file = write(tmp_path / "c.toml", f"[t]\n{line}\n")

    with pytest.raises(ConfigError, match=sentence):
        load(Settings, section="t", environ={}, config_file=file)


def test_choice_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Settings, section="t", environ={"T_LEVEL": "hgh"}, directory=Path("/"))

    assert caught.value.hint == "Did you mean 'high'? Choose from low, high."


def test_lists_and_choices_are_read_from_text_and_from_toml(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[t]\nlevel = 'HIGH'\nnames = ['a', 'b']\n")

    from_file = load(Settings, section="t", environ={}, config_file=file).settings
    from_text = load(
        Settings,
        section="t",
        environ={"T_LEVEL": "high", "T_NAMES": "a, b,"},
        directory=Path("/"),
    ).settings

    assert from_file == from_text == Settings(level=Level.HIGH, names=("a", "b"))


def test_description_has_every_value_and_origin_and_runs_no_command(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "ran"
    file = write(
        tmp_path / "c.toml", f"[t]\nport = 2\ntoken_command = 'touch {trace}'\n"
    )
    layers = read_layers(environ={}, config_file=file, section="t")

    rows = describe(Settings, section="t", layers=layers, environ={"T_ON": "1"})

    assert {row.name: (row.value, row.source) for row in rows} == {
        "port": ("2", f"{file} [t]"),
        "limit": ("5", "default"),
        "is_on": ("true", "environment variable T_ON"),
        "token": ("***", f"command token_command of {file} [t]"),
        "level": ("low", "default"),
        "names": ("", "default"),
    }
    assert not trace.exists()


def test_loading_settings_imports_nothing_slow_without_a_file(tmp_path: Path) -> None:
    program = (
        "import sys; from runpod_client.config import ClientSettings; "
        "slow = {'tomllib', 'platformdirs', 'difflib', 'shlex', 'subprocess'}; "
        "sys.exit(' '.join(slow & set(sys.modules)) or 0)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
