"""`install`, `plan`, `status`, `remove`: one pod, by hand.

Arguments in, sentences or JSON out. What a command does lives in `operations`; the
renderings are in `reports`.
"""

import secrets
from typing import Any

import click

from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console

_POD = click.argument("pod")
_REPO_HELP = "The repository (owner/name) or organization (owner) to take jobs from."


def _spec_options(function: Any) -> Any:
    """Add what `install` and `plan` ask for about the runner."""
    for option in (
        click.option("--group-id", default=1, show_default=True, help="Runner group."),
        click.option("--prefix", default="runpod", show_default=True, help="Of names."),
        click.option("--name", help="The runner's name; default PREFIX-PODID-RANDOM."),
        click.option(
            "--labels",
            default="self-hosted,linux,x64,gpu",
            show_default=True,
            help="Labels jobs may ask for; the runner's name is always one more.",
        ),
        click.option("--repo", required=True, help=_REPO_HELP),
    ):
        function = option(function)
    return function


@click.command()
@_POD
@_spec_options
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds the runner may take to listen for jobs once started.",
)
@console.options(codes=EXIT_CODES)
def install(session: console.Session, /, pod: str, **wishes: Any) -> None:
    """Make POD a runner for one job.

    Repeating it while a runner is there does nothing. When it fails or is
    interrupted, nothing stays registered at GitHub.

    \b
    Examples:
      runner-installer install my-pod --repo owner/name
      runner-installer install my-pod --repo owner/name --labels gpu,a4000 --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    timeout = wishes.pop("timeout")
    wish = operations.Wish(token=secrets.token_hex(3), **wishes)
    done, found = operations.install(
        operations.Room.of(session),
        pod,
        wish,
        verify_timeout_seconds=timeout,
        new_token=lambda: secrets.token_hex(3),
        on_phase=lambda phase: session.note(reports.render_phase(phase)),
    )
    session.emit(
        reports.installed_document(done, found), lambda: reports.render_installed(done)
    )


@click.command()
@_POD
@console.options(codes=EXIT_CODES)
def status(session: console.Session, /, pod: str) -> None:
    """Show the runners on POD: process, console, GitHub, and any contradiction.

    \b
    Example:
      runner-installer status my-pod --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    statuses, found = operations.status(operations.Room.of(session), pod)
    session.emit(
        reports.status_document(statuses, found),
        lambda: reports.render_statuses(statuses, found),
    )


@click.command()
@_POD
@click.option("--repo", help=f"{_REPO_HELP} Default: what the pod has on record.")
@click.option("--force", is_flag=True, help="Also a runner on a job; the job is lost.")
@console.options(codes=EXIT_CODES)
def remove(
    session: console.Session, /, pod: str, repo: str | None, *, force: bool
) -> None:
    """Take every runner off POD: GitHub's record, the process, the files.

    Safe to repeat. With --repo it also works for a pod that is stopped or gone: what
    GitHub still lists for it is deleted.

    \b
    Examples:
      runner-installer remove my-pod
      runner-installer remove POD_ID --repo owner/name
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    outcome = operations.remove(operations.Room.of(session), pod, repo, force=force)
    session.emit(
        reports.removed_document(outcome), lambda: reports.render_removed(outcome)
    )
    if outcome.busy is not None:
        raise outcome.busy


@click.command()
@_POD
@_spec_options
@console.options(codes=EXIT_CODES)
def plan(session: console.Session, /, pod: str, **wishes: Any) -> None:
    """Print what `install` would do on POD, step by step, and do none of it.

    \b
    Example:
      runner-installer plan my-pod --repo owner/name
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    wish = operations.Wish(token="RANDOM", **wishes)  # noqa: S106  # a placeholder
    steps = operations.plan(operations.Room.of(session), pod, wish)
    session.emit(reports.plan_document(steps), lambda: reports.render_plan(steps))
