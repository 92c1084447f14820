"""The rules of the simulated GitHub, as data and without HTTP."""

from datetime import UTC, datetime, timedelta

import pytest

from runpod_sim.clock import Clock
from runpod_sim.forge import Forge
from runpod_sim.forge_model import (
    Conclusion,
    Deprecation,
    Job,
    JobStatus,
    Purpose,
    RefusedError,
    Runner,
    RunnerGroup,
    Scope,
    ScopeKind,
    Session,
)

REPOSITORY = Scope(ScopeKind.REPOSITORY, "acme/widgets")
ORGANIZATION = Scope(ScopeKind.ORGANIZATION, "acme")
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS


@pytest.fixture
def forge() -> Forge:
    return Forge(Clock(lambda: START), seed=1, base_url="http://forge.test")


def jit(forge: Forge, name: str = "one", scope: Scope = REPOSITORY) -> Runner:
    return forge.create_jit_runner(scope, name, group_id=1, labels=["gpu", "linux"])


def hold(forge: Forge, runner: Runner) -> Session:
    return forge.create_session(
        runner, "pod", version="2.336.0", os="Linux", architecture="x64"
    )


def queue(forge: Forge, *labels: str) -> Job:
    return forge.create_job("acme/widgets", "train", labels or ("gpu",), "true")


def start(forge: Forge, runner: Runner) -> Job:
    hold(forge, runner)
    job = forge.offer_job(runner)
    assert job is not None
    return forge.acquire_job(forge.runners[runner.id], job.id)


def status_of(refused: pytest.ExceptionInfo[RefusedError]) -> int:
    return refused.value.status


def test_fresh_jit_runner_is_offline_and_idle(forge: Forge) -> None:
    runner = jit(forge)

    assert not forge.is_online(runner)
    assert (runner.os, runner.version, runner.job_id) == ("unknown", None, None)
    assert [label.name for label in runner.labels] == ["gpu", "linux"]


def test_scopes_are_told_apart_without_case(forge: Forge) -> None:
    runner = jit(forge)

    other_case = Scope(ScopeKind.REPOSITORY, "ACME/Widgets")
    assert forge.list_runners(other_case) == [runner]
    assert forge.list_runners(Scope(ScopeKind.REPOSITORY, "acme/other")) == []


def test_name_that_is_taken_is_a_conflict(forge: Forge) -> None:
    jit(forge)

    with pytest.raises(RefusedError) as refused:
        jit(forge)

    assert status_of(refused) == 409


@pytest.mark.parametrize("labels", [[], ["x" * 257], ["a"] * 101, [" "]])
def test_labels_github_does_not_take_are_refused(
    forge: Forge, labels: list[str]
) -> None:
    with pytest.raises(RefusedError) as refused:
        forge.create_jit_runner(REPOSITORY, "one", group_id=1, labels=labels)

    assert status_of(refused) == 422


def test_registration_token_ends_after_an_hour(forge: Forge) -> None:
    token = forge.create_runner_token(REPOSITORY, Purpose.REGISTER).token
    forge.clock.advance(HOUR_SECONDS - 1)
    forge.get_runner_token(token)

    forge.clock.advance(1)

    with pytest.raises(RefusedError) as refused:
        forge.get_runner_token(token)
    assert status_of(refused) == 404


def test_job_goes_to_a_runner_that_has_all_its_labels_in_any_case(
    forge: Forge,
) -> None:
    runner = jit(forge)
    hold(forge, runner)
    queue(forge, "gpu", "tpu")
    fitting = queue(forge, "GPU", "Linux")

    offered = forge.offer_job(runner)

    assert offered is not None
    assert offered.id == fitting.id
    assert forge.offer_job(runner) is None


def test_job_of_another_repository_is_not_offered(forge: Forge) -> None:
    runner = jit(forge)
    hold(forge, runner)

    forge.create_job("acme/other", "train", ["gpu"], "true")

    assert forge.offer_job(runner) is None


def test_runner_of_the_organization_serves_its_repositories(forge: Forge) -> None:
    runner = jit(forge, scope=ORGANIZATION)
    hold(forge, runner)
    forge.create_job("other/widgets", "train", ["gpu"], "true")

    job = queue(forge)

    offered = forge.offer_job(runner)
    assert offered is not None
    assert offered.id == job.id


def test_group_of_selected_repositories_keeps_others_out(forge: Forge) -> None:
    group = forge.create_group(
        RunnerGroup(
            0,
            ORGANIZATION,
            "dear",
            visibility="selected",
            repository_ids=(forge.repository_id("acme/allowed"),),
        )
    )
    runner = jit(forge, scope=ORGANIZATION)
    forge.move_runner(ORGANIZATION, runner.id, group.id)
    hold(forge, runner)
    queue(forge)
    allowed = forge.create_job("acme/allowed", "train", ["gpu"], "true")

    offered = forge.offer_job(runner)

    assert offered is not None
    assert offered.id == allowed.id


def test_offered_job_that_is_not_taken_goes_back_to_the_queue(forge: Forge) -> None:
    first, second = jit(forge, "one"), jit(forge, "two")
    hold(forge, first)
    hold(forge, second)
    job = queue(forge)
    forge.offer_job(first)
    assert forge.offer_job(second) is None

    forge.clock.advance(60)

    offered = forge.offer_job(second)
    assert offered is not None
    assert offered.id == job.id
    with pytest.raises(RefusedError):
        forge.acquire_job(first, job.id)


def test_job_nobody_takes_for_a_day_fails(forge: Forge) -> None:
    job = queue(forge)

    forge.clock.advance(DAY_SECONDS)

    ended = forge.get_job("acme/widgets", job.id)
    assert (ended.status, ended.conclusion) == (
        JobStatus.COMPLETED,
        Conclusion.FAILURE,
    )


def test_busy_runner_cannot_be_deleted(forge: Forge) -> None:
    runner = jit(forge)
    queue(forge)
    start(forge, runner)

    with pytest.raises(RefusedError) as refused:
        forge.delete_runner(REPOSITORY, runner.id)

    assert status_of(refused) == 422


def test_one_job_runner_gets_no_second_job_and_is_dropped_with_a_lag(
    forge: Forge,
) -> None:
    runner = jit(forge)
    queue(forge)
    job = start(forge, runner)

    forge.complete_job(job, Conclusion.SUCCESS)
    queue(forge)

    assert forge.offer_job(runner) is None
    assert forge.find_runner(REPOSITORY, "one") is not None
    forge.clock.advance(1)
    assert forge.find_runner(REPOSITORY, "one") is None


def test_job_whose_lock_lapses_fails_with_lost_communication(forge: Forge) -> None:
    runner = jit(forge)
    queue(forge)
    job = start(forge, runner)
    forge.clock.advance(599)
    assert forge.get_job("acme/widgets", job.id).status is JobStatus.IN_PROGRESS

    forge.clock.advance(1)

    ended = forge.get_job("acme/widgets", job.id)
    assert ended.conclusion is Conclusion.FAILURE
    assert ended.problem is not None
    assert "lost communication with the server" in ended.problem
    assert forge.runners[runner.id].job_id is None


def test_connected_worker_keeps_its_lock_however_far_the_clock_is_wound(
    forge: Forge,
) -> None:
    runner = jit(forge)
    queue(forge)
    job = start(forge, runner)
    forge.open_renewal(job)

    forge.clock.advance(5 * HOUR_SECONDS)
    forge.sweep()

    assert forge.get_job("acme/widgets", job.id).status is JobStatus.IN_PROGRESS
    assert forge.is_online(forge.runners[runner.id])


def test_second_session_is_a_conflict_until_the_first_lapses(forge: Forge) -> None:
    runner = jit(forge)
    hold(forge, runner)
    with pytest.raises(RefusedError) as refused:
        hold(forge, runner)
    assert status_of(refused) == 409

    forge.clock.advance(100)

    assert hold(forge, runner).runner_id == runner.id


def test_jit_config_whose_listener_said_good_bye_is_spent(forge: Forge) -> None:
    runner = jit(forge)
    session = hold(forge, runner)
    forge.delete_session(runner, session.id)

    with pytest.raises(RefusedError) as refused:
        hold(forge, forge.runners[runner.id])

    assert refused.value.kind == "RunnerNotFound"


@pytest.mark.parametrize(("ephemeral", "days"), [(True, 1), (False, 14)])
def test_runner_long_offline_is_dropped(
    forge: Forge,
    ephemeral: bool,  # noqa: FBT001  (a parameter of the test, not a switch)
    days: int,
) -> None:
    token = forge.create_runner_token(REPOSITORY, Purpose.REGISTER).token
    forge.register_runner(
        token,
        "kept",
        group_id=1,
        labels=["gpu"],
        key="secret",
        version="2.336.0",
        is_ephemeral=ephemeral,
    )
    forge.clock.advance(days * DAY_SECONDS - 1)
    assert forge.find_runner(REPOSITORY, "kept") is not None

    forge.clock.advance(1)

    assert forge.find_runner(REPOSITORY, "kept") is None


def test_version_past_its_end_gets_no_session(forge: Forge) -> None:
    end_at = START + timedelta(days=1)
    forge.set_deprecation(Deprecation("2.336.0", runtime_deprecates_at=end_at))
    runner = jit(forge)
    forge.clock.advance(DAY_SECONDS - 1)
    hold(forge, runner)
    forge.sessions.clear()

    forge.clock.advance(1)

    with pytest.raises(RefusedError) as refused:
        hold(forge, runner)
    assert refused.value.kind == "RunnerVersionTooOld"


def test_cancelled_run_ends_queued_jobs_at_once_and_asks_running_ones(
    forge: Forge,
) -> None:
    runner = jit(forge)
    waiting, running = queue(forge, "tpu"), queue(forge)
    start(forge, runner)

    for job in (waiting, running):
        forge.cancel_run(forge.runs[job.run_id], force=False)

    assert forge.jobs[waiting.id].conclusion is Conclusion.CANCELLED
    assert forge.jobs[running.id].status is JobStatus.IN_PROGRESS
    assert forge.jobs[running.id].is_cancel_requested


def test_rerun_queues_the_job_again_as_the_next_attempt(forge: Forge) -> None:
    runner = jit(forge)
    queue(forge)
    job = start(forge, runner)
    forge.complete_job(job, Conclusion.FAILURE)
    run = forge.runs[job.run_id]

    forge.rerun(run, [forge.jobs[job.id]])

    again = forge.list_jobs(forge.runs[run.id], attempt=2)
    assert [(x.name, x.status) for x in again] == [("train", JobStatus.QUEUED)]
    assert [event.action for event in forge.events] == [
        "queued",
        "in_progress",
        "completed",
        "queued",
    ]
