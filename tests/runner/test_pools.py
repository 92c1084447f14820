"""A file of pools is read strictly: what is not understood is refused by name."""

import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner_installer.balance import Balance
from runner_installer.pod_model import FailurePolicy, StepPhase, StepSpec
from runner_installer.pools import Caps, PoolFile, parse_pools, read_pools
from runpod_client import ConfigError

PLAIN = """
[pools.gpu]
repo = "acme/widgets"
gpu = ["RTX 4090"]
"""


def parse(text: str) -> PoolFile:
    return parse_pools(tomllib.loads(text), path=Path("runners.toml"))


def with_keys(*lines: str) -> str:
    return PLAIN + "\n".join(lines) + "\n"


def test_pool_has_defaults_for_all_but_where_it_serves_and_on_what() -> None:
    file = parse(PLAIN)

    (pool,) = file.pools
    assert str(pool.scope) == "acme/widgets"
    assert pool.wish.gpu_types == ("RTX 4090",)
    assert (pool.least, pool.most, pool.warm, pool.runners_per_pod) == (0, 1, 0, 1)
    assert pool.idle == timedelta(minutes=10)
    assert pool.boot_deadline == timedelta(minutes=20)
    assert (pool.caps, file.caps) == (Caps(), Caps())


def test_every_key_reaches_the_pool() -> None:
    file = parse(
        "max_usd_per_day = 40\n"
        + with_keys(
            'labels = ["gpu", "big"]',
            'group = "gpus"',
            "gpu_count = 2",
            "max_price = 0.8",
            'bid = "floor+10%"',
            "min = 1",
            "max = 8",
            "warm = 2",
            "idle_minutes = 2.5",
            "boot_deadline_minutes = 15",
            "runners_per_pod = 4",
            'balance = "spread"',
            "rerun_on_spot_loss = true",
            "max_usd_per_hour = 4",
            'steps = [{ name = "data", phase = "before_job", command = "get", '
            'timeout_seconds = 9, on_failure = "keep_pod" }]',
        )
    )

    (pool,) = file.pools
    assert file.caps.usd_per_day == Decimal(40)
    assert pool.labels == ("gpu", "big")
    assert pool.group == "gpus"
    assert pool.wish.gpu_count == 2
    assert pool.wish.max_price_usd_per_hour == Decimal("0.8")
    assert pool.wish.bid == "floor+10%"
    assert (pool.least, pool.most, pool.warm, pool.runners_per_pod) == (1, 8, 2, 4)
    assert pool.idle == timedelta(seconds=150)
    assert pool.boot_deadline == timedelta(minutes=15)
    assert pool.balance is Balance.SPREAD
    assert pool.rerun_on_spot_loss
    assert pool.caps == Caps(usd_per_hour=Decimal(4))
    assert pool.steps == (
        StepSpec(
            name="data",
            phase=StepPhase.BEFORE_JOB,
            command="get",
            timeout_seconds=9,
            on_failure=FailurePolicy.KEEP_POD,
        ),
    )


def test_unknown_key_is_refused_with_file_key_and_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(with_keys("idle_minuts = 3"))

    assert "'idle_minuts'" in refused.value.message
    assert "[pools.gpu]" in refused.value.message
    assert "runners.toml" in refused.value.message
    assert "'idle_minutes'" in refused.value.hint


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('balance = "packed"', "pack, spread"),
        ("max = 0", "1 to 1000"),
        ('max = "3"', "a int"),
        ("max = true", "a int"),
        ("max_price = -1", "above 0"),
        ("min = 2", "above max"),
        ("rerun_on_spot_loss = true", "spot"),
        ('repositories = ["widgets"]', "owner/name"),
        ('steps = [{ command = "x", phase = "later" }]', "before_install"),
        ('steps = [{ command = "x", when = "now" }]', "'when'"),
        ('steps = [{ name = "x" }]', "no command"),
        ("boot_deadline_minutes = 0", "minutes from"),
    ],
)
def test_value_of_no_use_is_refused(line: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(with_keys(line))

    assert named in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "describes no pool"),
        ('[pools.gpu]\ngpu = ["L4"]', "repo is missing"),
        ('[pools.gpu]\nrepo = "a/b"', "which GPUs"),
        ('[pools."GPU pool"]\nrepo = "a/b"\ngpu = "L4"', "cannot name a pool"),
        ('pools = { gpu = "x" }', "must be a table"),
        ("max_usd = 3", "max_usd_per"),
    ],
)
def test_file_without_a_sound_pool_is_refused(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)

    assert named in f"{refused.value.message} {refused.value.hint}"


def test_missing_and_broken_files_are_told_apart(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[pools")

    with pytest.raises(ConfigError, match="there is no file"):
        read_pools(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_pools(broken)


@pytest.mark.parametrize(
    ("repo", "repository", "labels", "expected"),
    [
        ("acme/widgets", "Acme/Widgets", ("GPU",), True),
        ("acme/widgets", "acme/other", ("gpu",), False),
        ("acme", "acme/other", ("gpu",), True),
        ("acme", "acmeco/other", ("gpu",), False),
        ("enterprises/acme", "any/thing", ("gpu",), True),
        ("acme/widgets", "acme/widgets", ("gpu", "arm64"), False),
        ("acme/widgets", "acme/widgets", (), False),
    ],
)
def test_pool_serves_jobs_whose_labels_are_all_its_own_where_it_is_registered(
    repo: str, repository: str, labels: tuple[str, ...], *, expected: bool
) -> None:
    file = parse(f'[pools.gpu]\nrepo = "{repo}"\nlabels = ["gpu", "linux"]\ngpu = "L4"')

    assert file.pools[0].serves(repository, labels) is expected
