"""Jobs, runs and deliveries at GitHub, against the simulator and scripted trouble."""

import re
from typing import Any

import pytest

from runner_installer import GitHub, parse_scope
from runpod_client import (
    AuthenticationError,
    ConfigError,
    NotFoundError,
    TransportError,
    UnavailableError,
)
from support.forge import REPOSITORY, ServedForge
from support.github_script import Script, scripted
from support.waiting import wait_for

SCOPE = parse_scope(REPOSITORY)


def page_of(path: str) -> int:
    found = re.search(r"[?&]page=(\d+)", path)
    assert found is not None
    return int(found[1])


def test_queued_jobs_are_those_that_wait_for_a_runner(
    forge: ServedForge, github: GitHub
) -> None:
    waiting = forge.queue("true", labels=("gpu", "a4000"))
    cancelled = forge.queue("true")
    github.cancel_run(REPOSITORY, github.get_job(REPOSITORY, cancelled).run_id)

    (job,) = github.list_queued_jobs(SCOPE)

    assert (job.job_id, job.status, job.conclusion) == (waiting, "queued", "")
    assert (job.repository, job.name) == (REPOSITORY, "train")
    assert job.labels == ("gpu", "a4000")
    assert (job.runner_id, job.runner_name, job.run_attempt) == (None, "", 1)
    assert job.created_at is not None
    assert job.created_at.tzinfo is not None
    assert job == github.get_job(SCOPE, waiting)


def test_job_that_waits_in_a_run_in_progress_is_found(github: GitHub) -> None:
    del github
    run = {"id": 7, "status": "in_progress", "run_attempt": 2}
    job = {"id": 8, "run_id": 7, "name": "late", "labels": ["gpu"], "run_attempt": 2}
    script = Script(
        (200, {}, {"total_count": 0, "workflow_runs": []}),
        (200, {}, {"total_count": 1, "workflow_runs": [run]}),
        (
            200,
            {},
            {
                "total_count": 2,
                "jobs": [
                    {**job, "status": "queued"},
                    {**job, "id": 9, "status": "waiting"},
                ],
            },
        ),
    )

    with scripted(script) as scripted_github:
        jobs = scripted_github.list_queued_jobs("acme/widgets")

    assert [(x.job_id, x.run_attempt) for x in jobs] == [(8, 2)]


def test_no_queued_job_costs_two_calls(github: GitHub) -> None:
    assert github.list_queued_jobs(SCOPE) == ()
    assert github.quota.calls == 2


def test_run_is_cancelled_once(forge: ServedForge, github: GitHub) -> None:
    run_id = github.get_job(SCOPE, forge.queue("true")).run_id

    assert github.cancel_run(SCOPE, run_id) is True
    assert github.cancel_run(SCOPE, run_id) is False
    run = github.get_run(SCOPE, run_id)
    assert (run.status, run.conclusion) == ("completed", "cancelled")


@pytest.mark.parametrize("whole", [True, False])
def test_what_failed_runs_again_as_the_next_attempt(
    forge: ServedForge, github: GitHub, *, whole: bool
) -> None:
    job = github.get_job(SCOPE, forge.queue("true"))
    github.cancel_run(SCOPE, job.run_id, force=True)

    if whole:
        github.rerun_failed_jobs(SCOPE, job.run_id)
    else:
        github.rerun_job(SCOPE, job.job_id)

    assert github.get_run(SCOPE, job.run_id).run_attempt == 2
    (again,) = github.list_jobs(SCOPE, job.run_id)
    assert (again.run_attempt, again.status) == (2, "queued")
    assert len(github.list_jobs(SCOPE, job.run_id, every_attempt=True)) == 2


def test_run_that_is_not_over_cannot_run_again(
    forge: ServedForge, github: GitHub
) -> None:
    job_id = forge.queue("true")

    with pytest.raises(AuthenticationError, match="cannot be rerun"):
        github.rerun_job(SCOPE, job_id)


def test_lost_answer_to_a_rerun_is_told_and_not_repeated(
    forge: ServedForge, github: GitHub
) -> None:
    job = github.get_job(SCOPE, forge.queue("true"))
    github.cancel_run(SCOPE, job.run_id, force=True)
    forge.order("/faults", {"operation": "rerun_failed", "kind": "lost_answer"})

    with pytest.raises(TransportError):
        github.rerun_failed_jobs(SCOPE, job.run_id)

    assert github.get_run(SCOPE, job.run_id).run_attempt == 2


def test_failing_rerun_is_sent_once() -> None:
    script = Script((502, {}, {}))

    with scripted(script) as github, pytest.raises(UnavailableError):
        github.rerun_job(SCOPE, 5)

    assert len(script.requests) == 1


def test_job_of_another_repository_is_not_found(
    forge: ServedForge, github: GitHub
) -> None:
    job_id = forge.queue("true")

    with pytest.raises(NotFoundError):
        github.get_job("acme/other", job_id)


def test_organization_has_no_jobs_of_its_own(github: GitHub) -> None:
    with pytest.raises(ConfigError, match="acme is no repository"):
        github.list_queued_jobs("acme")


def test_list_that_changed_while_it_was_read_is_read_again() -> None:
    def runner(number: int) -> dict[str, Any]:
        return {"id": number, "name": f"r{number}", "status": "online", "busy": False}

    def page(total: int, *numbers: int) -> tuple[int, dict[str, str], Any]:
        body = {"total_count": total, "runners": [runner(x) for x in numbers]}
        return 200, {}, body

    # between the two pages runner 1 goes, and runner 101 slips to the first page
    script = Script(page(101, *range(1, 101)), page(100), page(100, *range(2, 102)))

    with scripted(script) as github:
        listed = github.list_runners(SCOPE)

    assert [r.runner_id for r in listed] == list(range(2, 102))
    assert [page_of(path) for _, path, _, _ in script.requests] == [1, 2, 1]


def test_list_that_never_holds_still_is_read_a_bounded_number_of_times() -> None:
    script = Script(
        *((200, {}, {"total_count": n + 5, "runners": []}) for n in range(9))
    )

    with scripted(script) as github:
        assert github.list_runners(SCOPE) == []

    assert len(script.requests) == 3


def test_thousand_runners_are_listed_in_ten_pages(
    forge: ServedForge, github: GitHub
) -> None:
    for number in range(1000):
        forge.forge.create_jit_runner(
            forge_scope(), f"runner-{number}", group_id=1, labels=["gpu"]
        )

    listed = github.list_runners(SCOPE)

    assert len({r.runner_id for r in listed}) == 1000
    assert github.quota.calls == 10


def forge_scope() -> Any:
    from runpod_sim.forge_model import Scope, ScopeKind  # noqa: PLC0415

    return Scope(ScopeKind.REPOSITORY, REPOSITORY)


def test_lost_deliveries_are_found_and_sent_again(
    forge: ServedForge, github: GitHub
) -> None:
    with scripted(Script(*[(204, {}, b"")] * 9)) as receiver:
        body = {"scope": REPOSITORY, "url": receiver.api_url, "secret": "s", "lost": 1}
        hook_id = forge.order("/hooks", body)["id"]
        forge.queue("true")
        forge.queue("true")

        wait_for(
            lambda: len(github.list_deliveries(SCOPE, hook_id)) == 2,
            what="two deliveries",
        )
        deliveries = github.list_deliveries(SCOPE, hook_id)
        lost = [x for x in deliveries if not x.has_arrived]
        github.redeliver(SCOPE, hook_id, lost[0].delivery_id)

        def again() -> bool:
            newest = github.list_deliveries(SCOPE, hook_id)[0]
            return newest.guid == lost[0].guid and newest.is_redelivery

        wait_for(again, what="the lost one is sent again")

    assert len(lost) == 1
    assert (lost[0].event, lost[0].action) == ("workflow_job", "queued")


def test_deliveries_are_read_page_by_page_and_no_further_than_asked() -> None:
    def item(number: int) -> dict[str, Any]:
        return {
            "id": number,
            "guid": f"g{number}",
            "event": "workflow_job",
            "action": "queued",
            "status_code": 200,
            "delivered_at": f"2026-03-01T00:00:{number:02d}Z",
            "redelivery": False,
        }

    link = '<https://api.github.com/x?per_page=100&cursor=v1_7>; rel="next"'
    script = Script((200, {"link": link}, [item(9)]), (200, {}, [item(8), item(7)]))

    with scripted(script) as github:
        newest = github.list_deliveries(SCOPE, 1)
        since = newest[1].delivered_at

    assert [x.delivery_id for x in newest] == [9, 8, 7]
    assert "cursor=v1_7" in script.requests[1][1]
    with scripted(Script((200, {"link": link}, [item(9), item(7)]))) as github:
        late = github.list_deliveries(SCOPE, 1, since=since)
    assert [x.delivery_id for x in late] == [9]
