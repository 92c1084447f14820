"""`down` and `sweep`: end what `up` rented, whatever became of the workflow.

Arguments in, sentences, JSON and a workflow's files out. What a command does lives in
`workflow_operations`; the renderings are in `workflow_reports`.
"""

from typing import TYPE_CHECKING

import click

from runner_installer.commands.rental_options import REPO_HELP, RUN_HELP
from runner_installer.commands.step import open_step
from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console

if TYPE_CHECKING:
    from runner_installer.returning import Giveback
    from runner_installer.runs import Run
    from runner_installer.workflow_files import WorkflowFiles


@click.command()
@click.option("--run", metavar="RUN", help=f"{RUN_HELP} No ATTEMPT: all of them.")
@click.option("--name", help="Only the pods of this name; default: all of the run.")
@click.option(
    "--repo",
    help=f"{REPO_HELP} Default: what the pods say, and in a workflow its repository.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a runner on a job is waited for.",
)
@click.option(
    "--force", is_flag=True, help="Then end it all the same; its job is lost."
)
@console.options(codes=EXIT_CODES)
def down(
    session: console.Session,
    /,
    *,
    run: str | None,
    name: str | None,
    repo: str | None,
    grace_seconds: float,
    force: bool,
) -> None:
    """End all that `up` rented for a workflow run, and say what it cost.

    Safe to repeat, and works when `up` never finished, when its outputs are lost and
    when a pod is gone already: pods are found by the run, stopped ones too, runners
    also by their label. A runner on a job, and its pod, are left unless --force.

    \b
    Examples:
      runner-installer down
      runner-installer down --run me/app/123
      runner-installer down --run me/app/123/1 --grace 0 --force --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import runs, workflow_operations  # noqa: PLC0415  # lazy
    from runner_installer.model import parse_scope  # noqa: PLC0415

    files, room = open_step(session, needs_github=False)
    wanted = runs.get_run(run, session.environ)
    if run is None:
        # what earlier attempts left is nobody's any more
        repo = repo or wanted.repository
        wanted = runs.Run(repository=wanted.repository, run_id=wanted.run_id)
    with session.status(f"ending what {wanted} has"):
        done = workflow_operations.down(
            room,
            wanted,
            name=runs.check_name(name) if name else None,
            scope=parse_scope(repo) if repo else None,
            grace_seconds=grace_seconds,
            force=force,
            say=session.note,
        )
    _publish(session, files, wanted, done)


def _publish(
    session: console.Session, files: "WorkflowFiles", run: "Run", done: "Giveback"
) -> None:
    """Say what was ended and what it cost, and fail with what was not."""
    from runner_installer import (  # noqa: PLC0415  # lazy
        workflow_operations,
        workflow_reports,
    )

    files.write_outputs(workflow_reports.returned_outputs(done))
    files.append_summary(workflow_reports.render_returned_summary(run, done))
    session.emit(
        workflow_reports.returned_document(run, done),
        lambda: workflow_reports.returned_sheet(done),
        names=lambda: [each.pod.name for each in done.pods],
    )
    failure = workflow_operations.find_failure(done)
    if failure is not None:
        files.warn(f"{failure} {failure.hint}")
        raise failure


@click.command()
@click.option("--repo", required=True, help="Whose pods and runners are looked at.")
@click.option("--prefix", default="runpod", show_default=True, help="Of runner names.")
@click.option(
    "--settle",
    "settle_seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="A runner must look lost twice, this long apart: one that is just being "
    "installed does too.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@console.options(codes=EXIT_CODES)
def sweep(
    session: console.Session,
    /,
    *,
    repo: str,
    prefix: str,
    settle_seconds: float,
    dry_run: bool,
) -> None:
    """End pods whose workflow run is over, and runners whose pod is gone.

    For a scheduled workflow, beside `runpod-client reap`, which ends what outlives its
    lease. A runner on a job is never touched.

    \b
    Examples:
      runner-installer sweep --repo me/app --dry-run
      runner-installer sweep --repo me/app --settle 30 --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import (  # noqa: PLC0415  # lazy
        workflow_operations,
        workflow_reports,
    )
    from runner_installer.model import parse_scope  # noqa: PLC0415

    _files, room = open_step(session, needs_github=True)
    with session.status(f"looking at {repo}"):
        swept = workflow_operations.sweep(
            room,
            parse_scope(repo),
            prefix=prefix,
            settle_seconds=settle_seconds,
            dry_run=dry_run,
            say=session.note,
        )
    session.emit(
        workflow_reports.swept_document(swept, dry_run=dry_run),
        lambda: workflow_reports.swept_sheet(swept),
        names=lambda: [each.pod.name for each in swept.over],
    )
    failure = workflow_operations.find_failure(swept.given_back)
    if failure is not None:
        raise failure
