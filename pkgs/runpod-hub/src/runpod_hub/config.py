"""The hub's settings, declared once; how they are loaded is `runpod_client.config`."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from runpod_client import ConfigError, Secret
from runpod_client.config import default_state_dir, setting

SECTION = "hub"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_LEAST_TOKEN_LENGTH = 16


def _default_state_dir() -> Path:
    return default_state_dir() / "hub"


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """What the hub needs beside the client's settings."""

    host: str = setting(
        "Address to listen on",
        env="RUNPOD_HUB_HOST",
        default="127.0.0.1",
        flag="--host",
    )
    port: int = setting(
        "Port to listen on; 0 takes a free one",
        env="RUNPOD_HUB_PORT",
        default=8400,
        flag="--port",
    )
    interval_seconds: float = setting(
        "Time between two looks at RunPod",
        env="RUNPOD_HUB_INTERVAL",
        default=60.0,
        unit="s",
        flag="--interval",
    )
    state_dir: Path = setting(
        "Folder for the hub's database, token and session secret",
        env="RUNPOD_HUB_STATE_DIR",
        default_factory=_default_state_dir,
    )
    token: Secret | None = setting(
        "Token for the API and the login; made and kept in the state folder if unset",
        env="RUNPOD_HUB_TOKEN",
        default=None,
    )
    allowed_hosts: str = setting(
        "Host names the hub answers to beside loopback, separated by commas",
        env="RUNPOD_HUB_ALLOWED_HOSTS",
        default="",
    )
    alert_usd_per_hour: Decimal = setting(
        "Hourly cost of all pods above which the hub warns",
        env="RUNPOD_HUB_ALERT_USD_PER_HOUR",
        default=Decimal(5),
        unit="USD/h",
    )
    agent_timeout_seconds: float = setting(
        "Silence after which an agent counts as disconnected",
        env="RUNPOD_HUB_AGENT_TIMEOUT",
        default=180.0,
        unit="s",
    )
    session_hours: float = setting(
        "How long a login to the dashboard lasts",
        env="RUNPOD_HUB_SESSION_HOURS",
        default=12.0,
        unit="h",
    )
    retention_days: float = setting(
        "How long samples and ticks are kept",
        env="RUNPOD_HUB_RETENTION_DAYS",
        default=14.0,
        unit="days",
    )

    @property
    def database(self) -> Path:
        """Return where the hub's database lies."""
        return self.state_dir / "hub.sqlite3"

    @property
    def host_names(self) -> frozenset[str]:
        """Return every name the hub answers to, lower case, without ports."""
        named = {name.strip().lower() for name in self.allowed_hosts.split(",")}
        own = set() if self.host in {"0.0.0.0", "::"} else {self.host.lower()}  # noqa: S104  # compared, not bound
        return LOOPBACK_HOSTS | own | (named - {""})


def check(settings: HubSettings, *, allow_remote: bool) -> None:
    """Refuse values that parse but make no sense, or that would expose the hub.

    Raises:
        ConfigError: Names the setting and what would be accepted.
    """
    ranges = {
        "interval_seconds": (1.0, 86_400.0),
        "port": (0, 65_535),
        "agent_timeout_seconds": (1.0, 86_400.0),
        "session_hours": (0.01, 8_760.0),
        "retention_days": (0.01, 36_500.0),
        "alert_usd_per_hour": (0, 1_000_000),
    }
    for name, (least, most) in ranges.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise ConfigError(
                f"{name} is {value}, but must be from {least:g} to {most:g}",
                setting=name,
            )
    if settings.token is not None and len(settings.token) < _LEAST_TOKEN_LENGTH:
        raise ConfigError(
            f"the hub's token is shorter than {_LEAST_TOKEN_LENGTH} characters",
            setting="token",
            hint="Make one: openssl rand -hex 32. Or leave it out: the hub makes one.",
        )
    if settings.host not in LOOPBACK_HOSTS and not allow_remote:
        raise ConfigError(
            f"the hub would listen on {settings.host}, open to other machines,"
            " in plain HTTP",
            setting="host",
            hint="Put a TLS proxy before a loopback hub, or pass --allow-remote.",
        )
