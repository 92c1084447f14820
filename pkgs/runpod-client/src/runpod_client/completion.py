"""Shell completion of pod names and GPU types, from a cache of a minute.

Completion must never be slow, never fail and never say anything: what cannot be known
at once is not offered. It must not be imported with anything heavy, since every command
line names it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import click
    from click.shell_completion import CompletionItem

    from runpod_client.client import RunPodClient

    Row = tuple[str, str]

_MAX_AGE_SECONDS = 60.0
_API_TIMEOUT_SECONDS = 2.0


def complete_pods(
    _ctx: "click.Context", _param: "click.Parameter", incomplete: str
) -> "list[CompletionItem]":
    """Offer the pods by name, or by id where a name is ambiguous."""

    def ask(client: "RunPodClient") -> "list[Row]":
        from runpod_client.sheets import names_of  # noqa: PLC0415

        pods = client.list_pods()
        names = names_of((pod.name, pod.pod_id) for pod in pods)
        return [
            (name, f"{pod.status.lower()}, {pod.gpu_type} x {pod.gpu_count}")
            for name, pod in zip(names, pods, strict=True)
        ]

    return _offer("pods", ask, incomplete)


def complete_gpu_types(
    _ctx: "click.Context", _param: "click.Parameter", incomplete: str
) -> "list[CompletionItem]":
    """Offer the GPU types by display name."""

    def ask(client: "RunPodClient") -> "list[Row]":
        offers = client.list_gpu_offers()
        rows = {o.display_name: f"{o.memory_gb} GB, {o.gpu_type}" for o in offers}
        return list(rows.items())

    return _offer("gpu_types", ask, incomplete)


def _offer(
    kind: str, ask: "Callable[[RunPodClient], list[Row]]", incomplete: str
) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    prefix = incomplete.casefold()
    return [
        CompletionItem(name, help=about)
        for name, about in _rows(kind, ask)
        if name.casefold().startswith(prefix)
    ]


def _rows(kind: str, ask: "Callable[[RunPodClient], list[Row]]") -> "list[Row]":
    """Return what is known, asking RunPod where that is older than a minute."""
    import dataclasses  # noqa: PLC0415
    import os  # noqa: PLC0415
    import time  # noqa: PLC0415

    from runpod_client import config, logs  # noqa: PLC0415
    from runpod_client.errors import Error  # noqa: PLC0415
    from runpod_client.opening import open_client  # noqa: PLC0415

    logs.configure(level="error")
    cache: dict[str, Any] = {}
    try:
        settings = config.load(
            config.ClientSettings, section="client", environ=os.environ
        ).settings
        path = settings.state_dir / "completion.json"
        cache = _read(path)
        known = cache.get(kind, {})
        if time.time() - known.get("at", 0) < _MAX_AGE_SECONDS:
            return [(str(name), str(about)) for name, about in known["rows"]]
        hasty = dataclasses.replace(settings, api_timeout_seconds=_API_TIMEOUT_SECONDS)
        with open_client(hasty) as client:
            rows = ask(client)
        _write(path, {**cache, kind: {"at": time.time(), "rows": rows}})
    except (Error, OSError):
        # a stale name is better than none, and an error has no place to be shown
        return [(str(n), str(a)) for n, a in cache.get(kind, {}).get("rows", [])]
    return rows


def _read(path: "Path") -> dict[str, Any]:
    import json  # noqa: PLC0415

    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: "Path", cache: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    from runpod_client.private_files import write_private  # noqa: PLC0415

    write_private(path, json.dumps(cache).encode())
