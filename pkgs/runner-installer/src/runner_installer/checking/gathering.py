"""Gathers what a workflow is compared with: our commands, our actions, the account.

The one module here that reads files and may ask RunPod.
"""

import importlib.resources
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path

import click
import msgspec

from runner_installer.checking.knowledge import GPU, Action, Option, Template
from runner_installer.checking.source import SourceError, Table, parse_source
from runpod_client import (
    Error,
    GPUOffer,
    PodTemplate,
    check_arguments,
)

# what `up` prints and a matrix is made of
ACTIONS = ("gpu-runner-up", "gpu-runner-down")
WORKFLOWS = ("gpu-job.yml",)


class _Described(msgspec.Struct):
    """One of our actions, in the package's own list of them."""

    inputs: dict[str, bool]
    outputs: list[str]
    secrets: dict[str, bool] = {}


def list_options(command: click.Command) -> dict[str, Option]:
    """Return a command's options, with click's own judgement of values."""
    found = {}
    for param in command.params:
        if not isinstance(param, click.Option):
            continue
        option = Option(is_flag=param.is_flag, find_fault=partial(_find_fault, param))
        for name in (*param.opts, *param.secondary_opts):
            if name.startswith("--"):
                found[name[2:]] = option
    return found


def _find_fault(param: click.Option, value: str) -> str | None:
    context = click.Context(click.Command("check"))
    try:
        param.type.convert(value, param, context)
    except click.BadParameter as error:
        return error.message
    return None


def list_gpus(offers: Iterable[GPUOffer]) -> tuple[GPU, ...]:
    """Return the GPU types of offers, those of the two clouds taken together."""
    by_type: dict[str, list[GPUOffer]] = {}
    for offer in offers:
        by_type.setdefault(offer.gpu_type, []).append(offer)
    return tuple(map(_gpu, by_type.values()))


def _gpu(offers: list[GPUOffer]) -> GPU:
    prices = [o.usd_per_gpu_hour for o in offers if o.usd_per_gpu_hour is not None]
    counts = [o.max_gpu_count for o in offers if o.max_gpu_count is not None]
    least: Decimal | None = min(prices, default=None)
    return GPU(
        names=(offers[0].gpu_type, offers[0].display_name),
        memory_gb=offers[0].memory_gb,
        max_count=max(counts) if len(counts) == len(offers) else None,
        usd_per_hour=least,
    )


def list_known_templates(templates: Iterable[PodTemplate]) -> dict[str, Template]:
    """Return pod templates by name, each with the judge of its parameters."""
    return {each.name: Template(find_fault=_judge(each)) for each in templates}


def _judge(template: PodTemplate) -> Callable[[Mapping[str, str]], str | None]:
    def find_fault(given: Mapping[str, str]) -> str | None:
        try:
            check_arguments(template, given)
        except Error as error:
            return f"{error} {error.hint}".strip()
        return None

    return find_fault


def list_actions(root: Path) -> dict[str, Action]:
    """Return our actions and reusable workflows as they are described.

    Args:
        root: The repository; what lies there counts more than what the package says.
    """
    return {**_packaged(), **read_actions(root)}


def read_actions(root: Path) -> dict[str, Action]:
    """Return those of our actions and reusable workflows that lie in a repository."""
    found = {}
    for name in ACTIONS:
        table = _read(root / ".github" / "actions" / name / "action.yml")
        if table is not None:
            found[name] = Action(
                inputs=_inputs(table), outputs=frozenset(_names(table, "outputs"))
            )
    for name in WORKFLOWS:
        table = _read(root / ".github" / "workflows" / name)
        events = table.find_table("on") if table else None
        called = events.find_table("workflow_call") if events else None
        if called is not None:
            found[name] = Action(
                inputs=_inputs(called),
                outputs=frozenset(_names(called, "outputs")),
                secrets=_required(called.find_table("secrets")),
            )
    return found


def _packaged() -> dict[str, Action]:
    folder = importlib.resources.files("runner_installer") / "assets"
    text = folder.joinpath("actions.json").read_bytes()
    described = msgspec.json.decode(text, type=dict[str, _Described])
    return {
        name: Action(
            inputs=each.inputs, outputs=frozenset(each.outputs), secrets=each.secrets
        )
        for name, each in described.items()
    }


def _read(path: Path) -> Table | None:
    try:
        tree = parse_source(path.read_text())
    except (OSError, UnicodeDecodeError, SourceError):
        return None
    return tree if isinstance(tree, Table) else None


def _inputs(table: Table) -> dict[str, bool]:
    return _required(table.find_table("inputs"))


def _required(table: Table | None) -> dict[str, bool]:
    """Return what must be given: required, and without a default."""
    found = {}
    for key, value in table.entries if table else ():
        needed = value.find_text("required") if isinstance(value, Table) else None
        has_default = isinstance(value, Table) and value.get("default") is not None
        found[key.value] = (
            needed is not None and needed.value == "true" and not has_default
        )
    return found


def _names(table: Table, key: str) -> list[str]:
    inner = table.find_table(key)
    return [name.value for name in inner.names] if inner else []


def render_actions(root: Path) -> str:
    """Return the package's list of our actions, from the files of this repository."""
    described = {
        name: {
            "inputs": dict(action.inputs),
            "outputs": sorted(action.outputs),
            "secrets": dict(action.secrets),
        }
        for name, action in sorted(read_actions(root).items())
    }
    encoded = msgspec.json.encode(described)
    return msgspec.json.format(encoded, indent=2).decode() + "\n"
