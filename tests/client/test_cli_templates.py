import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.sim import SimServer

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]
Run = Callable[..., subprocess.CompletedProcess[str]]

TEMPLATES = """\
[templates.base]
image = "img:1"
lease = "4h"

[templates.train]
extends = "base"
gpu = ["NVIDIA L4"]
volume = "${size}"
parameters.size = { type = "int", default = 100, min = 10, help = "GB" }

[profiles.staging.templates.train]
lease = "1h"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository's folder with templates."""
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    (folder / "runpod.toml").write_text(TEMPLATES)
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Run:
    """Return a way to run the command in that folder."""

    def run_command(
        *arguments: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        plain = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "RUNPOD_STATE_DIR": str(tmp_path / "state"),
        }
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=project,
            env=plain | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


def test_templates_are_listed_with_parameters_and_file(run: Run, project: Path) -> None:
    listed = run("templates", "list")
    named = run("templates", "list", "-o", "name")
    document = json.loads(run("templates", "list", "--json").stdout)

    assert listed.returncode == 0, listed.stderr
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["NAME", "EXTENDS", "PARAMETERS", "FILE"],
        ["base", "-", "-", str(project / "runpod.toml")],
        ["train", "base", "size=100", str(project / "runpod.toml")],
    ]
    assert named.stdout.split() == ["base", "train"]
    assert [t["name"] for t in document["templates"]] == ["base", "train"]


def test_template_is_shown_with_what_it_inherits(run: Run, project: Path) -> None:
    document = json.loads(run("templates", "show", "train", "--json").stdout)

    assert document["extends"] == ["base"]
    assert document["parameters"] == [
        {
            "name": "size",
            "type": "int",
            "default": 100,
            "min": "10",
            "max": None,
            "choices": [],
            "help": "GB",
        }
    ]
    assert {
        "key": "image",
        "value": "img:1",
        "origin": f"{project / 'runpod.toml'} [templates.base]",
    } in document["values"]


def test_rendered_template_shows_values_origins_and_changes(run: Run) -> None:
    result = run(
        "templates", "render", "train", "--set", "size=200", "--profile", "staging"
    )
    document = json.loads(
        run("templates", "render", "train", "--set", "size=200", "--json").stdout
    )

    assert result.returncode == 0, result.stderr
    changed = [line for line in result.stdout.splitlines() if line.startswith("+")]
    assert [line.split()[:4] for line in changed] == [
        ["+", "100", "volume", "200"],
        ["+", "4h", "lease", "1h"],
    ]
    assert document["parameters"] == {"size": 200}
    assert document["changes"] == [{"key": "volume", "before": "100", "after": "200"}]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("show", "trian"), 4, "Did you mean 'train'?"),
        (("render", "train", "--set", "sise=1"), 2, "Did you mean 'size'?"),
        (("render", "train", "--set", "size"), 2, "not written KEY=VALUE"),
        (("render", "train", "--set", "size=1"), 2, "must be at least 10"),
        (("list", "--profile", "nope"), 2, "Known profiles: staging."),
    ],
)
def test_mistake_is_explained_with_its_status(
    run: Run, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = run("templates", *arguments)

    assert result.returncode == code
    assert sentence in result.stderr


def test_rendering_does_not_run_the_command_that_gives_the_api_key(
    run: Run, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"

    result = run(
        "templates", "render", "train", RUNPOD_API_KEY_COMMAND=f"touch {trace}"
    )

    assert result.returncode == 0, result.stderr
    assert not trace.exists()


def test_template_is_compared_with_a_pod_of_the_account(
    run: Run, sim: SimServer
) -> None:
    rented = run(
        *("pods", "create", "--name", "trainer", "--gpu", "NVIDIA L4"),
        *("--image", "img:0", "--volume", "100", "--yes", "--no-wait"),
        **sim.env,
    )
    assert rented.returncode == 0, rented.stderr

    result = run(
        "templates", "render", "train", "--pod", "trainer", "--json", **sim.env
    )

    assert result.returncode == 0, result.stderr
    changes = {c["key"]: c for c in json.loads(result.stdout)["changes"]}
    assert changes["image"] == {"key": "image", "before": "img:0", "after": "img:1"}
    assert "volume" not in changes


def test_templates_kept_at_runpod_are_listed_on_request(
    run: Run, sim: SimServer
) -> None:
    result = run("templates", "list", "--account", "--json", **sim.env)

    assert result.returncode == 0, result.stderr
    assert "templates" in json.loads(result.stdout)


def test_pod_is_rented_by_its_templates_name_and_told_what_was_changed(
    run: Run, sim: SimServer
) -> None:
    rented = run(
        *("pods", "create", "--template", "train", "--set", "size=200"),
        *("--profile", "staging", "--yes", "--no-wait"),
        **sim.env,
    )
    assert rented.returncode == 0, rented.stderr

    differs = run(
        *("templates", "render", "train", "--set", "size=200"),
        *("--profile", "staging", "--pod", "train", "--json"),
        **sim.env,
    )

    assert "volume = 200 instead of 100" in rented.stderr
    assert "lease = 1h instead of 4h" in rented.stderr
    assert json.loads(differs.stdout)["changes"] == []
