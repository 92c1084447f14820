"""`runpod-client templates`: pods described in files, shown before they are rented."""

from typing import TYPE_CHECKING, Any

import click

from runpod_client import console
from runpod_client.commands.arguments import examples, load_settings
from runpod_client.console import Session

if TYPE_CHECKING:
    from datetime import timedelta

    from runpod_client.config_files import Layers
    from runpod_client.model import Pod
    from runpod_client.template_rendering import Rendered

_NAME_ARGUMENT = click.argument("name", metavar="NAME")


@click.group()
def templates() -> None:
    """Describe pods in files and rent them by name.

    Templates are tables [templates.NAME] of the project's runpod.toml and of your
    configuration file. Rent one: runpod-client pods create --template NAME
    """


@templates.command(
    "list",
    epilog=examples(
        "  runpod-client templates list\n"
        "  runpod-client templates list --json | jq -r '.templates[].name'\n"
        "  runpod-client templates list --account\n"
    ),
)
@click.option(
    "--account",
    "of_account",
    is_flag=True,
    help="Those kept at RunPod instead; use one with --runpod-template.",
)
@console.options()
def list_templates(session: Session, *, of_account: bool) -> None:
    """List the templates of your files, with their parameters."""
    from runpod_client import template_tables  # noqa: PLC0415  # slow

    if of_account:
        kept = _list_kept(session)
        session.emit(
            {"templates": [template_tables.kept_document(t) for t in kept]},
            lambda: template_tables.kept_sheet(kept),
            names=lambda: [template.template_id for template in kept],
        )
        return
    from runpod_client import pod_templates  # noqa: PLC0415  # slow

    found = pod_templates.list_templates(_read_layers(session))
    session.emit(
        {"templates": [template_tables.template_document(t) for t in found]},
        lambda: template_tables.template_sheet(found),
        names=lambda: [template.name for template in found],
    )


@templates.command(
    "show",
    epilog=examples(
        "  runpod-client templates show train\n"
        "  runpod-client templates show train --profile staging --json\n"
    ),
)
@_NAME_ARGUMENT
@console.options()
def show_template(session: Session, name: str) -> None:
    """Show what a template says, what it inherits, and its parameters."""
    from runpod_client import pod_templates, template_tables  # noqa: PLC0415  # slow

    template = pod_templates.get_template(_read_layers(session), name)
    session.emit(
        template_tables.template_document(template),
        lambda: template_tables.template_lines(template),
        names=lambda: [template.name],
    )


@templates.command(
    "render",
    epilog=examples(
        "  runpod-client templates render train --set size=200\n"
        "  runpod-client templates render train --profile staging --json\n"
        "  runpod-client templates render train --pod trainer    # what differs\n"
    ),
)
@_NAME_ARGUMENT
@click.option(
    "--set",
    "parameter_rows",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the template; repeatable.",
)
@click.option(
    "--pod", metavar="POD", help="Show what differs from this pod, by id or name."
)
@console.options()
def render_template(
    session: Session, name: str, *, parameter_rows: tuple[str, ...], pod: str | None
) -> None:
    """Show the pod a template describes, the origin of each value, and what changed.

    Changed is what the profile and the parameters make different from the plain
    template. Nothing is rented.
    """
    from runpod_client import template_rendering, template_tables  # noqa: PLC0415

    rendered = render_for(session, name, parameter_rows)
    if pod is None:
        session.emit(
            template_tables.rendered_document(rendered),
            lambda: template_tables.rendered_sheet(rendered),
        )
        return
    found, gpu_names = _resolve_pod(session, pod)
    changes = template_rendering.compare_with_pod(rendered, found, gpu_names)
    session.emit(
        {"pod_id": found.pod_id, "changes": template_tables.change_documents(changes)},
        lambda: template_tables.change_sheet(changes),
    )


def render_for(
    session: Session, name: str, parameter_rows: tuple[str, ...]
) -> "Rendered":
    """Return a template as this run's options make it.

    Args:
        parameter_rows: What `--set` was given, `KEY=VALUE` each.

    Raises:
        NotFoundError: There is no such template.
        ConfigError: It, or a parameter, is faulty.
    """
    from runpod_client import template_parameters, template_rendering  # noqa: PLC0415

    layers = _read_layers(session)
    return template_rendering.render_template(
        layers,
        name,
        given=template_parameters.parse_rows(parameter_rows),
        environ=session.environ,
        default_lease=_find_default_lease(session, layers),
    )


def _read_layers(session: Session) -> "Layers":
    from runpod_client import config  # noqa: PLC0415  # kept out of --help

    return config.read_layers(
        environ=session.environ,
        config_file=session.config_file,
        profile=session.profile,
    )


def _find_default_lease(session: Session, layers: "Layers") -> "timedelta | None":
    """Return the setting, without loading the others: a secret may be a command."""
    from runpod_client import config, leases  # noqa: PLC0415  # slow

    rows = config.describe(
        config.ClientSettings,
        section="client",
        layers=layers,
        environ=session.environ,
    )
    return leases.parse_lease(next(r.value for r in rows if r.name == "default_lease"))


def _list_kept(session: Session) -> list[Any]:
    from runpod_client.opening import open_client  # noqa: PLC0415  # slow

    with open_client(load_settings(session)) as client:
        return client.cloud.list_templates()


def _resolve_pod(session: Session, pod: str) -> "tuple[Pod, dict[str, str]]":
    """Return a pod, and the display names of GPU types by their ids."""
    from runpod_client.opening import open_client  # noqa: PLC0415  # slow

    with open_client(load_settings(session)) as client:
        found = client.resolve_pod(pod)
        offers = client.list_gpu_offers()
    return found, {offer.gpu_type: offer.display_name for offer in offers}
