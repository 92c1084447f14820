"""`up`: pods rented for one workflow run, and made runners.

Arguments in, sentences, JSON and a workflow's files out. What it does lives in
`workflow_operations`; the renderings are in `workflow_reports`.
"""

import contextlib
import time
from typing import TYPE_CHECKING, Any

import click

from runner_installer.commands.rental_options import runner_options
from runner_installer.commands.step import open_step
from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console, pod_options

if TYPE_CHECKING:
    from runner_installer.returning import Returned
    from runner_installer.run_wishes import Rented, Wanted
    from runner_installer.workflow_files import WorkflowFiles
    from runpod_client import PodSpec


# a pod that nobody ends lives so long, unless it is said
DEFAULT_LEASE_HOURS = 2
LONGEST_LEASE_DAYS = 7


@click.command()
@runner_options
@pod_options.spec_options
@console.options(codes=EXIT_CODES)
def up(session: console.Session, /, *, yes: bool, **wishes: Any) -> None:
    """Rent pods for a workflow run and make them runners. This costs money.

    The price is shown and asked for first; without a terminal say --yes. Each pod has
    a lease, 2h unless --lease says another, and is marked with the run: `down` ends what is there, also after `up` was
    killed. Repeating `up` rents only what is missing. When it fails or is
    interrupted, what it rented is given back.

    In a workflow it sets the outputs label, labels, runners, pod-ids, matrix and
    price-usd-per-hour, and writes into the job's summary.

    \b
    Examples:
      runner-installer up --gpu "RTX 4090" --lease 1h --yes
      runner-installer up --gpu "RTX A4000" --spot --max-price 0.30 --count 2 --yes
      runner-installer up --run me/app/123/1 --min-memory 24 --json
      runner-installer up --template train --set size=100 --runners-per-pod 2 --yes
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import (  # noqa: PLC0415  # lazy
        workflow_operations,
        workflow_reports,
    )

    started = time.monotonic()
    files, room = open_step(session, needs_github=wishes["runners_per_pod"] > 0)
    wanted = _read_wanted(session, **wishes)
    vain: list[Returned] = []
    waiting = contextlib.ExitStack()

    def agree(plan: Any, count: int) -> None:
        _agree(session, wanted, plan, count, yes=yes)
        waiting.enter_context(session.status(f"waiting for {wanted.label}"))

    try:
        with waiting:
            rented = workflow_operations.up(
                room,
                wanted,
                agree=agree,
                on_given_back=vain.extend,
                say=session.note,
            )
    except BaseException as error:
        spent = time.monotonic() - started
        files.append_summary(
            workflow_reports.render_failed_summary(
                wanted.run, _explain(error), vain, spent
            )
        )
        raise
    _publish(session, files, rented)


def _publish(
    session: console.Session, files: "WorkflowFiles", rented: "Rented"
) -> None:
    """Say what there is now: to the workflow, in its summary, to who asked."""
    from runner_installer import workflow_reports  # noqa: PLC0415  # lazy

    files.write_outputs(workflow_reports.rented_outputs(rented))
    files.append_summary(workflow_reports.render_rented_summary(rented))
    session.emit(
        workflow_reports.rented_document(rented),
        lambda: workflow_reports.rented_sheet(rented),
        names=lambda: [each.pod.name for each in rented.pods],
    )


def _explain(error: BaseException) -> str:
    """Return why nothing came of it; only errors of ours are fit to be published."""
    from runpod_client import Error  # noqa: PLC0415  # lazy

    if isinstance(error, Error):
        return f"{error} {error.hint}".strip()
    if isinstance(error, KeyboardInterrupt):
        return "It was cancelled."
    return f"It met an unexpected {type(error).__name__}; see the log."


def _read_wanted(
    session: console.Session,
    *,
    run: str | None,
    name: str,
    repo: str | None,
    runners_per_pod: int,
    labels: str,
    pod_count: int,
    prefix: str,
    group_id: int,
    is_all_or_nothing: bool,
    timeout_seconds: float,
    **place: Any,
) -> "Wanted":
    """Return what the options ask for.

    Raises:
        ConfigError: They contradict themselves or say too little.
    """
    from runner_installer import model, runs  # noqa: PLC0415  # lazy
    from runner_installer.run_wishes import Wanted  # noqa: PLC0415

    found = runs.get_run(run, session.environ)
    if found.attempt is None:
        found = runs.Run(repository=found.repository, run_id=found.run_id, attempt=1)
    scope = model.parse_scope(repo or found.repository) if runners_per_pod else None
    return Wanted(
        run=found,
        name=runs.check_name(name),
        spec=_read_spec(session, name, **place),
        pod_count=pod_count,
        runners_per_pod=runners_per_pod,
        scope=scope,
        labels=model.parse_labels(labels) if labels.strip() else (),
        prefix=prefix,
        group_id=group_id,
        is_all_or_nothing=is_all_or_nothing,
        timeout_seconds=timeout_seconds,
    )


def _read_spec(
    session: console.Session, name: str, *, spot: bool, bid: str | None, **plain: Any
) -> "PodSpec":
    """Return the pods the options describe.

    Raises:
        ConfigError: They say too little, or would let the pods live for ever.
    """
    from datetime import timedelta  # noqa: PLC0415  # not for --help

    from runner_installer.run_wishes import DEFAULT_BID, with_fallback  # noqa: PLC0415
    from runpod_client import ConfigError  # noqa: PLC0415

    spec = pod_options.read_spec(
        session,
        default_lease=timedelta(hours=DEFAULT_LEASE_HOURS),
        name=name,
        bid=bid or (DEFAULT_BID if spot else None),
        **plain,
    )
    if spec.lease is None or spec.lease > timedelta(days=LONGEST_LEASE_DAYS):
        raise ConfigError(
            f"a workflow's pods need an end within {LONGEST_LEASE_DAYS} days",
            setting="lease",
            hint="Say --lease 2h, 90m or 1d12h.",
        )
    return with_fallback(spec)


def _agree(
    session: console.Session, wanted: "Wanted", plan: Any, count: int, *, yes: bool
) -> None:
    """Say what is going to be rented and have it agreed to.

    Raises:
        NoCapacityError: What fits is out of stock.
        ConfigError: Nothing fits.
        ConfirmationRequiredError: It was not agreed to.
    """
    from runner_installer.run_wishes import get_most  # noqa: PLC0415  # lazy

    placements = plan.get_placements()
    for placement in placements[:3]:
        bid = placement.bid_usd_per_gpu_hour
        how = "on demand" if bid is None else f"spot, bid ${bid:f}"
        session.note(
            f"{placement.gpu_count} x {placement.gpu_type}, {placement.cloud_type} "
            f"cloud, {how}: ${placement.price_usd_per_hour:f}/hour"
        )
    most = get_most(placements)
    hours = wanted.spec.lease.total_seconds() / 3600 if wanted.spec.lease else 0
    pods = f"{count} pod{'s' * (count != 1)}"
    limit = float(most) * count * hours
    session.note(
        f"{pods} for {wanted.run} at ${most * count:f}/hour at most, "
        f"${limit:.2f} if nobody ends them in {hours:g} h; disks cost a little more"
    )
    session.confirm(f"Rent {pods}?", yes=yes)
