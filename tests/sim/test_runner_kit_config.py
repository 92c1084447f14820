"""`config.sh` of the stand-in: registering a runner by token and removing it."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from runpod_sim import runner_tarball
from support.forge import (
    REPOSITORY,
    RUNNERS,
    RunnerProcess,
    ServedForge,
    kit_environment,
    served_forge,
    unpack,
)


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


@pytest.fixture
def root(served: ServedForge, tmp_path: Path) -> Path:
    return unpack(served, tmp_path / "runner")


def config(
    root: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "config.sh", *arguments],
        cwd=root,
        env=kit_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def token(served: ServedForge, purpose: str = "registration") -> str:
    answer = served.call("POST", f"{RUNNERS}/{purpose}-token")
    return str(answer.json()["token"])


def register(
    served: ServedForge, root: Path, *arguments: str, name: str = "kept"
) -> subprocess.CompletedProcess[str]:
    return config(
        root,
        "--unattended",
        "--url",
        f"{served.base_url}/{REPOSITORY}",
        "--name",
        name,
        "--labels",
        "gpu,big",
        *arguments,
        ACTIONS_RUNNER_INPUT_TOKEN=token(served),
    )


def test_registered_runner_works_job_after_job(served: ServedForge, root: Path) -> None:
    done = register(served, root)

    assert done.returncode == 0, done.stderr
    for line in (
        "√ Connected to GitHub",
        "√ Runner successfully added",
        "√ Settings Saved.",
    ):
        assert line in done.stdout
    shown = served.runner("kept")
    assert shown is not None
    labels = [label["name"] for label in shown["labels"]]
    assert labels[:2] == ["self-hosted", "Linux"]
    assert labels[3:] == ["gpu", "big"]
    runner = RunnerProcess(root)
    try:
        for number in (1, 2):
            job = served.finished(served.queue(f"echo {number}"))
            assert (job["conclusion"], job["log"]) == ("success", f"{number}\n")
    finally:
        runner.close()
    assert (root / ".runner").exists()


def test_ephemeral_runner_is_wiped_after_its_job(
    served: ServedForge, root: Path
) -> None:
    assert register(served, root, "--ephemeral").returncode == 0
    job_id = served.queue("true")

    runner = RunnerProcess(root)
    try:
        assert runner.wait() == 0
    finally:
        runner.close()

    assert served.finished(job_id)["conclusion"] == "success"
    assert not (root / ".runner").exists()


def test_name_that_is_taken_is_refused_unless_it_may_be_replaced(
    served: ServedForge, root: Path, tmp_path: Path
) -> None:
    assert register(served, root).returncode == 0
    other = unpack(served, tmp_path / "other")

    refused = register(served, other)
    replaced = register(served, other, "--replace")

    assert refused.returncode == 1
    assert "A runner exists with the same name kept." in refused.stderr
    assert replaced.returncode == 0, replaced.stderr
    assert "√ Successfully replaced the runner" in replaced.stdout


def test_configured_runner_is_not_configured_again(
    served: ServedForge, root: Path
) -> None:
    assert register(served, root).returncode == 0

    again = register(served, root, name="other")

    assert again.returncode == 1
    assert "already configured" in again.stderr
    assert served.runner("other") is None


def test_bad_token_is_refused_at_once(served: ServedForge, root: Path) -> None:
    url = f"{served.base_url}/{REPOSITORY}"

    done = config(root, "--unattended", "--url", url, "--token", "WRONG")

    assert done.returncode == 1
    assert "Http response code: NotFound" in done.stderr
    assert "Retrying" not in done.stdout


def test_token_of_another_repository_is_refused(
    served: ServedForge, root: Path
) -> None:
    url = f"{served.base_url}/acme/other"

    done = config(root, "--unattended", "--url", url, "--token", token(served))

    assert done.returncode == 1
    assert "NotFound" in done.stderr


@pytest.mark.parametrize(("times", "code"), [(2, 0), (3, 1)])
def test_server_trouble_at_registration_is_met_three_times(
    served: ServedForge, root: Path, times: int, code: int
) -> None:
    served.order(
        "/faults",
        {"operation": "begin_registration", "kind": "error_500", "times": times},
    )

    done = register(served, root)

    assert done.returncode == code
    assert done.stdout.count("Retrying") == 2


def test_unknown_group_is_refused(served: ServedForge, root: Path) -> None:
    done = register(served, root, "--runnergroup", "nobody")

    assert done.returncode == 1
    assert "Could not find any self-hosted runner group named" in done.stderr


def test_label_that_is_too_long_is_refused(served: ServedForge, root: Path) -> None:
    done = register(served, root, "--labels", "x" * 257)

    assert done.returncode == 1


def test_unknown_flag_is_only_warned_about(served: ServedForge, root: Path) -> None:
    done = register(served, root, "--nonsense")

    assert done.returncode == 0
    assert "--nonsense" in done.stderr


def test_missing_libraries_are_named_with_their_installer(root: Path) -> None:
    done = config(root, RUNNER_SIM_MISSING_LIBICU="1")

    assert done.returncode == 1
    assert "./bin/installdependencies.sh" in done.stdout


def test_configuring_as_root_is_refused(root: Path) -> None:
    done = config(root, "--version", RUNNER_ALLOW_RUNASROOT="")

    if os.geteuid() == 0:
        assert (done.returncode, done.stdout) == (1, "Must not run with sudo\n")
    else:
        assert (done.returncode, done.stdout) == (0, "2.336.0\n")


def test_removal_by_token_takes_registration_and_files_away(
    served: ServedForge, root: Path
) -> None:
    assert register(served, root).returncode == 0

    done = config(root, "remove", ACTIONS_RUNNER_INPUT_TOKEN=token(served, "remove"))

    assert done.returncode == 0, done.stderr
    assert "√ Removed .credentials\n√ Removed .runner\n" in done.stdout
    assert served.runner("kept") is None
    assert not (root / ".credentials_rsaparams").exists()


def test_registration_token_does_not_remove(served: ServedForge, root: Path) -> None:
    assert register(served, root).returncode == 0

    done = config(root, "remove", "--token", token(served))

    assert done.returncode == 1
    assert served.runner("kept") is not None


def test_local_removal_leaves_the_registration(served: ServedForge, root: Path) -> None:
    assert register(served, root).returncode == 0

    done = config(root, "remove", "--local")

    assert done.returncode == 0
    assert not (root / ".runner").exists()
    assert served.runner("kept") is not None


def test_removal_is_refused_while_a_service_is_installed(
    served: ServedForge, root: Path
) -> None:
    assert register(served, root).returncode == 0
    (root / ".service").write_text("actions.runner.service")

    done = config(root, "remove", "--local")

    assert (done.returncode, done.stderr) == (1, "Uninstall service first\n")


def test_jit_runner_cannot_be_removed_by_token(served: ServedForge, root: Path) -> None:
    encoded = served.jit("one")["encoded_jit_config"]
    runner = RunnerProcess(root, ACTIONS_RUNNER_INPUT_JITCONFIG=encoded)
    try:
        runner.wait_for_line("Listening for Jobs")
    finally:
        runner.close()

    done = config(root, "remove", "--token", token(served, "remove"))

    assert done.returncode == 1
    assert "JIT" in done.stderr


def test_download_has_the_checksum_the_api_tells_and_no_top_folder(
    served: ServedForge,
) -> None:
    downloads = served.call("GET", f"{RUNNERS}/downloads").json()

    for package in downloads:
        content = requests.get(package["download_url"], timeout=10).content
        assert hashlib.sha256(content).hexdigest() == package["sha256_checksum"]
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = archive.getnames()
        assert names[0] == "."
        assert {"./config.sh", "./run.sh", "./bin/Runner.Listener"} <= set(names)
        assert "./svc.sh" not in names


def test_package_is_the_same_for_the_same_interpreters() -> None:
    first, again = (
        runner_tarball.pack_for("x64", bash="/a/bash", python="/a/python")
        for _ in range(2)
    )

    other = runner_tarball.pack_for("x64", bash="/b/bash", python="/a/python")

    assert first == again
    assert first != other


def test_scripts_start_with_the_interpreters_of_the_host() -> None:
    content = runner_tarball.pack_for("x64", bash="/a/bash", python="/a/python")

    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        firsts = {}
        for name in ("run.sh", "config.sh", "run-helper.sh.template"):
            file = archive.extractfile(f"./{name}")
            assert file is not None
            firsts[name] = file.readline()
        listener = archive.extractfile("./bin/Runner.Listener")
        assert listener is not None
        assert listener.readline() == b"#!/a/python\n"
    assert set(firsts.values()) == {b"#!/a/bash\n"}
