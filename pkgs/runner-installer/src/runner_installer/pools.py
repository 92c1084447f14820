"""Pools of runners as a TOML file describes them: read, checked, frozen.

    max_usd_per_day = 40                # over all pools; also max_usd_per_hour

    [pools.gpu]
    repo = "acme/widgets"               # or an organization, or enterprises/NAME
    labels = ["self-hosted", "linux", "x64", "gpu"]
    gpu = ["RTX 4090", "L40S"]          # or: template = "train"
    max_price = 0.80                    # per pod and hour
    bid = "floor+10%"                   # spot, on demand where spot is gone
    min = 0                             # runners ready beyond the jobs
    max = 8
    warm = 2                            # stopped pods kept to be resumed first
    runners_per_pod = 2
    balance = "pack"                    # or "spread"
    idle_minutes = 10
    boot_deadline_minutes = 20
    rerun_on_spot_loss = true
    max_usd_per_hour = 4
    max_usd_per_day = 25
    steps = [
      { name = "dataset", phase = "after_install", command = "fetch-data" },
    ]

It must not know GitHub's or RunPod's wire, and rents nothing.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from runner_installer.balance import Balance
from runner_installer.model import DEFAULT_LABELS, Scope, parse_labels, parse_scope
from runner_installer.pod_model import FailurePolicy, StepPhase, StepSpec
from runner_installer.pool_keys import Keys
from runpod_client import CloudType, ConfigError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,17}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
DEFAULT_FILE = "runners.toml"


@dataclass(frozen=True, kw_only=True)
class PodWish:
    """What pods a pool rents: a template by name, or what a machine must have.

    Attributes:
        template: A pod template of the configuration files; empty for none. What else
            is given here lies over it.
        bid: A bid strategy; empty rents on demand.
    """

    template: str = ""
    gpu_types: tuple[str, ...] = ()
    gpu_count: int = 1
    min_memory_gb: int = 0
    cloud_type: CloudType = CloudType.ANY
    data_center_ids: tuple[str, ...] = ()
    max_price_usd_per_hour: Decimal | None = None
    bid: str = ""
    image: str = ""
    disk_gb: int = 40
    volume_gb: int = 0
    network_volume_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What may be spent; None for no limit of one's own."""

    usd_per_hour: Decimal | None = None
    usd_per_day: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Runners of one kind, and within what limits there may be how many.

    Attributes:
        repositories: Where an organization's queued jobs are looked for; those that
            webhooks tell of are added while running.
        group: The runner group by name; empty for the default one.
        scale_set: The runner scale set whose message queue tells of demand; empty for
            none.
        least: Runners kept ready beyond the jobs there are.
        most: Runners at one time, those on jobs included.
        warm: Stopped pods kept.
        idle: How long a pod may have nothing to do before it is given back.
        boot_deadline: From renting to the first runner online.
        lease: How long a pod may outlive this program; renewed while it is needed.
        settle: How long a job is queued before a pod is rented for it.
    """

    name: str
    scope: Scope
    labels: tuple[str, ...] = DEFAULT_LABELS
    repositories: tuple[str, ...] = ()
    group: str = ""
    scale_set: str = ""
    wish: PodWish = dataclasses.field(default_factory=PodWish)
    least: int = 0
    most: int = 1
    warm: int = 0
    runners_per_pod: int = 1
    balance: Balance = Balance.PACK
    idle: timedelta = timedelta(minutes=10)
    boot_deadline: timedelta = timedelta(minutes=20)
    lease: timedelta = timedelta(hours=2)
    settle: timedelta = timedelta()
    rerun_on_spot_loss: bool = False
    caps: Caps = dataclasses.field(default_factory=Caps)
    steps: tuple[StepSpec, ...] = ()

    @property
    def prefix(self) -> str:
        """Return the start of its runners' names, which no other tool gives."""
        return f"serve-{self.name}"

    def serves(self, repository: str, labels: tuple[str, ...]) -> bool:
        """Tell whether its runners may take a job with these labels."""
        if not covers(self.scope, repository):
            return False
        own = {label.casefold() for label in self.labels}
        return bool(labels) and all(label.casefold() in own for label in labels)


@dataclass(frozen=True, kw_only=True)
class PoolFile:
    """All pools of a file and the limits that hold for them together."""

    path: Path
    pools: tuple[Pool, ...]
    caps: Caps

    def find(self, name: str) -> Pool | None:
        """Return the pool of that name, None where there is none."""
        return next((pool for pool in self.pools if pool.name == name), None)


def covers(scope: Scope, repository: str) -> bool:
    """Tell whether runners of a scope get jobs of a repository (`owner/name`)."""
    asked, mine = repository.casefold(), str(scope).casefold()
    if "/" in mine:
        return asked == mine or mine.startswith("enterprises/")
    return asked.partition("/")[0] == mine


def read_pools(path: Path) -> PoolFile:
    """Read a file of pools.

    Raises:
        ConfigError: It is unreadable, a key is unknown, a value of no use.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file of pools {path}",
            source=str(path),
            hint="Write one with a table [pools.NAME], or name it with --pools.",
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", source=str(path)) from error
    return parse_pools(document, path=path)


def parse_pools(document: Mapping[str, Any], *, path: Path) -> PoolFile:
    """Give a TOML document its meaning.

    Raises:
        ConfigError: A key is unknown, a value of no use, or there is no pool.
    """
    top = Keys(document, place=f"at the top of {path}", source=str(path))
    caps = _parse_caps(top)
    tables = top.take("pools", {}, dict)
    top.refuse_rest()
    if not tables:
        raise ConfigError(
            f"{path} describes no pool",
            source=str(path),
            hint='Write at least: [pools.gpu] with repo = "owner/name" and '
            'gpu = ["RTX 4090"].',
        )
    pools = tuple(_parse_pool(name, entry, path) for name, entry in tables.items())
    return PoolFile(path=path, pools=pools, caps=caps)


def _parse_caps(keys: Keys) -> Caps:
    return Caps(
        usd_per_hour=keys.money("max_usd_per_hour"),
        usd_per_day=keys.money("max_usd_per_day"),
    )


def _parse_pool(name: str, entry: Any, path: Path) -> Pool:
    place = f"in [pools.{name}] of {path}"
    if not isinstance(entry, dict):
        raise ConfigError(f"[pools.{name}] in {path} must be a table", source=str(path))
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a pool ({path})",
            setting="pools",
            source=str(path),
            hint="Use up to 18 small letters, digits and dashes, a letter first.",
        )
    keys = Keys(entry, place=place, source=str(path))
    repo = keys.take("repo", "", str)
    if not repo:
        raise ConfigError(
            f"repo is missing {place}",
            setting="repo",
            source=str(path),
            hint='Write repo = "owner/name", or an organization: repo = "owner".',
        )
    scale_set = keys.take("scale_set", "", str)
    # a scale set's runners have its name for a label, and no other
    usual = (scale_set,) if scale_set else DEFAULT_LABELS
    pool = Pool(
        name=name,
        scope=parse_scope(repo),
        labels=parse_labels(",".join(keys.texts("labels", usual))),
        repositories=_parse_repositories(keys),
        group=keys.take("group", "", str),
        scale_set=scale_set,
        wish=_parse_wish(keys),
        least=keys.count("min", 0),
        most=keys.count("max", 1, least=1),
        warm=keys.count("warm", 0),
        runners_per_pod=keys.count("runners_per_pod", 1, least=1),
        balance=_parse_choice(keys, "balance", Balance, Balance.PACK),
        idle=keys.minutes("idle_minutes", Pool.idle),
        boot_deadline=keys.minutes(
            "boot_deadline_minutes", Pool.boot_deadline, least=0.1
        ),
        lease=keys.minutes("lease_minutes", Pool.lease, least=15),
        settle=keys.minutes("settle_minutes", Pool.settle),
        rerun_on_spot_loss=keys.take("rerun_on_spot_loss", False, bool),
        caps=_parse_caps(keys),
        steps=_parse_steps(keys, place, str(path)),
    )
    keys.refuse_rest()
    _check(pool, place, str(path))
    return pool


def _parse_wish(keys: Keys) -> PodWish:
    return PodWish(
        template=keys.take("template", "", str),
        gpu_types=keys.texts("gpu"),
        gpu_count=keys.count("gpu_count", 1, least=1),
        min_memory_gb=keys.count("min_memory_gb", 0),
        cloud_type=_parse_choice(keys, "cloud", CloudType, CloudType.ANY),
        data_center_ids=keys.texts("data_centers"),
        max_price_usd_per_hour=keys.money("max_price"),
        bid=keys.take("bid", "", str),
        image=keys.take("image", "", str),
        disk_gb=keys.take("disk_gb", PodWish.disk_gb, int),
        volume_gb=keys.take("volume_gb", 0, int),
        network_volume_id=keys.take("network_volume", "", str),
    )


def _parse_choice(keys: Keys, key: str, kind: Any, default: Any) -> Any:
    value = keys.take(key, str(default), str)
    if value not in list(kind):
        raise keys.refuse(key, value, f"one of {', '.join(kind)}")
    return kind(value)


def _parse_repositories(keys: Keys) -> tuple[str, ...]:
    names = keys.texts("repositories")
    for name in names:
        if not _REPOSITORY.fullmatch(name):
            raise keys.refuse("repositories", name, "an owner/name")
    return names


def _parse_steps(keys: Keys, place: str, source: str) -> tuple[StepSpec, ...]:
    steps = []
    for number, row in enumerate(keys.take("steps", [], list), start=1):
        if not isinstance(row, dict):
            raise keys.refuse("steps", row, "a table")
        own = Keys(row, place=f"in step {number} {place}", source=source)
        phase = _parse_choice(own, "phase", StepPhase, StepPhase.AFTER_INSTALL)
        policy = _parse_choice(own, "on_failure", FailurePolicy, FailurePolicy.FAIL)
        steps.append(
            StepSpec(
                name=own.take("name", f"step-{number}", str),
                phase=phase,
                command=own.take("command", "", str),
                timeout_seconds=own.take("timeout_seconds", 300, int),
                on_failure=policy,
            )
        )
        own.refuse_rest()
    return tuple(steps)


def _check(pool: Pool, place: str, source: str) -> None:
    """Refuse what contradicts itself.

    Raises:
        ConfigError: Says what.
    """
    wish = pool.wish
    if pool.least > pool.most:
        raise ConfigError(
            f"min = {pool.least} is above max = {pool.most} {place}",
            setting="min",
            source=source,
        )
    if not (wish.template or wish.gpu_types or wish.min_memory_gb):
        raise ConfigError(
            f"it is not said which GPUs would do {place}",
            setting="gpu",
            source=source,
            hint='Write gpu = ["RTX 4090"], min_memory_gb = 24 or template = "NAME".',
        )
    if pool.rerun_on_spot_loss and not (wish.bid or wish.template):
        raise ConfigError(
            f"rerun_on_spot_loss {place} needs spot pods",
            setting="rerun_on_spot_loss",
            source=source,
            hint='Add bid = "floor+10%", or leave it out.',
        )
