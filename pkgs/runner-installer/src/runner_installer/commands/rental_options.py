"""The options of `up` that say how many pods and runners, and of which run.

Which pods, and for how much, is said as everywhere: `runpod_client.pod_options`.
"""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

REPO_HELP = "Where the runners register: owner/name, or owner for an organization."
RUN_HELP = (
    "The workflow run, owner/name/RUN_ID/ATTEMPT. In a workflow it is found by itself."
)


_RUNNERS = (
    click.option("--run", metavar="RUN", help=RUN_HELP),
    click.option(
        "--name",
        default="gpu",
        show_default=True,
        help="Name of these pods within the run; other names are other pods.",
    ),
    click.option("--repo", help=f"{REPO_HELP} Default: the run's repository."),
    click.option(
        "--count",
        "pod_count",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Pods.",
    ),
    click.option(
        "--runners-per-pod",
        type=click.IntRange(0, 16),
        default=1,
        show_default=True,
        help="Runners on each pod, for one job each; 0 only rents the pods.",
    ),
    click.option(
        "--labels",
        default="",
        help="Further labels of the runners. Jobs of other runs that ask for them "
        "may get these runners.",
    ),
    click.option("--prefix", default="runpod", show_default=True, help="Of names."),
    click.option("--group-id", default=1, show_default=True, help="Runner group."),
    click.option(
        "--spot",
        is_flag=True,
        help="Rent spot pods, which can be taken away; on demand where none is free or "
        "one is lost before it is ready. --bid says how to bid, and implies it.",
    ),
    click.option(
        "--all-or-nothing/--keep-partial",
        "is_all_or_nothing",
        default=True,
        show_default=True,
        help="Where a pod cannot be had: give all back, or work with the others.",
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(min=10),
        default=900.0,
        show_default=True,
        metavar="SECONDS",
        help="For everything; what is not ready by then is given back.",
    ),
    click.option("--yes", is_flag=True, help="Agree to the price; for workflows."),
)


def runner_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that say how many, and which runners."""
    for option in reversed(_RUNNERS):
        function = option(function)
    return function
