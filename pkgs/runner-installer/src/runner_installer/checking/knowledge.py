"""What a workflow is compared with: everything that does not stand in its file.

Each part may be unknown; then what would need it is left unjudged. Pure values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of `up` or `down`.

    Attributes:
        is_flag: It stands alone, as `--yes`.
        find_fault: Says what is wrong with a value; None where nothing is.
    """

    is_flag: bool = False
    find_fault: Callable[[str], str | None] = lambda _value: None


@dataclass(frozen=True, kw_only=True)
class Action:
    """One of our actions or reusable workflows.

    Attributes:
        inputs: Every input's name, and whether it must be given.
        outputs: What steps after it can read.
        secrets: What a caller must hand over; of reusable workflows only.
    """

    inputs: Mapping[str, bool]
    outputs: frozenset[str] = frozenset()
    secrets: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GPU:
    """A GPU type that can be rented.

    Attributes:
        names: Its id and the name it is shown by.
        max_count: Per pod; None where RunPod does not tell.
        usd_per_hour: The lowest price of one; None where it is not to be had.
    """

    names: tuple[str, ...]
    memory_gb: int
    max_count: int | None
    usd_per_hour: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Template:
    """A pod template of the configuration.

    Attributes:
        find_fault: Says what is wrong with parameters; None where nothing is.
    """

    find_fault: Callable[[Mapping[str, str]], str | None]


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What is known beside the file; None where it is not.

    Attributes:
        options: By command, `up` and `down`, and by name without dashes.
        actions: By the last part of their path: `gpu-runner-up`, `gpu-job.yml`.
        pool_labels: For each pool that `serve` keeps, the labels of its runners.
        secrets: The names of the repository's secrets.
        gpus: What RunPod rents.
        templates: Those of the configuration, by name.
    """

    options: Mapping[str, Mapping[str, Option]]
    actions: Mapping[str, Action]
    pool_labels: Mapping[str, frozenset[str]] | None = None
    secrets: frozenset[str] | None = None
    gpus: tuple[GPU, ...] | None = None
    templates: Mapping[str, Template] | None = None
