"""From settings to a client: which wire, which state folder, whose pods."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_client.client import RunPodClient
from runpod_client.cloud import Cloud
from runpod_client.config import ClientSettings, default_identity_secret_file
from runpod_client.errors import ConfigError
from runpod_client.identities import IdentityStore
from runpod_client.intents import Journal
from runpod_client.model import Secret
from runpod_client.nearest import render_nearest
from runpod_client.owners import ensure_owner
from runpod_client.pace import Patience

if TYPE_CHECKING:
    from runpod_client.hooks import Hooks
    from runpod_client.price_history import PriceHistory
    from runpod_client.transport import Transport


def open_client(
    settings: ClientSettings, *, hooks: "Hooks | None" = None
) -> RunPodClient:
    """Return a client for the account the settings name; no call is made yet.

    The wire, which is slow to load, is opened by the first call: it is then that a key
    or a base URL that is no good raises ConfigError.

    Args:
        hooks: Programs that run when something happens to a pod; the client ends what
            is left of them. None runs none.

    Raises:
        ConfigError: There is no API key, or no such dialect.
    """
    if not settings.api_key:
        raise ConfigError(
            "there is no RunPod API key",
            setting="api_key",
            hint="Set RUNPOD_API_KEY_FILE (a file with the key, mode 600) or "
            "RUNPOD_API_KEY. To try without an account: runpod-sim serve",
        )
    _check_dialect(settings.dialect)
    state_dir = settings.state_dir
    # a create counts as never made only after its request has surely ended
    abandon_after = max(90.0, 3 * settings.api_timeout_seconds)
    return RunPodClient(
        functools.partial(open_cloud, settings),
        Journal(state_dir),
        IdentityStore(
            state_dir / "identities",
            secret=settings.identity_secret,
            secret_file=default_identity_secret_file(),
        ),
        owner=lambda: settings.owner or ensure_owner(state_dir),
        patience=Patience(abandon_after_seconds=abandon_after),
        hooks=hooks,
        open_prices=lambda: _open_prices(state_dir),
    )


def _open_prices(state_dir: Path) -> "PriceHistory":
    from runpod_client.price_history import PriceHistory  # noqa: PLC0415  # for bids

    return PriceHistory(state_dir)


def open_cloud(settings: ClientSettings) -> Cloud:
    """Return the wire the settings name: one dialect, or each where it is better."""
    # requests is slow to import and --help has no use for it
    from runpod_client.transport import Transport  # noqa: PLC0415

    _check_dialect(settings.dialect)
    transport = Transport(
        base_url=settings.api_url,
        api_key=settings.api_key or Secret(),
        timeout_seconds=settings.api_timeout_seconds,
    )
    return _DIALECTS[settings.dialect](settings, transport)


def _check_dialect(name: str) -> None:
    if name not in _DIALECTS:
        raise ConfigError(
            f"there is no dialect {name!r}",
            setting="dialect",
            hint=render_nearest(name, _DIALECTS),
        )


def _open_graphql(_settings: ClientSettings, transport: "Transport") -> Cloud:
    from runpod_client.dialects.graphql import GraphQLCloud  # noqa: PLC0415

    return GraphQLCloud(transport)


def _open_rest_v2(_settings: ClientSettings, transport: "Transport") -> Cloud:
    from runpod_client.dialects.rest_v2 import RestV2Cloud  # noqa: PLC0415

    return RestV2Cloud(transport)


def _open_routed(settings: ClientSettings, transport: "Transport") -> Cloud:
    from runpod_client.dialects.decisions import Decisions  # noqa: PLC0415
    from runpod_client.dialects.routing import RoutedCloud  # noqa: PLC0415

    decisions = Decisions(
        settings.state_dir / "dialects.json",
        base_url=settings.api_url,
        api_key=settings.api_key or Secret(),
    )
    return RoutedCloud(
        lambda: _open_graphql(settings, transport),
        lambda: _open_rest_v2(settings, transport),
        decisions,
    )


_DIALECTS: Mapping[str, Callable[[ClientSettings, "Transport"], Cloud]] = {
    "auto": _open_routed,
    "graphql": _open_graphql,
    "rest_v2": _open_rest_v2,
}
