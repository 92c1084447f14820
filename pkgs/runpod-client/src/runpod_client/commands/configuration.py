"""`runpod-client config`: every setting in force, and whether the files hold."""

from typing import TYPE_CHECKING

import click

from runpod_client import console
from runpod_client.commands.arguments import examples
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.config_files import Layers


@click.group()
def config() -> None:
    """See and check the settings.

    A value comes from the first that has it: flag, environment, the project's
    runpod.toml, your own file, default. A profile lies over the plain tables of the
    same file.
    """


@config.command(
    "show",
    epilog=examples(
        "  runpod-client config show\n"
        "  runpod-client config show --profile staging\n"
        "  runpod-client config show --json | jq '.settings[] | select(.value)'\n"
    ),
)
@console.options()
def show_config(session: Session) -> None:
    """Show every setting of every tool, its value and where it comes from.

    Secrets are shown as stars and are not read: no command is run for them.
    """
    from runpod_client import config_report  # noqa: PLC0415  # slow

    layers = _read_layers(session)
    rows = config_report.describe_all(layers, session.environ)
    session.emit(
        config_report.settings_document(layers, rows),
        lambda: config_report.settings_sheet(rows),
        names=lambda: [f"{row.section}.{row.name}" for row in rows],
    )


@config.command(
    "check",
    epilog=examples(
        "  runpod-client config check\n"
        "  runpod-client config check --config ci.toml\n"
        "  runpod-client config check --json\n"
    ),
)
@console.options()
def check_config(session: Session) -> None:
    """Check your file and the project's: settings, hooks and templates of all profiles.

    The first fault is an error with exit status 2.
    """
    from runpod_client import config_report  # noqa: PLC0415  # slow

    checked = config_report.check_all(_read_layers(session), session.environ)
    session.emit(
        config_report.checked_document(checked),
        lambda: config_report.checked_page(checked),
    )


def _read_layers(session: Session) -> "Layers":
    from runpod_client import config as settings  # noqa: PLC0415  # kept out of --help

    return settings.read_layers(
        environ=session.environ,
        config_file=session.config_file,
        profile=session.profile,
    )
