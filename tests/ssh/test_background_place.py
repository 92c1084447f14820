"""Where a background process is looked for: never the one of other settings."""

import os
from pathlib import Path

import pytest

from runpod_client.config import default_config_file
from runpod_client.config_files import find_project_file as find_by_settings
from runpod_ssh import background_place
from runpod_ssh.background_place import (
    Address,
    ensure_private,
    find_folder,
    find_place,
    is_private,
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "RUNPOD_API_KEY": "rpa_planted0secret0value",
        "PATH": os.environ["PATH"],
    }


def name_of(environ: dict[str, str], directory: Path) -> str:
    place = find_place(environ, str(directory))
    assert place is not None
    return place.name


@pytest.mark.parametrize(
    "variable",
    [
        "RUNPOD_API_KEY",
        "RUNPOD_API_BASE_URL",
        "RUNPOD_PROFILE",
        "HOME",
        "XDG_CONFIG_HOME",
        "SSH_AUTH_SOCK",
        "https_proxy",
    ],
)
def test_another_value_of_what_decides_is_another_process(
    environ: dict[str, str], tmp_path: Path, variable: str
) -> None:
    before = name_of(environ, tmp_path)

    after = name_of(environ | {variable: "/else"}, tmp_path)

    assert after != before


def test_variables_that_decide_nothing_share_a_process(
    environ: dict[str, str], tmp_path: Path
) -> None:
    others = {"PWD": "/x", "TERM": "vt100", "COLUMNS": "7", "HF_TOKEN": "x"}

    assert name_of(environ | others, tmp_path) == name_of(environ, tmp_path)


def test_a_value_cannot_pass_for_two(environ: dict[str, str], tmp_path: Path) -> None:
    one = environ | {"RUNPOD_A": "1RUNPOD_B=2"}
    two = environ | {"RUNPOD_A": "1", "RUNPOD_B": "2"}

    assert name_of(one, tmp_path) != name_of(two, tmp_path)


def test_secrets_do_not_stand_in_the_name(
    environ: dict[str, str], tmp_path: Path
) -> None:
    place = find_place(environ, str(tmp_path))

    assert place is not None
    assert "planted" not in place.socket_path + place.log_path + place.lock_path


def test_changed_configuration_is_another_process(
    environ: dict[str, str], tmp_path: Path
) -> None:
    names = [name_of(environ, tmp_path)]

    own = tmp_path / ".config" / "runpod" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[ssh]\n")
    names.append(name_of(environ, tmp_path))
    own.write_text("[ssh]\nparallel = 3\n")
    names.append(name_of(environ, tmp_path))
    (tmp_path / "runpod.toml").write_text("")
    names.append(name_of(environ, tmp_path))

    assert len(set(names)) == 4


def test_rotated_key_file_is_another_process(
    environ: dict[str, str], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("rpa_one")
    environ["RUNPOD_API_KEY_FILE"] = str(key)
    before = name_of(environ, tmp_path)

    key.write_text("rpa_another")

    assert name_of(environ, tmp_path) != before


def test_folders_of_one_project_share_a_process(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "runpod.toml").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert name_of(environ, below) == name_of(environ, tmp_path)


@pytest.mark.parametrize("marker", ["", "runpod.toml", ".git"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_project_file_is_found_where_the_settings_find_it(
    tmp_path: Path, marker: str, depth: int
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "runpod.toml").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    folder = (tmp_path, below.parent, below)[depth]
    if marker:
        (below.parent / marker).touch()

    found = background_place.find_project_file(str(folder))

    assert found == str(find_by_settings(folder) or "")


@pytest.mark.parametrize("config_home", ["", "/etc/xdg/me", " "])
def test_user_file_is_the_one_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, config_home: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", config_home)

    found = background_place.find_user_file(os.environ)

    assert found == str(default_config_file())


@pytest.mark.parametrize(
    "change",
    [
        {"RUNPOD_SSH_BACKGROUND": "false"},
        {"RUNPOD_SSH_BACKGROUND": "0"},
        {"RUNPOD_STATE_DIR": "state"},
        {"RUNPOD_API_KEY_FILE": "./key"},
    ],
)
def test_no_process_where_it_is_off_or_paths_are_relative(
    environ: dict[str, str], tmp_path: Path, change: dict[str, str]
) -> None:
    assert find_place(environ | change, str(tmp_path)) is None


def test_folder_is_the_runtime_folder_or_one_with_our_number() -> None:
    assert find_folder({"XDG_RUNTIME_DIR": "/run/user/7/"}) == "/run/user/7/runpod-ssh"
    assert find_folder({}) == f"/tmp/runpod-ssh-{os.geteuid()}"
    assert find_folder({"XDG_RUNTIME_DIR": "here"}) == find_folder({})


def test_only_a_folder_of_our_own_is_private(tmp_path: Path) -> None:
    own, open_, link, foreign = (tmp_path / n for n in ("own", "open", "link", "not"))
    made = ensure_private(str(own))
    open_.mkdir()
    open_.chmod(0o755)
    link.symlink_to(own)
    foreign.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(foreign, 4711, 4711)
    else:
        foreign.chmod(0o770)

    found = [is_private(str(path)) for path in (own, open_, link, foreign)]

    assert made
    assert found == [True, False, False, False]
    assert [ensure_private(str(path)) for path in (open_, link, foreign)] == [False] * 3


def test_no_folder_is_made_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert not ensure_private(str(tmp_path / "file" / "run"))
    assert not ensure_private(str(tmp_path / "missing" / "run"))


@pytest.mark.parametrize("depth", [1, 12])
def test_address_reaches_a_file_however_long_its_path(
    tmp_path: Path, depth: int
) -> None:
    folder = tmp_path.joinpath(*["a-long-name"] * depth)
    folder.mkdir(parents=True)
    (folder / "socket").write_text("here")

    with Address(str(folder / "socket")) as address:
        found = Path(address).read_text()

        assert len(address) < 108
    assert found == "here"
