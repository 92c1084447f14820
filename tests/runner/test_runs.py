"""The marks of a workflow run: written by `up`, found by `down` on another machine."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_installer.model import RunnerRecord, Scope
from runner_installer.runs import (
    NAME,
    RUN,
    SCOPE,
    Run,
    check_name,
    find_pod_id,
    find_run,
    find_run_pods,
    find_run_runners,
    get_run,
    parse_pod,
    parse_run,
    render_label,
    render_marks,
    render_pod_name,
)
from runpod_client import ConfigError, Pod, PodStatus

RUN_1 = Run(repository="acme/widgets", run_id=4711, attempt=1)
SCOPE_1 = Scope(owner="acme", repository="widgets")
RUNS = st.builds(
    Run,
    repository=st.from_regex(
        r"[A-Za-z0-9._-]{1,20}/[A-Za-z0-9._-]{1,20}", fullmatch=True
    ),
    run_id=st.integers(0, 10**15 - 1),
    attempt=st.none() | st.integers(1, 99_999),
)


def make_pod(
    slot: int = 1, run: Run = RUN_1, name: str = "gpu", **changes: object
) -> Pod:
    pod = Pod(
        pod_id=f"pod{slot}",
        name=render_pod_name(name, run, slot),
        status=PodStatus.RUNNING,
        gpu_type="L4",
        gpu_count=1,
        image="x",
        price_usd_per_hour=Decimal("0.4"),
        env=render_marks(run, name, SCOPE_1),
        owner="acme/widgets",
    )
    return replace(pod, **changes)  # type: ignore[arg-type]  # a test's shorthand


def make_record(name: str, *labels: str) -> RunnerRecord:
    return RunnerRecord(
        runner_id=1, name=name, is_online=False, is_busy=False, labels=labels
    )


@given(RUNS)
def test_run_reads_back_from_its_text(run: Run) -> None:
    assert parse_run(str(run)) == run


@pytest.mark.parametrize(
    "text", ["", "a/b", "a/b/c", "a/b/1/0", "a/b/1/x", "a/b/1/1/1", "a b/c/1", "a/b/-1"]
)
def test_text_that_names_no_run_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no workflow run"):
        parse_run(text)


def test_run_of_a_step_is_found_in_its_variables() -> None:
    environ = {
        "GITHUB_REPOSITORY": "acme/widgets",
        "GITHUB_RUN_ID": "4711",
        "GITHUB_RUN_ATTEMPT": "2",
    }

    assert find_run(environ) == replace(RUN_1, attempt=2)
    assert find_run({}) is None
    assert get_run("acme/widgets/9", environ).run_id == 9


def test_outside_of_a_workflow_the_run_must_be_said() -> None:
    with pytest.raises(ConfigError, match="for which run") as caught:
        get_run(None, {})

    assert "--run owner/name/RUN_ID/ATTEMPT" in caught.value.hint


def test_run_without_an_attempt_covers_all_of_its_attempts_and_no_other_run() -> None:
    every = replace(RUN_1, attempt=None)

    assert every.covers(RUN_1)
    assert every.covers(replace(RUN_1, attempt=7, repository="Acme/Widgets"))
    assert not RUN_1.covers(replace(RUN_1, attempt=2))
    assert not every.covers(replace(RUN_1, run_id=4712))
    assert not every.covers(replace(RUN_1, repository="acme/gadgets"))


@given(
    st.from_regex(r"[a-z]([a-z0-9-]{0,7}[a-z0-9])?", fullmatch=True),
    st.integers(0, 10**12 - 1),
    st.integers(1, 99),
    st.integers(1, 64),
)
def test_pod_name_fits_and_tells_its_slot(
    name: str, run_id: int, attempt: int, slot: int
) -> None:
    run = Run(repository="o/n", run_id=run_id, attempt=attempt)

    pod = make_pod(slot, run, check_name(name))

    assert len(pod.name) <= 31
    found = parse_pod(pod)
    assert found is not None
    assert (found.run, found.name, found.slot, found.scope) == (
        run,
        name,
        slot,
        SCOPE_1,
    )


@pytest.mark.parametrize("name", ["", "GPU", "9", "a" * 10, "a_b", "a-", "a b", "-a"])
def test_name_that_fits_into_no_pod_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name the pods"):
        check_name(name)


def test_pods_of_a_run_are_found_stopped_ones_too_and_gone_ones_not() -> None:
    pods = [
        make_pod(2, status=PodStatus.STOPPED),
        make_pod(1),
        make_pod(3, status=PodStatus.TERMINATED),
        make_pod(4, replace(RUN_1, attempt=2)),
        make_pod(5, replace(RUN_1, run_id=4712)),
        make_pod(6, name="big"),
        make_pod(7, env={}),
        make_pod(8, owner=None),
        make_pod(9, env={RUN: "nonsense"}),
    ]

    ours = find_run_pods(pods, RUN_1)
    every = find_run_pods(pods, replace(RUN_1, attempt=None), "gpu")

    assert [each.pod.pod_id for each in ours] == ["pod1", "pod2", "pod6"]
    assert [each.is_usable for each in ours] == [True, False, True]
    assert [each.pod.pod_id for each in every] == ["pod1", "pod2", "pod4"]


def test_renamed_pod_is_still_its_runs_but_has_no_slot() -> None:
    found = parse_pod(make_pod(name="gpu", run=RUN_1, slot=3))
    renamed = parse_pod(replace(make_pod(3), name="my favourite"))

    assert found is not None
    assert found.slot == 3
    assert renamed is not None
    assert (renamed.slot, renamed.run) == (0, RUN_1)


def test_marks_are_what_the_documentation_says() -> None:
    assert render_marks(RUN_1, "gpu", SCOPE_1) == {
        RUN: "acme/widgets/4711/1",
        NAME: "gpu",
        SCOPE: "acme/widgets",
    }
    assert render_marks(RUN_1, "gpu", None) == {RUN: "acme/widgets/4711/1", NAME: "gpu"}


def test_runners_are_found_by_their_runs_label_without_a_pod() -> None:
    label = render_label("gpu", RUN_1)
    records = [
        make_record("a", "gpu", label),
        make_record("b", "gpu", render_label("big", RUN_1)),
        make_record("c", "gpu", render_label("gpu", replace(RUN_1, attempt=2))),
        make_record("d", "gpu", render_label("gpu", replace(RUN_1, run_id=47))),
        make_record("e", "gpu"),
    ]

    def names(run: Run, name: str | None = None) -> list[str]:
        return [record.name for record in find_run_runners(records, run, name)]

    assert names(RUN_1) == ["a", "b"]
    assert names(RUN_1, "gpu") == ["a"]
    assert names(replace(RUN_1, attempt=None), "gpu") == ["a", "c"]


def test_runner_name_tells_its_pod_only_under_our_prefix() -> None:
    assert find_pod_id("runpod-abc123def-0a1b2c", "runpod") == "abc123def"
    assert find_pod_id("runpod-abc123def-0a1b2c", "other") is None
    assert find_pod_id("runpod-my-machine", "runpod") is None
    assert find_pod_id("my-runpod-abc123def-0a1b2c", "runpod") is None
