"""A wanted pod, checked before anything is sent; and the pieces it is written in.

Text in, values out. RunPod answers a senseless request with "no capacity" or with
a pod that cannot be reached, so what can be known here is refused here.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from runpod_client.errors import ConfigError
from runpod_client.marks import MARK_LENGTH
from runpod_client.model import Constraints, PodSpec

# 60 is known to work; the mark behind the name needs its part of it
MAX_NAME_LENGTH = 60 - MARK_LENGTH
# 50 are allowed, of which the marks and PUBLIC_KEY take five
MAX_ENV_VARIABLES = 45
MAX_HTTP_PORTS = 10
_PORT = re.compile(r"([1-9][0-9]{0,4})(?:/(tcp|http))?")
_CUDA = re.compile(r"\d+\.\d+")
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
    faults = (*_name_faults(spec), *_disk_faults(spec), *_env_faults(spec))
    for place in (spec.place, *spec.fallbacks):
        faults += tuple(_place_faults(place))
    return next((text for is_faulty, text in faults if is_faulty), None)


def _name_faults(spec: PodSpec) -> Iterator[tuple[bool, str]]:
    yield not spec.name.strip() or not spec.name.isprintable(), "a pod needs a name"
    yield (
        len(spec.name) > MAX_NAME_LENGTH,
        f"the pod name has {len(spec.name)} characters; {MAX_NAME_LENGTH} are allowed",
    )
    yield (
        not spec.image.strip() and not spec.template_id,
        "a pod needs an image",
    )
    yield (
        spec.lease is not None and spec.lease.total_seconds() < 60,
        f"a lease of {spec.lease} is shorter than a minute",
    )


def _disk_faults(spec: PodSpec) -> Iterator[tuple[bool, str]]:
    disk = f"a container disk of {spec.container_disk_gb} GB is too small"
    yield spec.container_disk_gb < 1, disk
    yield spec.volume_gb < 0, f"a volume of {spec.volume_gb} GB makes no sense"
    yield (
        bool(spec.volume_gb and spec.network_volume_id),
        "a pod has a volume disk or a network volume, not both",
    )
    yield (
        not spec.volume_mount_path.startswith("/"),
        f"{spec.volume_mount_path!r} is no absolute path to mount a volume at",
    )


def _env_faults(spec: PodSpec) -> Iterator[tuple[bool, str]]:
    http_ports = sum(port.endswith("/http") for port in spec.ports)
    bad_port = next((p for p in spec.ports if not is_port(p)), None)
    bad_name = next((k for k in spec.env if not _ENV_NAME.fullmatch(k)), None)
    yield bad_port is not None, f"{bad_port!r} is no port like 22/tcp or 8188/http"
    yield (
        http_ports > MAX_HTTP_PORTS,
        f"{http_ports} HTTP ports are wanted; RunPod allows {MAX_HTTP_PORTS}",
    )
    yield bad_name is not None, f"{bad_name!r} is no name of a variable"
    yield (
        len(spec.env) > MAX_ENV_VARIABLES,
        f"{len(spec.env)} variables are wanted; RunPod allows {MAX_ENV_VARIABLES}",
    )


def _place_faults(place: Constraints) -> Iterator[tuple[bool, str]]:
    most = place.max_price_usd_per_hour
    yield place.gpu_count < 1, f"a pod needs a GPU, not {place.gpu_count}"
    yield place.min_memory_gb < 0, f"{place.min_memory_gb} GB of GPU memory?"
    yield (
        bool(place.min_cuda) and not _CUDA.fullmatch(place.min_cuda),
        f"{place.min_cuda!r} is no CUDA version like 12.4",
    )
    yield most is not None and most <= 0, f"a price of {most} USD makes no sense"


def is_port(text: str) -> bool:
    """Return whether a text is a port as RunPod writes them."""
    found = _PORT.fullmatch(text)
    return bool(found and found[2]) and int(text.partition("/")[0]) <= 65535


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


def read_env(path: str | None, rows: Iterable[str]) -> dict[str, str]:
    """Return the variables of a file and of KEY=VALUE rows, which go before it.

    Raises:
        ConfigError: The file cannot be read, or a line is no variable.
    """
    env = {}
    if path is not None:
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise ConfigError(
                f"cannot read {path}: {reason}", source="--env-file"
            ) from error
        env = parse_env_file(text, source=path)
    return env | parse_env(rows, source="--env")
