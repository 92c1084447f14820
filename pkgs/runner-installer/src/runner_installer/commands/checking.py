"""`check`: a workflow is judged before it costs money.

Arguments in, findings out. The rules are in `runner_installer.checking`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner_installer.exit_codes import EXIT_CODES
from runpod_client import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

    from runner_installer.checking.findings import Finding
    from runner_installer.checking.knowledge import GPU, Knowledge

_FOLDER = Path(".github/workflows")
# the commands whose calls are looked at
_JUDGED = ("up", "down")


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "--pools",
    "pools_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The pools that `serve` keeps: their labels count as runners there are.",
)
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME",
    help="A secret the repository has; repeatable. With none, names are not checked.",
)
@click.option(
    "--secrets-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of such names, a line each: gh secret list --json name -q '.[].name'",
)
@click.option(
    "--offline", is_flag=True, help="Do not ask RunPod about GPU types and prices."
)
@click.option("--strict", is_flag=True, help="Fail for warnings too.")
@console.options(codes=EXIT_CODES)
def check(
    session: console.Session,
    /,
    *,
    paths: tuple[Path, ...],
    secret_names: tuple[str, ...],
    secrets_file: Path | None,
    pools_file: Path | None,
    offline: bool,
    strict: bool,
) -> None:
    """Find mistakes in workflows before a pod is paid for.

    Looks for jobs that no runner will take, pods that are never given back, secrets
    that are missing or in the open, GPUs, prices and templates that do not exist, and
    names that lead nowhere. Without FILE: all of .github/workflows. GPU types are
    compared with RunPod's where there is an API key. Nothing is rented.

    \b
    Examples:
      runner-installer check
      runner-installer check .github/workflows/train.yml --secret RUNPOD_API_KEY
      runner-installer check --pools runners.toml --offline --json
    """  # noqa: D301  # click wants a real backspace
    from runner_installer.checking.check import check_text  # noqa: PLC0415  # lazy

    files = _list_files(paths)
    names = _read_names(secret_names, secrets_file)
    knowledge = _gather(session, files[0], names, pools_file, offline=offline)
    found = [
        (path, finding)
        for path in files
        for finding in check_text(_read(path), knowledge)
    ]
    if session.environ.get("GITHUB_ACTIONS") == "true":
        for path, finding in found:
            session.note(_render_command(path, finding))
    session.emit(
        [_document(path, finding) for path, finding in found],
        lambda: _render(files, found, knowledge),
    )
    _judge(files, [finding for _, finding in found], strict=strict)


def _list_files(paths: tuple[Path, ...]) -> "list[Path]":
    from runpod_client import ConfigError  # noqa: PLC0415  # not for --help

    if paths:
        return list(paths)
    found = sorted(p for end in ("*.yml", "*.yaml") for p in _FOLDER.glob(end))
    if not found:
        raise ConfigError(
            f"there are no workflows in {_FOLDER}",
            setting="FILE",
            hint="Go to the repository's folder, or name a file.",
        )
    return found


def _read(path: Path) -> str:
    from runpod_client import ConfigError  # noqa: PLC0415  # not for --help

    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"{path} cannot be read: {reason}", setting="FILE", source=str(path)
        ) from error


def _read_names(given: tuple[str, ...], file: Path | None) -> "frozenset[str] | None":
    if not given and file is None:
        return None
    lines = _read(file).splitlines() if file else []
    return frozenset(line.strip() for line in (*given, *lines) if line.strip())


def _gather(
    session: console.Session,
    path: Path,
    secrets: "frozenset[str] | None",
    pools_file: Path | None,
    *,
    offline: bool,
) -> "Knowledge":
    from runner_installer.checking import gathering  # noqa: PLC0415  # lazy
    from runner_installer.checking.knowledge import Knowledge  # noqa: PLC0415
    from runpod_client import list_templates  # noqa: PLC0415
    from runpod_client.config import read_layers  # noqa: PLC0415

    layers = read_layers(
        environ=session.environ,
        config_file=session.config_file,
        profile=session.profile,
    )
    return Knowledge(
        options={name: gathering.list_options(_command(name)) for name in _JUDGED},
        actions=gathering.list_actions(_find_root(path)),
        pool_labels=_pool_labels(pools_file),
        secrets=secrets,
        gpus=None if offline else _ask_gpus(session),
        templates=gathering.list_known_templates(list_templates(layers)),
    )


def _command(name: str) -> click.Command:
    """Return another command of this program, whose options say what is right."""
    context = click.get_current_context().find_root()
    root = context.command
    command = root.get_command(context, name) if isinstance(root, click.Group) else None
    if command is None:
        raise LookupError(name)
    return command


def _find_root(path: Path) -> Path:
    """Return the repository a workflow lies in; the working directory without one."""
    for folder in path.resolve().parents:
        if folder.name == ".github":
            return folder.parent
    return Path.cwd()


def _pool_labels(file: Path | None) -> "Mapping[str, frozenset[str]] | None":
    if file is None:
        return None
    from runner_installer.pools import read_pools  # noqa: PLC0415  # lazy

    return {pool.name: frozenset(pool.labels) for pool in read_pools(file).pools}


def _ask_gpus(session: console.Session) -> "tuple[GPU, ...] | None":
    """Return what RunPod rents; None without a key, which is said."""
    from runner_installer.checking.gathering import list_gpus  # noqa: PLC0415  # lazy
    from runpod_client import ClientSettings, open_client  # noqa: PLC0415

    settings = session.load(ClientSettings, "client")
    if settings.api_key is None:
        session.note("GPU types and prices are not checked: there is no RunPod API key")
        return None
    with open_client(settings) as client:
        return list_gpus(client.list_gpu_offers())


def _document(path: Path, finding: "Finding") -> dict[str, Any]:
    return {
        "file": str(path),
        "line": finding.place.line,
        "column": finding.place.column,
        "severity": str(finding.severity),
        "rule": finding.rule,
        "message": finding.message,
        "hint": finding.hint,
    }


def _render(
    files: "Sequence[Path]",
    found: "Sequence[tuple[Path, Finding]]",
    knowledge: "Knowledge",
) -> "Text":
    from rich.text import Text  # noqa: PLC0415  # kept out of --help

    text = Text()
    for path, finding in found:
        colour = "red" if finding.severity == "error" else "yellow"
        text.append(f"{path}:{finding.place.line}:{finding.place.column}: ", "dim")
        text.append(str(finding.severity), colour)
        text.append(f": {finding.message} ")
        text.append(f"[{finding.rule}]\n", "dim")
        if finding.hint:
            text.append(f"    {finding.hint}\n")
    if not found:
        prices = "" if knowledge.gpus is None else ", GPU types and prices included"
        text.append(f"{_count(len(files), 'workflow')} without a mistake{prices}")
    text.rstrip()
    return text


def _render_command(path: Path, finding: "Finding") -> str:
    """Return the line that puts a finding onto the run's page and into the diff."""
    from runner_installer.workflow_files import escape  # noqa: PLC0415  # lazy

    at = f"file={path},line={finding.place.line},col={finding.place.column}"
    said = f"{finding.message}. {finding.hint}".strip()
    return f"::{finding.severity} {at},title={finding.rule}::{escape(said)}"


def _judge(
    files: "Sequence[Path]", found: "Sequence[Finding]", *, strict: bool
) -> None:
    from runner_installer.errors import WorkflowCheckError  # noqa: PLC0415  # lazy

    errors = sum(finding.severity == "error" for finding in found)
    if errors or (strict and found):
        raise WorkflowCheckError(
            f"{_count(len(found), 'finding')} in {_count(len(files), 'workflow')}",
            hint="Nothing was rented.",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
