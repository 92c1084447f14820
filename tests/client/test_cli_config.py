import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    """Return where the user's configuration file is to be."""
    folder = tmp_path / "config" / "runpod"
    folder.mkdir(parents=True)
    return folder / "config.toml"


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    """Return where the project's configuration file is to be."""
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    return folder / "runpod.toml"


@pytest.fixture
def run(user_file: Path, project_file: Path, tmp_path: Path) -> Run:
    """Return a way to run `runpod-client config` in the project's folder."""

    def run_command(
        *arguments: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        plain = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(user_file.parent.parent),
        }
        return subprocess.run(
            [*COMMAND, "config", *arguments],
            cwd=project_file.parent,
            env=plain | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


def test_every_setting_is_shown_with_value_and_origin_and_no_secret(
    run: Run, user_file: Path, project_file: Path
) -> None:
    user_file.write_text(
        '[client]\nowner = "me"\n[profiles.staging.hub]\nport = 8500\n'
    )
    project_file.write_text("[client]\napi_timeout_seconds = 5\n")

    result = run(
        "show", "--profile", "staging", "--json", RUNPOD_API_KEY="rpa_planted0secret"
    )

    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    found = {
        row["setting"]: (row["value"], row["source"]) for row in document["settings"]
    }
    assert found["client.api_key"] == ("***", "environment variable RUNPOD_API_KEY")
    assert found["client.owner"] == ("me", f"{user_file} [client]")
    assert found["client.api_timeout_seconds"] == ("5.0", f"{project_file} [client]")
    assert found["hub.port"] == ("8500", f"{user_file} [profiles.staging.hub]")
    assert found["ssh.connect_timeout_seconds"] == ("30.0", "default")
    assert found["github.token"] == ("", "default")
    assert document["profile"] == "staging"
    assert [f["path"] for f in document["files"]] == [str(project_file), str(user_file)]
    assert "planted" not in result.stdout + result.stderr


def test_settings_are_shown_for_people_one_a_line(run: Run) -> None:
    result = run("show", RUNPOD_API_BASE_URL="http://127.0.0.1:1")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["SETTING", "VALUE", "SOURCE", "ENVIRONMENT"]
    assert [
        *("client.api_url", "http://127.0.0.1:1"),
        *("environment", "variable", "RUNPOD_API_BASE_URL", "RUNPOD_API_BASE_URL"),
    ] in lines


def test_showing_runs_no_secrets_command(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "ran"

    result = run("show", RUNPOD_API_KEY_COMMAND=f"touch {trace}")

    assert result.returncode == 0, result.stderr
    assert "command of RUNPOD_API_KEY_COMMAND" in result.stdout
    assert not trace.exists()


def test_check_says_what_holds(run: Run, user_file: Path, project_file: Path) -> None:
    user_file.write_text("[templates.base]\ndisk = 30\n")
    project_file.write_text(
        '[templates.train]\nextends = "base"\n'
        "[profiles.staging.client]\napi_timeout_seconds = 5\n"
    )

    plain, document = run("check"), json.loads(run("check", "--json").stdout)

    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.splitlines()[0].split() == ["configuration", "ok"]
    assert document == {
        "is_valid": True,
        "files": [str(project_file), str(user_file)],
        "profiles": ["staging"],
        "sections": ["client", "ssh", "audit", "github", "serve", "hub"],
        "templates": ["base", "train"],
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[clinet]\n", "Did you mean 'client'?"),
        ("[hub]\nprot = 1\n", "unknown setting 'prot' in [hub]"),
        ("[profiles.a.ssh]\nx = 1\n", "unknown setting 'x' in [profiles.a.ssh]"),
        ("[profiles.a.hub]\nport = 'x'\n", "which is no int"),
        ("[client]\napi_key = 'planted'\n", "holds the secret 'api_key' in clear"),
        ("[hooks]\npre_crate = 1\n", "no hook event 'pre_crate'"),
        ("[templates.t]\ndisc = 1\n", "Did you mean 'disk'?"),
        ("[templates.t]\ndisk = 'x'\n", "disk from"),
        ("[profiles.a.templates.t]\nlease = 'x'\n", "lease from"),
        ('[templates.t]\nextends = "t"\n', "extends itself"),
    ],
)
def test_first_fault_of_the_users_file_is_an_error_that_names_the_file(
    run: Run, user_file: Path, text: str, sentence: str
) -> None:
    user_file.write_text(text)

    result = run("check")

    assert result.returncode == 2
    assert sentence in result.stderr
    assert str(user_file) in result.stderr
    assert "planted" not in result.stderr


def test_project_that_oversteps_is_an_error_with_the_way_to_trust_it(
    run: Run, user_file: Path, project_file: Path
) -> None:
    project_file.write_text('[client]\napi_url = "http://evil"\n')

    refused = run("check")
    user_file.write_text(f'trusted_projects = ["{project_file.parent}"]\n')
    trusted = run("check")

    assert refused.returncode == 2
    assert f'trusted_projects = ["{project_file.parent}"]' in refused.stderr
    assert trusted.returncode == 0, trusted.stderr
