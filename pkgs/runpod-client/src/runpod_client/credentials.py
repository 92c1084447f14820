"""Where the key may go: never in the clear, never to a senseless address."""

import ipaddress
from urllib.parse import urlsplit

from runpod_client import refusals
from runpod_client.errors import ConfigError
from runpod_client.model import Secret

_ADDRESS_HINT = "Set RUNPOD_API_BASE_URL to an address like https://api.runpod.io"


def check_base_url(base_url: str) -> bool:
    """Return whether the URL is this machine's; refuse to send a key in the clear.

    Raises:
        ConfigError: It is no http(s) address, or plain http to another machine.
    """
    try:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.username:
        raise ConfigError(
            "the RunPod API's base URL is no http(s) address",
            setting="api_url",
            hint=_ADDRESS_HINT,
        )
    is_loopback = host == "localhost" or _is_loopback_address(host)
    if parts.scheme == "http" and not is_loopback:
        raise ConfigError(
            f"the API key is not sent to {host} over plain http",
            setting="api_url",
            hint=_ADDRESS_HINT,
        )
    return is_loopback


def check_key(api_key: Secret) -> None:
    """Refuse a key that cannot stand in a header, without showing it.

    Raises:
        ConfigError: It holds characters that no key has.
    """
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise ConfigError(
            "the RunPod API key holds characters that no key has",
            setting="api_key",
            hint=refusals.KEY_HINT,
        )


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
