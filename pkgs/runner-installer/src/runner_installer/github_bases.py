"""Where a GitHub is: the address people see and the address of its API.

    web                     API
    https://github.com      https://api.github.com
    https://SUB.ghe.com     https://api.SUB.ghe.com
    https://HOST            https://HOST/api/v3      (GitHub Enterprise Server)

The runner application derives the second from the first in the same way.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from runner_installer.model import Scope
from runpod_client import ConfigError

PUBLIC_WEB_URL = "https://github.com"
_PUBLIC_HOSTS = {"github.com", "www.github.com"}
_SERVER_ROOT = "/api/v3"
_TENANTS = ".ghe.com"


@dataclass(frozen=True, kw_only=True)
class Bases:
    """The two addresses of one GitHub, without a slash at their ends.

    Attributes:
        is_hosted: Whether GitHub itself runs it, so that its published limits hold;
            on an Enterprise Server they are off unless its owner says otherwise.
    """

    web_url: str
    api_url: str

    @property
    def is_hosted(self) -> bool:
        """Tell whether this is github.com or a tenant of ghe.com."""
        host = urlsplit(self.web_url).hostname or ""
        return host in _PUBLIC_HOSTS or host.endswith(_TENANTS)

    def render_runner_url(self, scope: Scope) -> str:
        """Return what `config.sh --url` takes for a scope."""
        return f"{self.web_url}/{scope}"

    def check_host(self, scope: Scope) -> None:
        """Refuse a scope whose address named another server than this one.

        Raises:
            ConfigError: It did; asking here would be about something else.
        """
        here = (urlsplit(self.web_url).netloc, urlsplit(self.api_url).netloc)
        if not scope.host or scope.host.removeprefix("www.") in here:
            return
        raise ConfigError(
            f"{scope} is on {scope.host}, but the settings are for {here[0]}",
            setting="server_url",
            source="GITHUB_SERVER_URL",
            hint=f"Set GITHUB_SERVER_URL=https://{scope.host} and its own token.",
        )


def derive_bases(web_url: str) -> Bases:
    """Return the addresses of the GitHub that people see at `web_url`.

    Raises:
        ConfigError: It would send a token in the clear, or is no address.
    """
    check_url(web_url, what="GITHUB_SERVER_URL")
    parts = urlsplit(web_url)
    host = parts.hostname or ""
    if host in _PUBLIC_HOSTS:
        return Bases(web_url=PUBLIC_WEB_URL, api_url="https://api.github.com")
    web_url = f"{parts.scheme}://{parts.netloc}"
    if host.endswith(_TENANTS):
        return Bases(web_url=web_url, api_url=f"{parts.scheme}://api.{parts.netloc}")
    return Bases(web_url=web_url, api_url=web_url + _SERVER_ROOT)


def find_bases(*, api_url: str, server_url: str) -> Bases:
    """Return the addresses that settings mean, of which either may be empty.

    Raises:
        ConfigError: One would send a token in the clear, or is no API's.
    """
    if not api_url:
        return derive_bases(server_url or PUBLIC_WEB_URL)
    check_url(api_url, what="GITHUB_API_URL")
    _refuse_pages(api_url)
    if server_url:
        check_url(server_url, what="GITHUB_SERVER_URL")
    web_url = server_url or _web_url_of(api_url)
    return Bases(web_url=web_url.rstrip("/"), api_url=api_url.rstrip("/"))


def check_url(url: str, *, what: str) -> None:
    """Refuse an address that is not https, unless it is on this machine.

    Raises:
        ConfigError: It is another.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if host and not parts.username and parts.scheme == "https":
        return
    if host and parts.scheme == "http" and _is_loopback(host):
        return
    raise ConfigError(
        f"{what} is {_without_user(url)!r}, which is no https address",
        setting="api_url",
        source=what,
        hint="Plain http is allowed on this machine only: a token would be readable.",
    )


def _refuse_pages(api_url: str) -> None:
    parts = urlsplit(api_url)
    host = parts.hostname or ""
    is_page = host in _PUBLIC_HOSTS
    is_page |= host.endswith(_TENANTS) and not host.startswith("api.")
    if is_page:
        right = derive_bases(f"https://{host}").api_url
        raise ConfigError(
            f"GITHUB_API_URL is {api_url!r}, which serves pages and no API",
            setting="api_url",
            source="GITHUB_API_URL",
            hint=f"Leave it out, or set it to {right}",
        )


def _web_url_of(api_url: str) -> str:
    parts = urlsplit(api_url)
    host = parts.netloc
    if host == "api.github.com" or (
        host.endswith(_TENANTS) and host.startswith("api.")
    ):
        host = host.removeprefix("api.")
    return f"{parts.scheme}://{host}"


def _without_user(url: str) -> str:
    """Return an address without the password that somebody may have put into it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
