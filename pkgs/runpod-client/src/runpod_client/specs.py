"""A wanted pod, checked before anything is sent; and the pieces it is written in.

Pure: text in, values out. RunPod answers a senseless request with "no capacity" or with
a pod that cannot be reached, so what can be known here is refused here.
"""

import re
from collections.abc import Iterable

from runpod_client.errors import ConfigError
from runpod_client.model import PodSpec

MAX_NAME_LENGTH = 60
MAX_ENV_VARIABLES = 50
MAX_HTTP_PORTS = 10
_PORT = re.compile(r"([1-9][0-9]{0,4})(?:/(tcp|http))?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_spec(spec: PodSpec) -> None:
    """Do nothing for a spec that makes sense.

    Raises:
        ConfigError: Its first fault.
    """
    fault = _find_fault(spec)
    if fault is not None:
        raise ConfigError(fault, setting="spec")


def _find_fault(spec: PodSpec) -> str | None:
    bid = spec.bid_usd_per_gpu_hour
    http_ports = sum(port.endswith("/http") for port in spec.ports)
    bad_port = next((p for p in spec.ports if parse_port(p) != p), None)
    bad_name = next((k for k in spec.env if not _ENV_NAME.fullmatch(k)), None)
    faults = (
        (not spec.name.strip() or not spec.name.isprintable(), "a pod needs a name"),
        (
            len(spec.name) > MAX_NAME_LENGTH,
            f"the pod name has {len(spec.name)} characters; {MAX_NAME_LENGTH} are "
            "allowed",
        ),
        (not spec.gpu_types, "a pod needs at least one GPU type"),
        (not spec.image.strip(), "a pod needs an image"),
        (spec.gpu_count < 1, f"a pod needs a GPU, not {spec.gpu_count}"),
        (
            spec.container_disk_gb < 1,
            f"a container disk of {spec.container_disk_gb} GB is too small",
        ),
        (spec.volume_gb < 0, f"a volume of {spec.volume_gb} GB makes no sense"),
        (bid is not None and bid <= 0, f"a bid of {bid} USD makes no sense"),
        (bad_port is not None, f"{bad_port!r} is no port like 22/tcp or 8188/http"),
        (
            http_ports > MAX_HTTP_PORTS,
            f"{http_ports} HTTP ports are wanted; RunPod allows {MAX_HTTP_PORTS}",
        ),
        (bad_name is not None, f"{bad_name!r} is no name of a variable"),
        (
            len(spec.env) > MAX_ENV_VARIABLES,
            f"{len(spec.env)} variables are wanted; RunPod allows {MAX_ENV_VARIABLES}",
        ),
    )
    return next((text for is_faulty, text in faults if is_faulty), None)


def parse_port(text: str) -> str:
    """Return a port as RunPod writes it; a number alone means tcp.

    Raises:
        ConfigError: It is no port.
    """
    found = _PORT.fullmatch(text.strip().lower())
    if not found or int(found[1]) > 65535:
        raise ConfigError(
            f"{text!r} is no port like 22/tcp or 8188/http", setting="ports"
        )
    return f"{found[1]}/{found[2] or 'tcp'}"


def parse_env(rows: Iterable[str], *, source: str) -> dict[str, str]:
    """Return `KEY=VALUE` rows as a mapping; the last of a name wins.

    Raises:
        ConfigError: A row has no name or no `=`; the value is not shown.
    """
    env = {}
    for number, row in enumerate(rows, start=1):
        name, separator, value = row.partition("=")
        if not separator or not _ENV_NAME.fullmatch(name.strip()):
            raise ConfigError(
                f"variable {number} of {source} is not written KEY=VALUE",
                setting="env",
                source=source,
            )
        env[name.strip()] = value
    return env


def parse_env_file(text: str, *, source: str) -> dict[str, str]:
    """Return the variables of a file: KEY=VALUE lines, `#` lines and blanks aside.

    Raises:
        ConfigError: A line is neither.
    """
    lines = (line.strip() for line in text.splitlines())
    rows = [line for line in lines if line and not line.startswith("#")]
    return parse_env(rows, source=source)
