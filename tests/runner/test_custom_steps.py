"""Custom steps around install and job, and the job hooks that carry some of them."""

import asyncio
from pathlib import Path

import pytest

from runner_installer import (
    GitHub,
    Installation,
    RunnerSpec,
    TarballCache,
    list_installed,
    list_statuses,
)
from runner_installer.errors import CustomStepError
from runner_installer.pod_model import (
    FailurePolicy,
    InstallOptions,
    JobStamp,
    StepPhase,
    StepSpec,
)
from runner_installer.remote import SSHRemote
from runner_installer.steps import load_steps
from runpod_client import ConfigError
from support.forge import ServedForge
from support.leftovers import processes_mentioning

from .conftest import Pod


def installation(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, *steps: StepSpec
) -> Installation:
    options = InstallOptions(steps=steps)
    return Installation(remote, github, tarballs, options=options)


async def test_steps_run_around_the_installation_in_their_order(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    trace = pod.home / "trace"
    steps = (
        StepSpec(
            name="late",
            phase=StepPhase.AFTER_INSTALL,
            command=f"pgrep -f Runner.Listener >/dev/null && echo late >>'{trace}'",
        ),
        StepSpec(
            name="early",
            phase=StepPhase.BEFORE_INSTALL,
            command=f"echo early >>'{trace}'\necho two lines",
        ),
    )

    done = await installation(remote, github, tarballs, *steps).run(spec, new_name=None)

    assert trace.read_text() == "early\nlate\n"
    assert (pod.root / spec.name / "step-early.log").read_text() == "two lines\n"
    names = [phase.name for phase in done.phases]
    assert names.index("early") < names.index("register") < names.index("late")


@pytest.mark.parametrize("phase", [StepPhase.BEFORE_INSTALL, StepPhase.AFTER_INSTALL])
async def test_failing_step_undoes_the_installation_and_says_what_it_said(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    phase: StepPhase,
) -> None:
    step = StepSpec(
        name="data",
        phase=phase,
        command="echo no such bucket; exit 3",
        on_failure=FailurePolicy.KEEP_POD,
    )

    with pytest.raises(CustomStepError, match=r"status 3.*no such bucket") as caught:
        await installation(remote, github, tarballs, step).run(spec, new_name=None)

    assert (caught.value.step, caught.value.on_failure) == ("data", "keep_pod")
    assert forge.forge.runners == {}
    assert await list_installed(remote) == ()


async def test_step_out_of_time_is_killed_with_all_it_started(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    mark = "sleep 271.25"
    step = StepSpec(
        name="slow",
        phase=StepPhase.BEFORE_INSTALL,
        command=f"echo begun; {mark} & {mark}",
        timeout_seconds=1,
    )

    with pytest.raises(CustomStepError, match=r"not done after 1 s.*begun"):
        await installation(remote, github, tarballs, step).run(spec, new_name=None)

    assert processes_mentioning("271.25") == []


async def test_step_that_may_fail_holds_nothing_up(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    step = StepSpec(
        name="optional",
        phase=StepPhase.BEFORE_INSTALL,
        command="exit 1",
        on_failure=FailurePolicy.CONTINUE,
    )

    done = await installation(remote, github, tarballs, step).run(spec, new_name=None)

    assert done.is_new


async def test_job_runs_between_its_steps_and_is_noted_with_its_run(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    steps = (
        StepSpec(name="prep", phase=StepPhase.BEFORE_JOB, command="echo preparing"),
        StepSpec(name="tidy", phase=StepPhase.AFTER_JOB, command="echo tidying"),
    )
    await installation(remote, github, tarballs, *steps).run(spec, new_name=None)
    job_id = await asyncio.to_thread(forge.queue, "echo the job itself; sleep 1.5")
    await asyncio.to_thread(
        forge.wait_for_status, spec.name, status="online", busy=True
    )
    during = await wait_for_stamp(remote, is_busy=True)

    job = await asyncio.to_thread(forge.finished, job_id)
    after = await wait_for_stamp(remote, is_busy=False)

    order = ("preparing", "the job itself", "tidying")
    places = [job["log"].index(word) for word in order]
    assert places == sorted(places)
    assert job["conclusion"] == "success"
    assert during.run_id == str(job["run_id"])
    assert (during.repository, during.job) == ("acme/widgets", "train")
    assert during.started_at == after.started_at
    assert after.completed_at >= after.started_at > "2026"


async def wait_for_stamp(remote: SSHRemote, *, is_busy: bool) -> JobStamp:
    """Wait until the job hook has noted it."""
    for _ in range(100):
        stamps = [runner.job for runner in await list_installed(remote) if runner.job]
        if stamps and stamps[0].is_busy is is_busy:
            return stamps[0]
        await asyncio.sleep(0.1)
    pytest.fail("the job hook noted nothing")


async def test_failing_step_before_the_job_fails_the_job_and_may_keep_the_pod(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    step = StepSpec(
        name="mount",
        phase=StepPhase.BEFORE_JOB,
        command="echo cannot mount; exit 1",
        on_failure=FailurePolicy.KEEP_POD,
    )
    await installation(remote, github, tarballs, step).run(spec, new_name=None)

    job_id = await asyncio.to_thread(forge.queue, "echo the job itself")
    job = await asyncio.to_thread(forge.finished, job_id)

    assert job["conclusion"] == "failure"
    assert "cannot mount" in job["log"]
    assert "the job itself" not in job["log"]
    stamp = await wait_for_stamp(remote, is_busy=False)
    assert stamp.keep == "mount"


@pytest.mark.parametrize(
    ("allowed", "conclusion"),
    [
        (("acme/widgets",), "success"),
        (("Acme/*", "other/x"), "success"),
        (("acme/widget", "acme/widgets2"), "failure"),
        (("other/*",), "failure"),
    ],
)
async def test_job_of_a_repository_that_is_not_allowed_is_failed(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    allowed: tuple[str, ...],
    conclusion: str,
) -> None:
    options = InstallOptions(allowed_repositories=allowed)
    await Installation(remote, github, tarballs, options=options).run(
        spec, new_name=None
    )

    job_id = await asyncio.to_thread(forge.queue, "echo the job itself")
    job = await asyncio.to_thread(forge.finished, job_id)

    assert job["conclusion"] == conclusion
    assert ("the job itself" in job["log"]) is (conclusion == "success")


async def test_status_names_the_run_a_runner_works_for(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await Installation(remote, github, tarballs).run(spec, new_name=None)
    await asyncio.to_thread(forge.queue, "sleep 60")
    await wait_for_stamp(remote, is_busy=True)

    (status,) = await list_statuses(remote, github)

    assert status.runner.console.state == "busy"
    assert status.disagreements == ()


GOOD = """
[[steps]]
name = "dataset"
command = "fetch-data"
timeout_seconds = 60
on_failure = "keep_pod"

[[steps]]
phase = "before_job"
command = "nvidia-smi"
"""


def test_file_of_steps_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(GOOD)

    assert load_steps(path) == (
        StepSpec(
            name="dataset",
            phase=StepPhase.AFTER_INSTALL,
            command="fetch-data",
            timeout_seconds=60,
            on_failure=FailurePolicy.KEEP_POD,
        ),
        StepSpec(name="step-2", phase=StepPhase.BEFORE_JOB, command="nvidia-smi"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[steps", "no TOML"),
        ('steps = ["x"]', "a table"),
        ('[[steps]]\ncommand = "x"\nphase = "later"', "before_install"),
        ('[[steps]]\ncommand = "x"\non_fail = "fail"', "on_failure"),
        ('[[steps]]\ncommand = " "', "has no command"),
        ('[[steps]]\ncommand = "x"\ntimeout_seconds = 0', "timeout_seconds"),
        ('[[steps]]\nname = "../x"\ncommand = "x"', "needs a name"),
        ('[[steps]]\nname="a"\ncommand="x"\n[[steps]]\nname="a"\ncommand="x"', "two"),
    ],
)
def test_mistake_in_a_file_of_steps_is_named(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_steps(path)

    assert words in f"{caught.value} {caught.value.hint}"
