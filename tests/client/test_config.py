from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import ClientSettings, ConfigError, Secret
from runpod_client.config import load, setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    port: int = setting("Port", env="T_PORT", default=1, flag="--port")
    limit: Decimal = setting("Limit", env="T_LIMIT", default=Decimal(5), unit="USD/h")
    is_on: bool = setting("On", env="T_ON", default=False)
    token: Secret | None = setting("Token", env="T_TOKEN", default=None)


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
    }


def test_secret_file_goes_before_credential_before_variable(tmp_path: Path) -> None:
    named = write(tmp_path / "named", "one\n")
    write(tmp_path / "t-token", "two\n")
    environ = {"T_TOKEN": "three"}

    def token(**more: str) -> Secret | None:
        return load(Settings, section="t", environ=environ | more).settings.token

    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert token() == "three"
    assert token(**credentials) == "two"
    assert token(**credentials, T_TOKEN_FILE=str(named)) == "one"


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


@pytest.mark.parametrize(
    ("mode", "text", "sentence"),
    [
        (0o644, "key", "open to other users"),
        (0o600, " \n", "is empty"),
    ],
)
def test_careless_secret_file_is_refused(
    tmp_path: Path, mode: int, text: str, sentence: str
) -> None:
    file = write(tmp_path / "key", text)
    file.chmod(mode)

    with pytest.raises(ConfigError, match=sentence):
        load(
            ClientSettings,
            section="client",
            environ={"RUNPOD_API_KEY_FILE": str(file)},
        )


def test_environment_value_that_does_not_parse_names_its_source() -> None:
    with pytest.raises(ConfigError) as caught:
        load(ClientSettings, section="client", environ={"RUNPOD_API_TIMEOUT": "soon"})

    assert caught.value.setting == "api_timeout_seconds"
    assert caught.value.source == "environment variable RUNPOD_API_TIMEOUT"
