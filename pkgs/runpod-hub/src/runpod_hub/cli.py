"""`runpod-hub`: start the service and look after it. The web stack is imported late."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from runpod_client import Secret, console
from runpod_client import config as client_config
from runpod_client.config import ClientSettings
from runpod_client.console import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runpod_hub.config import HubSettings
    from runpod_hub.hub import Hub

_LEAST_API_SECONDS = 5.0


@click.group()
@click.version_option(package_name="runpod-hub")
def cli() -> None:
    """Watch every pod, agent and dollar of a RunPod account.

    \b
    runpod-hub serve          start the service and the dashboard
    runpod-hub check-config   show the settings and where they come from
    """  # noqa: D301  # click's mark: keep these line breaks


@cli.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port; 0 takes a free one.  [default: 8400]")
@click.option(
    "--interval", type=float, help="Seconds between looks at RunPod.  [default: 60]"
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Allow an address other machines reach (plain HTTP; the token protects it).",
)
@console.options(log_level="info")
def serve(
    session: Session,
    host: str | None,
    port: int | None,
    interval: float | None,
    *,
    allow_remote: bool,
) -> None:
    """Start the hub; print its address and a login link as soon as it listens.

    \b
    runpod-hub serve
    runpod-hub serve --port 0 --json      one line for programs
    """  # noqa: D301  # click's mark: keep these line breaks
    from runpod_client import open_client  # noqa: PLC0415  # kept out of --help
    from runpod_hub.app import build_app  # noqa: PLC0415
    from runpod_hub.clock import SystemClock  # noqa: PLC0415
    from runpod_hub.cloud import RunPodCloud  # noqa: PLC0415
    from runpod_hub.config import check  # noqa: PLC0415
    from runpod_hub.server import serve as run_server  # noqa: PLC0415

    client_settings, settings = _load(
        session, host=host, port=port, interval_seconds=interval
    )
    check(settings, allow_remote=allow_remote)
    # a look that fails should fail within its interval, retries included
    limit = min(
        client_settings.api_timeout_seconds,
        max(_LEAST_API_SECONDS, settings.interval_seconds / 2),
    )
    client = open_client(
        dataclasses.replace(client_settings, api_timeout_seconds=limit)
    )
    cloud = RunPodCloud(client, timeout_seconds=limit * 2)
    run_server(
        settings,
        build=lambda: build_app(settings, cloud=cloud, clock=SystemClock()),
        on_listening=lambda hub, url: _announce(session, hub, url),
    )


@cli.command("check-config")
@console.options()
def check_config(session: Session) -> None:
    """Show the effective settings, where each comes from, and whether they hold."""
    from runpod_hub.config import SECTION, check  # noqa: PLC0415

    client_settings, settings = _load(session)
    rows: list[dict[str, str]] = []
    for section, effective in (("client", client_settings), (SECTION, settings)):
        loaded = client_config.load(
            type(effective),
            section=section,
            environ=session.environ,
            config_file=session.config_file,
            profile=session.profile,
        )
        rows += _describe(section, effective, loaded.sources)
    check(settings, allow_remote=True)
    session.emit({"settings": rows}, lambda: _settings_table(rows))


@cli.command()
@console.options()
def migrate(session: Session) -> None:
    """Bring the database to this version's layout; `serve` does it by itself."""
    from runpod_hub import migrations  # noqa: PLC0415  # kept out of --help

    _, settings = _load(session)
    with migrations.lock(settings.database):
        revision = migrations.upgrade(settings.database)
    document = {"database": settings.database, "revision": revision}
    session.emit(document, lambda: f"{settings.database} is at revision {revision}")


@cli.command()
@console.options()
def token(session: Session) -> None:
    """Print the token for the API and the login, making it the first time."""
    from runpod_hub.private_files import ensure_secret  # noqa: PLC0415

    _, settings = _load(session)
    secret = settings.token or ensure_secret(settings.state_dir / "token")
    session.emit({"token": secret}, lambda: str(secret))


@cli.command()
@click.option(
    "--once", is_flag=True, help="End after the job instead of keeping the dashboard."
)
@click.option(
    "--port", type=int, default=0, help="The dashboard's port; 0 takes a free one."
)
@console.options()
def demo(_session: Session, *, once: bool, port: int) -> int:
    """Do the whole job against a simulated RunPod and GitHub on this machine.

    It needs no account and costs nothing: it starts `runpod-sim` and this hub, rents
    a pod, reaches it over SSH, makes it a runner, runs a job and shows the bill.

    \b
    runpod-hub demo --once     do that, check that nothing is left, and end
    runpod-hub demo            keep the dashboard and a pod to try, until Ctrl-C
    """  # noqa: D301  # click's mark: keep these line breaks
    from runpod_hub.demo import run_demo  # noqa: PLC0415  # kept out of --help

    return run_demo(once=once, port=port)


def _load(session: Session, **flags: Any) -> tuple[ClientSettings, "HubSettings"]:
    """Load both sets; the hub's folder lies in the client's unless it is named."""
    from runpod_hub.config import SECTION, HubSettings  # noqa: PLC0415  # see above

    client_settings = session.load(ClientSettings, "client")
    loaded = client_config.load(
        HubSettings,
        section=SECTION,
        environ=session.environ,
        config_file=session.config_file,
        flags=flags,
        profile=session.profile,
    )
    settings = loaded.settings
    if loaded.sources["state_dir"] == "default":
        settings = dataclasses.replace(
            settings, state_dir=client_settings.state_dir / "hub"
        )
    return client_settings, settings


def _announce(session: Session, hub: "Hub", url: str) -> None:
    """Tell where the hub is, on stdout, flushed so that a reader of a pipe sees it."""
    login = f"{url}/login?ticket={hub.access.create_ticket()}"
    if session.as_json:
        import json  # noqa: PLC0415  # one line, unlike `emit`

        line = {"event": "listening", "url": url, "login_url": login}
        click.echo(json.dumps(line))
        return
    click.echo(f"runpod-hub listens on {url}")
    click.echo(f"log in (once, within 10 minutes): {login}")


def _describe(
    section: str,
    settings: "ClientSettings | HubSettings",
    sources: Mapping[str, str],
) -> list[dict[str, str]]:
    rows = []
    for name, info in client_config.infos(type(settings)).items():
        value = getattr(settings, name)
        is_secret = isinstance(value, Secret)
        rows.append(
            {
                "setting": f"{section}.{name}",
                "value": "***" if is_secret else "" if value is None else str(value),
                "unit": info.unit,
                "source": sources[name],
                "environment": info.env,
            }
        )
    return rows


def _settings_table(rows: list[dict[str, str]]) -> "RenderableType":
    from rich.table import Table  # noqa: PLC0415  # kept out of start-up

    table = Table("SETTING", "VALUE", "SOURCE", "ENVIRONMENT", box=None)
    for row in rows:
        shown = f"{row['value']} {row['unit']}".strip()
        table.add_row(row["setting"], shown, row["source"], row["environment"])
    return table


def main() -> None:
    """Run the command line."""
    console.run(cli, "runpod-hub")
