"""`serve`, `pools`, `costs`: runners that appear when jobs need them.

Arguments in, sentences or JSON out. What serving does lives in `serving`; the
renderings are in `serving_reports`.
"""

import json
from typing import TYPE_CHECKING, Any

import click

from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner_installer.pools import PoolFile
    from runner_installer.reconciler import Report
    from runner_installer.serving import Plan


@click.command()
@click.option(
    "--pools",
    "pools_path",
    type=click.Path(dir_okay=False),
    default="runners.toml",
    show_default=True,
    help="The file that describes the pools.",
)
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    help="Receive GitHub's webhooks here, at /webhook; loopback unless HOST is given.",
)
@click.option(
    "--allow-remote", is_flag=True, help="Let --listen name more than loopback."
)
@click.option("--check", is_flag=True, help="Only read the file and say what it means.")
@click.option("--once", is_flag=True, help="Look and act once, for cron, then end.")
@click.option(
    "--explain", is_flag=True, help="Print each decision's reasons as it is made."
)
@click.option(
    "--drain",
    is_flag=True,
    help="Told to stop, give every pod back as it falls idle, then end. "
    "Told twice, end at once.",
)
@click.option(
    "--drain-now", is_flag=True, help="Take no new jobs, give everything back, end."
)
@click.option("--yes", is_flag=True, help="Rent by demand without asking.")
@console.options(codes=EXIT_CODES, log_level="info")
def serve(
    session: console.Session,
    /,
    *,
    pools_path: str,
    check: bool,
    once: bool,
    explain: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Rent pods and make them runners as jobs are queued, and end them after.

    Demand comes from webhooks (--listen) and from a look at the queues every minute,
    which makes good what webhooks lost. Pods have a short lease that is renewed while
    they are needed: when this program dies they end, or its next start takes them over.

    Needs RUNPOD_API_KEY and GITHUB_TOKEN (or a GitHub App), and for --listen
    GITHUB_WEBHOOK_SECRET (each also with _FILE). --json prints a line per decision.

    \b
    Examples:
      runner-installer serve --check
      runner-installer serve --pools runners.toml --listen 8080 --yes
      runner-installer serve --once --yes --explain
    """  # noqa: D301  # click wants a real backspace
    from pathlib import Path  # noqa: PLC0415  # kept out of --help

    from runner_installer import pools, serving_reports  # noqa: PLC0415  # lazy

    file = pools.read_pools(Path(pools_path))
    if check:
        _check(session, file)
        session.emit(
            serving_reports.pool_file_document(file),
            lambda: serving_reports.pool_file_sheet(file),
            names=lambda: [pool.name for pool in file.pools],
        )
        return
    most = sum(pool.most for pool in file.pools)
    session.confirm(
        f"Rent pods by demand, for up to {most} runners in {len(file.pools)} "
        f"pool{'s' * (len(file.pools) > 1)}, {_caps_of(file)}?",
        yes=yes,
    )
    _serve(session, file, is_once=once, explain=explain, **given)


def _serve(
    session: console.Session,
    file: "PoolFile",
    *,
    is_once: bool,
    explain: bool,
    listen: str | None,
    allow_remote: bool,
    drain: bool,
    drain_now: bool,
) -> None:
    from runner_installer import serving  # noqa: PLC0415  # slow
    from runner_installer.operations import Room  # noqa: PLC0415

    room = Room.of(session)
    plan = serving.Plan(
        pools=file,
        settings=session.load(serving.ServeSettings, "serve"),
        listen=_parse_listen(listen),
        allow_remote=allow_remote,
        is_draining=drain_now,
        drains_at_stop=drain,
    )
    renderer = serving.make_renderer(
        session.environ, session.config_file, session.profile
    )
    on_reports = _make_printer(session, explain=explain or is_once)
    if is_once:
        serving.serve_once(room, plan, renderer=renderer, on_reports=on_reports)
        return
    serving.serve(
        room,
        plan,
        renderer=renderer,
        on_ready=lambda url: session.note(_render_ready(plan, url)),
        on_reports=on_reports,
    )


def _render_ready(plan: "Plan", url: str) -> str:
    names = ", ".join(pool.name for pool in plan.pools.pools)
    where = f", webhooks at {url}/webhook" if url else ""
    return f"Serving {names}{where}. Ctrl-C ends it and leaves pods to their leases."


def _make_printer(
    session: console.Session, *, explain: bool
) -> "Callable[[Sequence[Report]], None]":
    """Return what prints decisions that differ from the pool's last one."""
    from runner_installer import serve_status, serving_reports  # noqa: PLC0415  # slow

    last: dict[str, tuple[str, ...]] = {}

    def on_reports(reports: "Sequence[Report]") -> None:
        for report in reports:
            reasons = report.decision.reasons
            if last.get(report.pool.name, ()) == reasons:
                continue
            last[report.pool.name] = reasons
            if session.as_json:
                click.echo(json.dumps(serve_status.decision_document(report)))
            elif explain:
                for line in serving_reports.render_decision(report):
                    click.echo(line)

    return on_reports


def _check(session: console.Session, file: "PoolFile") -> None:
    """Refuse a template that does not exist; nothing is asked over the network."""
    from runner_installer.serving import make_renderer  # noqa: PLC0415  # slow

    render = make_renderer(session.environ, session.config_file, session.profile)
    for pool in file.pools:
        if pool.wish.template:
            render(pool.wish.template)


def _caps_of(file: "PoolFile") -> str:
    from runner_installer.serving_reports import render_caps  # noqa: PLC0415  # slow

    own = [f"{pool.name} {render_caps(pool.caps)}" for pool in file.pools]
    return "; ".join([f"in all {render_caps(file.caps)}", *own])


def _parse_listen(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise click.BadParameter(f"{text!r} is no [HOST:]PORT", param_hint="--listen")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command()
@console.options(codes=EXIT_CODES)
def pools(session: console.Session, /) -> None:
    """Show what a running serve sees in its pools, and what it decided last.

    \b
    Examples:
      runner-installer pools
      runner-installer pools --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import serve_status, serving_reports  # noqa: PLC0415  # lazy
    from runner_installer.operations import Room  # noqa: PLC0415
    from runner_installer.serving import folder_of  # noqa: PLC0415

    folder = folder_of(Room.of(session))
    document = serve_status.read_status(folder.status)
    is_running = serve_status.is_serving(folder.lock)
    session.emit(
        {"is_running": is_running, **document},
        lambda: serving_reports.status_sheet(document, is_running=is_running),
        names=lambda: [pool["pool"] for pool in document["pools"]],
    )


@click.command()
@click.option(
    "--run",
    metavar="owner/name/RUN_ID",
    help="Only this workflow run, job by job; owner/name alone: that repository's runs.",
)
@console.options(codes=EXIT_CODES)
def costs(session: console.Session, /, run: str | None) -> None:
    """Show what workflow runs cost on the pools' pods.

    A job costs its pod's price for as long as it ran, shared by the pod's runners.
    Idle time and boots belong to no run.

    \b
    Examples:
      runner-installer costs
      runner-installer costs --run owner/name/1234567890 --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer import serving_reports, spending  # noqa: PLC0415  # lazy
    from runner_installer.operations import Room  # noqa: PLC0415
    from runner_installer.serving import folder_of  # noqa: PLC0415

    repository, run_id = _parse_run(run)
    ledger = spending.Ledger(folder_of(Room.of(session)).costs)
    found = ledger.list_costs(repository=repository, run_id=run_id)
    runs = spending.sum_runs(found)
    session.emit(
        serving_reports.costs_document(runs),
        lambda: (
            serving_reports.jobs_sheet(runs[0])
            if run_id is not None and runs
            else serving_reports.runs_sheet(runs)
        ),
        names=lambda: [f"{r.repository}/{r.run_id}" for r in runs],
    )


def _parse_run(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    parts = text.split("/")
    if len(parts) == 2 and all(parts):
        return text, None
    if len(parts) >= 3 and all(parts) and parts[2].isdigit():
        return "/".join(parts[:2]), int(parts[2])
    raise click.BadParameter(f"{text!r} is no owner/name/RUN_ID", param_hint="--run")
