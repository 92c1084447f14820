import re
from dataclasses import replace

import pytest

from runner_installer import InstallError, RunnerSpec
from runner_installer.model import Download, PodFacts
from runner_installer.plan import Actor, Stdin, check_facts, plan_steps

FACTS = PodFacts(
    home="/home/pod",
    user_id=0,
    os="Linux",
    architecture="x86_64",
    has_libicu=True,
    free_disk_mb=10_000,
)
DOWNLOAD = Download(
    os="linux",
    architecture="x64",
    url="https://example.invalid/r.tar.gz",
    filename="r.tar.gz",
    sha256="ab" * 32,
)


def test_github_hears_of_the_runner_only_when_its_package_is_on_the_pod(
    spec: RunnerSpec,
) -> None:
    names = [step.name for step in plan_steps(spec, FACTS, DOWNLOAD)]

    assert names == [
        "probe",
        "tarball",
        "folders",
        "upload",
        "register",
        "unpack",
        "record",
        "launch",
        "verify",
    ]


def test_secret_goes_to_one_step_and_by_stdin_alone(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD)

    assert [s.name for s in steps if s.stdin is Stdin.JIT_CONFIG] == ["launch"]


def test_everything_lies_below_one_folder_of_the_pod(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD)

    for step in steps:
        if step.actor is Actor.POD and "\n" not in step.command:
            for path in re.findall(r"(?<![\w.])/root\S*", step.command):
                assert path.startswith("/home/pod/actions-runner"), step


def test_what_changes_the_pod_is_bounded_in_time(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD)

    assert all(0 < step.timeout_seconds <= 300 for step in steps)


def test_pod_without_libicu_runs_with_invariant_culture(spec: RunnerSpec) -> None:
    def launch(facts: PodFacts) -> str:
        steps = plan_steps(spec, facts, DOWNLOAD)
        return next(s.command for s in steps if s.name == "launch")

    assert "INVARIANT_CULTURE=yes" in launch(replace(FACTS, has_libicu=False))
    assert "INVARIANT_CULTURE=no" in launch(replace(FACTS, has_libicu=None))


def test_home_with_blanks_and_quotes_stays_one_word(spec: RunnerSpec) -> None:
    facts = replace(FACTS, home="/srv/it's mine")

    steps = plan_steps(spec, facts, DOWNLOAD)

    unpack = next(s for s in steps if s.name == "unpack")
    assert "'/srv/it'\"'\"'s mine/actions-runner/" in unpack.command


def test_pod_that_lacks_programs_is_refused_with_their_names() -> None:
    with pytest.raises(InstallError, match="lacks bash, tar"):
        check_facts(replace(FACTS, missing_programs=("bash", "tar")))


def test_pod_without_space_is_refused_before_anything_is_done() -> None:
    with pytest.raises(InstallError, match="100 MB free"):
        check_facts(replace(FACTS, free_disk_mb=100))


def test_pod_that_cannot_tell_its_space_is_taken() -> None:
    check_facts(replace(FACTS, free_disk_mb=None))
