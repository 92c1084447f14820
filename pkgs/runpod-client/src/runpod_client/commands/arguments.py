"""What several commands take: POD, --yes, --wait, prices; and the client they use."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from runpod_client import completion, console
from runpod_client.console import Session

if TYPE_CHECKING:
    from decimal import Decimal

    from runpod_client.config import ClientSettings
    from runpod_client.hooks import Hooks

DEFAULT_TIMEOUT_SECONDS = 1200.0

POD_ARGUMENT = click.argument(
    "pod", metavar="POD", shell_complete=completion.complete_pods
)
YES_OPTION = click.option("--yes", is_flag=True, help="Do not ask.")
WAIT_OPTION = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for the result."
)
TIMEOUT_OPTION = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Stop waiting after this long; the pod stays.",
)


class USD(click.ParamType):
    """A positive amount of US dollars."""

    name = "USD"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Decimal":
        """Return the amount; refuse what is none."""
        from decimal import Decimal, InvalidOperation  # noqa: PLC0415  # slow

        try:
            price = Decimal(value)
        except InvalidOperation:
            price = Decimal(0)
        if not price.is_finite() or price <= 0:
            self.fail(f"{value!r} is no price in USD", param, ctx)
        return price


def examples(text: str) -> str:
    """Return an epilog that click does not wrap; a line of it is a command."""
    return f"\b\nExamples:\n{text}"


def load_settings(session: Session) -> "ClientSettings":
    """Return the client's settings of this run."""
    from runpod_client.config import ClientSettings  # noqa: PLC0415  # slow

    return session.load(ClientSettings, "client")


def _load_hooks(session: Session, settings: "ClientSettings") -> "Hooks | None":
    """Return the hooks of the configuration, None where it has none."""
    from runpod_client import config  # noqa: PLC0415  # slow

    table, source = config.load_table(
        "hooks",
        environ=session.environ,
        config_file=session.config_file,
        profile=session.profile,
    )
    if not table:
        return None
    from runpod_client.hook_settings import parse_hooks  # noqa: PLC0415  # slow
    from runpod_client.hooks import Hooks  # noqa: PLC0415

    return Hooks(
        parse_hooks(table, source=source),
        environ=session.environ,
        api_key=settings.api_key,
    )


def with_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `Session` and a client."""

    @console.options()
    @functools.wraps(function)
    def wrapper(session: Session, /, *args: Any, **kwargs: Any) -> Any:
        from runpod_client.opening import open_client  # noqa: PLC0415  # slow

        settings = load_settings(session)
        with open_client(settings, hooks=_load_hooks(session, settings)) as client:
            return function(session, client, *args, **kwargs)

    return wrapper
