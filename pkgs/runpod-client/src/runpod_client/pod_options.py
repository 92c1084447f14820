"""What describes a pod on a command line, as options and as what they mean.

Shared by every command that rents: the options of `pods create` stand here, so that
whoever knows them there knows them everywhere.
"""

from typing import TYPE_CHECKING, Any

import click

from runpod_client import completion
from runpod_client.commands.arguments import USD
from runpod_client.console import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from runpod_client.model import PodSpec
    from runpod_client.wanted import Wish


def spec_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add every option that `read_spec` reads, but the name."""
    return _template_options(
        _place_options(_container_options(_lease_option(function)))
    )


def _template_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that name a template and fill it in."""
    options = (
        click.option(
            "--template",
            metavar="NAME",
            help="A pod template of your files; see runpod-client templates list.",
        ),
        click.option(
            "--set",
            "parameter_rows",
            multiple=True,
            metavar="KEY=VALUE",
            help="A parameter of the template; repeatable.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _place_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that say where a pod may run and for how much."""
    options = (
        click.option(
            "--gpu",
            "gpu_types",
            multiple=True,
            metavar="GPU",
            shell_complete=completion.complete_gpu_types,
            help="GPU type by id or display name; repeat it in order of preference.",
        ),
        click.option("--gpu-count", type=click.IntRange(min=1), help="Default: 1."),
        click.option(
            "--min-memory",
            "min_memory_gb",
            type=click.IntRange(min=1),
            metavar="GB",
            help="Least memory per GPU; without --gpu any GPU that has it will do.",
        ),
        click.option(
            "--min-cuda", metavar="VERSION", help="Lowest CUDA version, like 12.4."
        ),
        click.option(
            "--cloud",
            "cloud_type",
            type=click.Choice(["secure", "community", "any"]),
            help="Default: any.",
        ),
        click.option(
            "--data-center",
            "data_center_ids",
            multiple=True,
            metavar="ID",
            help="Where it may run; repeatable. See runpod-client data-centers list.",
        ),
        click.option(
            "--max-price",
            "max_price_usd_per_hour",
            type=USD(),
            help="Most it may cost per hour, all GPUs together.",
        ),
        click.option(
            "--prefer",
            type=click.Choice(["order", "price"]),
            help="Among several --gpu: by their order, or the cheapest. Default: order.",
        ),
        click.option(
            "--bid",
            metavar="BID",
            help="Rent a spot pod, which can be taken away: floor, floor+10%, p75, "
            "share:0.6 (of on-demand), or a price per GPU-hour.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _container_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that say what is to run."""
    options = (
        click.option("--image", help="Default: RunPod's PyTorch image."),
        click.option(
            "--disk",
            "container_disk_gb",
            type=click.IntRange(min=1),
            metavar="GB",
            help="Container disk; lost at every stop. Default: 20.",
        ),
        click.option(
            "--volume",
            "volume_gb",
            type=click.IntRange(min=0),
            metavar="GB",
            help="Volume at /workspace; kept, and billed, while the pod is stopped.",
        ),
        click.option(
            "--network-volume",
            "network_volume_id",
            metavar="ID",
            help="Mount this network volume instead; see runpod-client volumes list.",
        ),
        click.option(
            "--port",
            "port_texts",
            multiple=True,
            metavar="PORT",
            help="Port to expose, like 22/tcp or 8188/http; repeatable. "
            "Default: 22/tcp.",
        ),
        click.option(
            "--env", "env_rows", multiple=True, metavar="KEY=VALUE", help="Repeatable."
        ),
        click.option(
            "--env-file",
            type=click.Path(dir_okay=False),
            help="File of KEY=VALUE lines; keeps values out of the process list.",
        ),
        click.option(
            "--command", "start_command", help="Replaces the image's command."
        ),
        click.option(
            "--runpod-template",
            "template_id",
            metavar="ID",
            help="Base it on this template of RunPod's; see templates list --account.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _lease_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the option that says when it ends."""
    return click.option(
        "--lease",
        metavar="TIME",
        help="How long it may live, like 2h or 1d12h; none for no end. "
        "Default: the setting default_lease.",
    )(function)


def read_spec(
    session: Session,
    *,
    default_lease: "timedelta | None",
    template: str | None,
    parameter_rows: tuple[str, ...],
    port_texts: tuple[str, ...],
    env_rows: tuple[str, ...],
    env_file: str | None,
    lease: str | None,
    **plain: Any,
) -> "PodSpec":
    """Return the wanted pod as the options describe it.

    Args:
        default_lease: Where neither the options nor the template say one.

    Raises:
        ConfigError: They say too little, or what makes no sense.
        NotFoundError: There is no such template.
    """
    from runpod_client import leases, specs, wanted  # noqa: PLC0415  # slow

    ports = tuple(dict.fromkeys(specs.parse_port(text) for text in port_texts))
    given = {name: value for name, value in plain.items() if value is not None}
    wish = wanted.Wish(
        ports=ports,
        env=specs.read_env(env_file, env_rows),
        has_lease=lease is not None,
        lease=leases.parse_lease(lease) if lease is not None else None,
        **given,
    )
    if template is None:
        spec = wanted.make_spec(wish, default_lease=default_lease)
    else:
        spec = _read_template(session, template, parameter_rows, default_lease, wish)
    specs.check_spec(spec)
    return spec


def _read_template(
    session: Session,
    name: str,
    parameter_rows: tuple[str, ...],
    default_lease: "timedelta | None",
    wish: "Wish",
) -> "PodSpec":
    """Return the pod a template describes, with the flags over it; say what it is."""
    from runpod_client import (  # noqa: PLC0415  # not needed by --help
        config,
        specs,
        template_rendering,
        wanted,
    )

    rendered = template_rendering.render_template(
        config.read_layers(
            environ=session.environ,
            config_file=session.config_file,
            profile=session.profile,
            section="templates",
        ),
        name,
        given=specs.parse_env(parameter_rows, source="--set"),
        environ=session.environ,
        default_lease=default_lease,
    )
    for change in rendered.changes:
        before = f" instead of {change.before}" * bool(change.before)
        session.note(f"{name}: {change.key} = {change.after}{before}")
    return wanted.overlay(rendered.spec, wish)
