"""The direction of imports, as a table, checked on every source file."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# package -> the packages of ours it may import
ALLOWED = {
    "runpod_client": set[str](),
    "runpod_ssh": {"runpod_client"},
    "runner_installer": {"runpod_client", "runpod_ssh"},
    "runpod_hub": {"runpod_client", "runpod_ssh", "runner_installer"},
    "runpod_sim": set[str](),
}
# modules of runpod_client that others may import directly; all else through the root
SHARED = {
    "runpod_client.config",
    "runpod_client.console",
    "runpod_client.lazy_group",
    "runpod_client.logs",
    "runpod_client.pod_options",
    "runpod_client.sheets",
}

# Inside a package: a module may import only modules of lower or equal rank.
# What is not named has rank 2, an operation.
RANKS = {
    "errors": 0,
    "model": 0,
    "clock": 0,
    "exit_codes": 1,
    "transport": 1,
    "connection": 1,
    "calls": 1,
    "channels": 1,
    "connecting": 1,
    "dialing": 1,
    "key_files": 1,
    "listeners": 1,
    "proxy_commands": 1,
    "routes": 1,
    "ssh_config": 1,
    "ssh_failures": 1,
    "standby": 1,
    "taps": 1,
    "github": 1,
    "head_starts": 0,
    "wire": 1,
    "refusals": 1,
    "logs": 1,
    "quota": 1,
    "breakers": 1,
    "failures": 1,
    "answers": 1,
    "bodies": 1,
    "deadlines": 1,
    "credentials": 1,
    "repetition": 1,
    "app": 3,
    "demo": 3,
    "cli": 4,
    "entry": 4,
    "__init__": 4,
}
# `github` is the transport of runner_installer but a face of the simulator
RANK_EXCEPTIONS = {
    ("runpod_sim", "github"): 2,
    **{
        ("runner_installer", f"github_{part}"): 1
        for part in (
            "auth", "bases", "cache", "jobs", "limits", "lists", "needs", "refusals",
            "session", "settings", "wire",
        )
    },
}  # fmt: skip

# third-party library -> the only modules that may import it
ONLY_IN = {
    "asyncssh": {
        "runpod_ssh.channels",
        "runpod_ssh.connection",
        "runpod_ssh.connecting",
        "runpod_ssh.key_files",
        "runpod_ssh.listeners",
        "runpod_ssh.ssh_config",
        "runpod_ssh.ssh_failures",
        "runpod_sim.asyncssh_server",
        "runpod_sim.ssh_proxy",
    },
    "requests": {
        "runpod_client.transport",
        "runpod_client.failures",
        "runpod_client.bodies",
        "runpod_client.deadlines",
        "runner_installer.actions_service",
        "runner_installer.github_session",
        "runner_installer.tarball",
    },
    "sqlalchemy": {"runpod_hub.store", "runpod_hub.migrations", "runpod_hub.tables"},
    "mcp": {"runpod_hub.mcp_tools"},
    "jwt": {"runner_installer.github_auth"},
    "pybreaker": {"runpod_client.breakers"},
    "stamina": {"runpod_client.repetition", "runner_installer.github_session"},
    "structlog": {"runpod_client.logs", "runpod_sim"},
}


def source_files() -> list[Path]:
    return sorted(
        path
        for path in ROOT.glob("pkgs/*/src/**/*.py")
        if "runner_kit" not in path.parts
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[3:]
    return ".".join(parts)


@functools.cache
def imported_modules(path: Path) -> tuple[str, ...]:
    """Return every module a file imports, wherever in the file the import stands."""
    return tuple(_imported_modules(path))


def _imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"relative import in {path}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def is_module(name: str) -> bool:
    package, *rest = name.split(".")
    base = ROOT / "pkgs" / package.replace("_", "-") / "src" / package
    path = base.joinpath(*rest)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_package_is_in_the_table() -> None:
    packages = {path.parent.name for path in ROOT.glob("pkgs/*/src/*/__init__.py")}

    assert packages == set(ALLOWED)


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_packages_import_only_packages_below_them(path: Path) -> None:
    here = module_name(path).split(".")[0]

    for name in imported_modules(path):
        package = name.split(".")[0]
        if package == here or package not in ALLOWED:
            continue
        assert package in ALLOWED[here], f"{path} imports {name}"
        if is_module(name) and "." in name:
            assert name in SHARED, f"{path} imports {name}, not through the root"


def rank_of(name: str) -> int:
    package, *rest = name.split(".")
    head = rest[0] if rest else "__init__"
    return RANK_EXCEPTIONS.get((package, head), RANKS.get(head, 2))


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_modules_import_only_modules_below_them(path: Path) -> None:
    here = module_name(path)
    package = here.split(".")[0]

    for name in imported_modules(path):
        if not name.startswith(f"{package}.") or not is_module(name):
            continue
        assert rank_of(name) <= rank_of(here), f"{here} imports {name}"


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_third_party_libraries_stay_behind_their_module(path: Path) -> None:
    here = module_name(path)

    for name in imported_modules(path):
        library = name.split(".")[0]
        homes = ONLY_IN.get(library)
        if homes is not None:
            allowed = any(here == home or here.startswith(f"{home}.") for home in homes)
            assert allowed, f"{here} imports {library}"
