import re
from dataclasses import replace

import pytest

from runner_installer import InstallError, RunnerSpec
from runner_installer.layout import check_facts
from runner_installer.model import Download
from runner_installer.plan import Stdin, Step, plan_steps
from runner_installer.pod_model import (
    FailurePolicy,
    InstallOptions,
    PodFacts,
    RegistrationKind,
    StepPhase,
    StepSpec,
)

FACTS = PodFacts(
    home="/root",
    base="/root",
    user_id=0,
    user="root",
    os="Linux",
    architecture="x86_64",
    has_libicu=True,
    free_disk_mb=10_000,
    user_tool="useradd",
    user_way="setpriv",
)
USER_FACTS = replace(
    FACTS, home="/home/pod", base="/home/pod", user_id=1000, user="pod"
)
DOWNLOAD = Download(
    os="linux",
    architecture="x64",
    url="https://example.invalid/r.tar.gz",
    filename="r.tar.gz",
    sha256="ab" * 32,
)
NAMES = [
    "probe",
    "tarball",
    "folders",
    "upload",
    "register",
    "record",
    "unpack",
    "hooks",
    "launch",
    "verify",
]


def named(steps: tuple[Step, ...], name: str) -> Step:
    return next(step for step in steps if step.name == name)


@pytest.mark.parametrize("facts", [FACTS, USER_FACTS])
def test_github_hears_of_the_runner_only_when_its_package_is_on_the_pod(
    spec: RunnerSpec, facts: PodFacts
) -> None:
    names = [step.name for step in plan_steps(spec, facts, DOWNLOAD)]

    assert names == NAMES


@pytest.mark.parametrize("kind", [RegistrationKind.JIT, RegistrationKind.TOKEN])
def test_secret_goes_by_stdin_alone_to_the_step_that_needs_it(
    spec: RunnerSpec, kind: RegistrationKind
) -> None:
    options = InstallOptions(registration=kind)

    steps = plan_steps(spec, FACTS, DOWNLOAD, options)

    readers = {s.name for s in steps if s.stdin in {Stdin.JIT_CONFIG, Stdin.TOKEN}}
    assert readers == {"launch"} | (
        {"configure"} if kind is RegistrationKind.TOKEN else set()
    )


def test_login_users_runner_lies_below_one_folder_of_the_pod(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, USER_FACTS, DOWNLOAD)

    for step in steps:
        for text in (step.summary, step.check):
            for path in re.findall(r"(?<![\w.])/home\S*", text):
                assert path.startswith("/home/pod/actions-runner"), step


def test_roots_runner_is_unpacked_in_the_home_of_its_own_user(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD)

    folders = named(steps, "folders")
    assert re.search(r"the user gha-[0-9a-f]{10}$", folders.summary)
    assert "OWN_USER=yes" in folders.command
    assert "unpack into ~gha-" in named(steps, "unpack").summary


def test_runners_of_two_names_get_two_users_each_the_same_every_time(
    spec: RunnerSpec,
) -> None:
    def user(name: str) -> str:
        steps = plan_steps(spec.renamed(name), FACTS, DOWNLOAD)
        return named(steps, "folders").summary.rsplit(" ", 1)[-1]

    assert user("one") == user("one")
    assert user("one") != user("two")


def test_runner_as_root_is_said_so_and_gets_no_user(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD, InstallOptions(as_root=True))

    folders = named(steps, "folders")
    assert "as root (its jobs own the pod)" in folders.summary
    assert "RUNNER_USER= " in folders.command


def test_what_changes_the_pod_is_bounded_in_time(spec: RunnerSpec) -> None:
    steps = plan_steps(spec, FACTS, DOWNLOAD)

    assert all(0 < step.timeout_seconds <= 300 for step in steps)


def test_libraries_are_installed_only_where_asked_missing_and_possible(
    spec: RunnerSpec,
) -> None:
    def names(facts: PodFacts, *, asked: bool) -> list[str]:
        options = InstallOptions(install_libraries=asked)
        return [step.name for step in plan_steps(spec, facts, DOWNLOAD, options)]

    lacking = replace(FACTS, has_libicu=False)
    assert "libraries" in names(lacking, asked=True)
    assert "libraries" not in names(lacking, asked=False)
    assert "libraries" not in names(FACTS, asked=True)
    assert "libraries" not in names(replace(USER_FACTS, has_libicu=False), asked=True)


def test_home_with_blanks_and_quotes_stays_one_word(spec: RunnerSpec) -> None:
    facts = replace(USER_FACTS, home="/srv/it's mine", base="/srv/it's mine")

    steps = plan_steps(spec, facts, DOWNLOAD)

    unpack = named(steps, "unpack")
    assert "'TARBALL=/srv/it'\"'\"'s mine/actions-runner/" in unpack.command


def test_custom_steps_stand_where_their_phase_says(spec: RunnerSpec) -> None:
    before = StepSpec(name="a", phase=StepPhase.BEFORE_INSTALL, command="true")
    after = StepSpec(
        name="b",
        phase=StepPhase.AFTER_INSTALL,
        command="fetch",
        timeout_seconds=7,
        on_failure=FailurePolicy.KEEP_POD,
    )
    hook = StepSpec(name="c", phase=StepPhase.BEFORE_JOB, command="true")
    options = InstallOptions(steps=(hook, after, before))

    steps = plan_steps(spec, FACTS, DOWNLOAD, options)

    names = [step.name for step in steps]
    assert names.index("folders") < names.index("a") < names.index("upload")
    assert names[-1] == "b"
    assert "c" not in names
    assert "after_install: fetch (at most 7 s; failing it: keep pod)" in (
        named(steps, "b").summary
    )


def test_pod_that_lacks_programs_is_refused_with_their_names() -> None:
    with pytest.raises(InstallError, match="lacks bash, tar"):
        check_facts(replace(FACTS, missing_programs=("bash", "tar")))


def test_pod_without_space_is_refused_before_anything_is_done() -> None:
    with pytest.raises(InstallError, match="100 MB free in /root"):
        check_facts(replace(FACTS, free_disk_mb=100))


def test_pod_where_nothing_is_writable_is_refused_with_the_places_tried() -> None:
    with pytest.raises(InstallError, match="in /root, /workspace and /tmp") as caught:
        check_facts(replace(FACTS, base=None))

    assert "--folder" in caught.value.hint


def test_pod_that_cannot_tell_its_space_is_taken() -> None:
    check_facts(replace(FACTS, free_disk_mb=None))


@pytest.mark.parametrize(
    ("facts", "options", "words"),
    [
        (replace(FACTS, user_tool=""), InstallOptions(), "no useradd or adduser"),
        (replace(FACTS, user_way=""), InstallOptions(), "no setpriv, runuser or su"),
        (USER_FACTS, InstallOptions(user="ci"), "log in as pod"),
    ],
)
def test_runner_never_becomes_another_user_than_was_meant(
    facts: PodFacts, options: InstallOptions, words: str
) -> None:
    with pytest.raises(InstallError, match=words):
        check_facts(facts, options)


def test_root_without_a_way_to_make_users_may_still_be_told_to_be_root() -> None:
    check_facts(replace(FACTS, user_tool="", user_way=""), InstallOptions(as_root=True))
