"""`install`, `plan`, `status`, `logs`, `remove`: one pod, by hand.

Arguments in, sentences or JSON out. What a command does lives in `operations`; the
renderings are in `reports`.
"""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console

if TYPE_CHECKING:
    from runner_installer.pod_model import InstallOptions

_POD = click.argument("pod")
_REPO_HELP = "The repository (owner/name) or organization (owner) to take jobs from."
_FOLDER = click.option(
    "--folder", default="", help="The pod's folder that --folder named at install."
)


def _spec_options(function: Any) -> Any:
    """Add what `install` and `plan` ask for about the runner."""
    for option in (
        click.option(
            "--steps",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A TOML file of commands to run around install and job.",
        ),
        click.option(
            "--allow",
            multiple=True,
            metavar="OWNER/NAME",
            help="Fail jobs of any other repository; repeat for several, OWNER/* for "
            "all of an owner.",
        ),
        click.option(
            "--install-libraries",
            is_flag=True,
            help="Install libicu where it is missing; without, texts are handled by "
            "the invariant culture.",
        ),
        click.option(
            "--registration",
            type=click.Choice(["auto", "jit", "token"]),
            default="auto",
            show_default=True,
            help="JIT config, or a registration token for old GitHub servers.",
        ),
        click.option(
            "--folder",
            default="",
            help="Where on the pod runners go; default: the home, /workspace, or /tmp.",
        ),
        click.option(
            "--as-root",
            is_flag=True,
            help="Let the runner be root where SSH logs in as root. Its jobs then own "
            "the pod and can read everything on it.",
        ),
        click.option(
            "--user",
            default="",
            help="The pod's user to run as; default: one of its own for each runner.",
        ),
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


def _take_options(wishes: dict[str, Any]) -> "InstallOptions":
    """Take what says how the runner lives out of a command's options."""
    from runner_installer.pod_model import (  # noqa: PLC0415  # lazy
        InstallOptions,
        RegistrationKind,
    )
    from runner_installer.steps import load_steps  # noqa: PLC0415  # lazy

    path = wishes.pop("steps")
    return InstallOptions(
        user=wishes.pop("user"),
        as_root=wishes.pop("as_root"),
        folder=wishes.pop("folder").rstrip("/"),
        registration=RegistrationKind(wishes.pop("registration")),
        install_libraries=wishes.pop("install_libraries"),
        allowed_repositories=tuple(wishes.pop("allow")),
        steps=load_steps(path) if path else (),
    )


@click.command()
@_POD
@_spec_options
@click.option(
    "--count",
    type=click.IntRange(min=1, max=32),
    default=1,
    show_default=True,
    help="How many runners the pod is to have; those there already count.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds the runner may take to listen for jobs once started.",
)
@console.options(codes=EXIT_CODES)
def install(
    session: console.Session, /, pod: str, timeout: float, count: int, **wishes: Any
) -> None:
    """Make POD a runner for one job.

    Where SSH logs in as root, each runner gets a Unix user of its own. Repeating it
    while a runner is there does nothing. When it fails or is interrupted, nothing
    stays registered at GitHub.

    \b
    Examples:
      runner-installer install my-pod --repo owner/name
      runner-installer install my-pod --repo owner/name --labels gpu,a4000 --json
      runner-installer install my-pod --repo owner/name --count 4 --steps steps.toml
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy
    from runner_installer.errors import InstallError  # noqa: PLC0415  # lazy

    options = _take_options(wishes)
    if count > 1 and wishes["name"]:
        raise click.UsageError("--name is for one runner; leave it out with --count.")
    if options.as_root:
        session.note("Warning: the runner is root, so its jobs own the pod.")
    try:
        batch, found = operations.install(
            operations.Room.of(session),
            pod,
            operations.Wish(token=secrets.token_hex(3), **wishes),
            options=options,
            count=count,
            verify_timeout_seconds=timeout,
            new_token=lambda: secrets.token_hex(3),
            on_phase=lambda phase: session.note(reports.render_phase(phase)),
        )
    except InstallError as error:
        if error.log:
            session.note(str(reports.render_log(error.log)))
        raise
    if count == 1:
        done = batch.installed[0]
        session.emit(
            reports.installed_document(done, found),
            lambda: reports.render_installed(done),
        )
        return
    session.emit(
        reports.batch_document(batch, found), lambda: reports.render_batch(batch)
    )
    if batch.failures:
        raise batch.failures[0][1]


@click.command()
@_POD
@_FOLDER
@console.options(codes=EXIT_CODES)
def status(session: console.Session, /, pod: str, folder: str) -> None:
    """Show the runners on POD: process, console, GitHub, and any contradiction.

    RUN is the workflow run (id/attempt) and job that the runner's job hook noted.

    \b
    Example:
      runner-installer status my-pod --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    statuses, found = operations.status(
        operations.Room.of(session), pod, folder=folder.rstrip("/")
    )
    session.emit(
        reports.status_document(statuses, found),
        lambda: reports.render_statuses(statuses, found),
    )


@click.command()
@_POD
@click.option("--runner", help="Which one; default: the only one on the pod.")
@_FOLDER
@console.options(codes=EXIT_CODES)
def logs(
    session: console.Session, /, pod: str, runner: str | None, folder: str
) -> None:
    """Print what a runner on POD and its installation wrote.

    That of an installation that failed is kept on the pod too, under the name its
    runner was to have.

    \b
    Examples:
      runner-installer logs my-pod
      runner-installer logs my-pod --runner runpod-abc123-1f2e3d
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    text = operations.logs(
        operations.Room.of(session), pod, runner, folder=folder.rstrip("/")
    )
    session.emit({"pod": pod, "log": text}, lambda: reports.render_log(text))


@click.command()
@_POD
@click.option("--repo", help=f"{_REPO_HELP} Default: what the pod has on record.")
@click.option("--force", is_flag=True, help="Also a runner on a job; the job is lost.")
@click.option(
    "--keep-logs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Fetch each runner's logs to DIR/NAME.tar.gz before it is deleted.",
)
@_FOLDER
@console.options(codes=EXIT_CODES)
def remove(  # one parameter for each option
    session: console.Session,
    /,
    pod: str,
    repo: str | None,
    keep_logs: Path | None,
    folder: str,
    *,
    force: bool,
) -> None:
    """Take every runner off POD: GitHub's record, the process, the files.

    Safe to repeat. With --repo it also works for a pod that is stopped or gone: what
    GitHub still lists for it is deleted.

    \b
    Examples:
      runner-installer remove my-pod
      runner-installer remove my-pod --keep-logs ./logs
      runner-installer remove POD_ID --repo owner/name
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import operations, reports  # noqa: PLC0415  # lazy

    outcome = operations.remove(
        operations.Room.of(session),
        pod,
        repo,
        force=force,
        folder=folder.rstrip("/"),
        keep_logs=keep_logs,
    )
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

    options = _take_options(wishes)
    wish = operations.Wish(token="RANDOM", **wishes)  # noqa: S106  # a placeholder
    steps = operations.plan(operations.Room.of(session), pod, wish, options)
    session.emit(reports.plan_document(steps), lambda: reports.render_plan(steps))
