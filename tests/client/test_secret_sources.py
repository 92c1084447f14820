import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runpod_client import ClientSettings, ConfigError, Secret
from runpod_client.config import find_secret, load, read_layers, setting
from runpod_client.secret_sources import make_command_source
from support.waiting import wait_for


@dataclass(frozen=True, kw_only=True)
class Settings:
    token: Secret | None = setting("Token", env="T_TOKEN", default=None)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the configuration of whoever runs the tests out of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


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


def test_source_read_again_gives_the_rotated_secret(tmp_path: Path) -> None:
    key = write(tmp_path / "key", "old")
    environ = {"T_TOKEN_FILE": str(key)}
    layers = read_layers(environ=environ, directory=Path("/"), section="t")
    found = find_secret(Settings, "token", section="t", layers=layers, environ=environ)
    assert found is not None

    before = found.read()
    write(key, "new")

    assert (before, found.read()) == ("old", "new")
    assert found.source == f"file {key}"


def test_secret_that_is_nowhere_has_no_source() -> None:
    layers = read_layers(environ={}, directory=Path("/"), section="t")

    assert (
        find_secret(Settings, "token", section="t", layers=layers, environ={}) is None
    )


def token_of(**environ: str) -> Secret | None:
    return load(
        Settings,
        section="t",
        environ={"PATH": os.environ["PATH"]} | environ,
        directory=Path("/"),
    ).settings.token


def test_commands_output_is_the_secret_and_goes_before_the_variable() -> None:
    command = "sh -c 'echo \"  from command \"'"

    assert token_of(T_TOKEN_COMMAND=command, T_TOKEN="variable") == "from command"


def test_command_is_run_without_a_shell() -> None:
    show = f"{sys.executable} -c 'import sys; print(*sys.argv[1:])'"

    assert token_of(T_TOKEN_COMMAND=f"{show} $HOME; $(id) | x") == "$HOME; $(id) | x"


def test_command_of_the_users_file_goes_after_the_variable(tmp_path: Path) -> None:
    command = '["sh", "-c", "echo from file"]'
    file = write(tmp_path / "c.toml", f"[t]\ntoken_command = {command}\n")

    def loaded(**environ: str) -> tuple[Secret | None, str]:
        found = load(
            Settings,
            section="t",
            environ={"PATH": os.environ["PATH"]} | environ,
            config_file=file,
        )
        return found.settings.token, found.sources["token"]

    assert loaded() == ("from file", f"command token_command of {file} [t]")
    assert loaded(T_TOKEN="x") == ("x", "environment variable T_TOKEN")


def test_file_named_in_the_users_file_lies_beside_it_and_must_be_closed(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "c.toml", '[t]\ntoken_file = "key"\n')
    key = write(tmp_path / "key", "from key file\n")

    loaded = load(Settings, section="t", environ={}, config_file=file)

    assert loaded.settings.token == "from key file"
    assert loaded.sources["token"] == f"file {key} named in {file} [t]"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="open to other users"):
        load(Settings, section="t", environ={}, config_file=file)


def test_command_in_a_file_others_can_change_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    file = write(tmp_path / "c.toml", f"[t]\ntoken_command = 'touch {trace}'\n")
    file.chmod(0o666)

    with pytest.raises(ConfigError, match="others can change that file"):
        load(Settings, section="t", environ={}, config_file=file)

    assert not trace.exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("sh -c 'echo planted; exit 3'", "failed with exit status 3"),
        ("sh -c 'printf planted >&2'", "printed nothing"),
        ("no-such-program-here planted", "cannot be started"),
        ("'", "is no command line"),
        ("head -c 70000 /dev/zero", "printed far more than a secret"),
        ("sh -c \"printf '\\377planted'\"", "is not text"),
    ],
)
def test_command_that_fails_says_so_without_what_it_printed_or_was_given(
    command: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        token_of(T_TOKEN_COMMAND=command)

    shown = f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"
    assert "planted" not in shown
    assert "T_TOKEN_COMMAND" in caught.value.message


def test_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    source = make_command_source(
        ["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"],
        setting="token",
        source="command",
        environ=os.environ,
        timeout_seconds=0.5,
    )

    with pytest.raises(ConfigError, match=r"did not end within 0\.5 s"):
        source.read()

    sleeper = int(pid_file.read_text())
    wait_for(lambda: is_gone(sleeper), what="the end of what the command started")


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie nobody reaps has ended as well."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    except OSError:
        return True
