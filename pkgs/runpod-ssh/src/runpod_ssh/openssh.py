"""What a person types, or writes down, to reach a pod with OpenSSH's tools.

The pod's host key is filed under the pod's id, not its address, which RunPod hands on.
"""

import os
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runpod_client import ConfigError, Pod, SSHAddress

TOOLS = ("ssh", "scp", "sftp", "rsync")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NEW_HOST = "accept-new"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How OpenSSH gets to a pod.

    Attributes:
        alias: The name the host key is filed under.
        is_pinned: Whether the file holds the key of the pod's present start.
        variables: Environment that lets ssh open an encrypted key; empty for none.
        jump: Hosts to go through, as `ssh -J` takes them; empty for none.
        is_shell_only: For RunPod's proxy, which refuses clients without a terminal.
    """

    alias: str
    address: SSHAddress
    known_hosts_file: Path
    is_pinned: bool
    identity_file: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    jump: str = ""
    is_shell_only: bool = False


def render_command(way: Way, tool: str = "ssh") -> str:
    """Return a command that works in a clean shell; its arguments are added behind.

    Args:
        tool: One of `TOOLS`. Of scp and rsync the user adds both sides, and calls the
            pod as they like: `pod:PATH`.
    """
    port = str(way.address.port)
    where = f"{way.address.user}@{way.address.host}"
    options = _render_options(way)
    any_name = ["-o", f"HostName={way.address.host}", "-o", f"User={way.address.user}"]
    words = {
        "ssh": ["ssh", *options, "-p", port, where],
        "scp": ["scp", *options, *any_name, "-P", port],
        "sftp": ["sftp", *options, "-P", port, where],
        "rsync": ["rsync", "-e", shlex.join(["ssh", *options, *any_name, "-p", port])],
    }[tool]
    if way.is_shell_only:
        words.insert(1, "-tt")
    if way.variables:
        settings = [f"{name}={value}" for name, value in sorted(way.variables.items())]
        words = ["env", *settings, *words]
    return shlex.join(words)


def _render_options(way: Way) -> list[str]:
    options = []
    if way.identity_file is not None:
        options += ["-i", _path(way.identity_file), "-o", "IdentitiesOnly=yes"]
    if way.jump:
        options += ["-o", f"ProxyJump={way.jump}"]
    for option in (
        f"HostKeyAlias={way.alias}",
        f'UserKnownHostsFile="{_path(way.known_hosts_file)}"',
        f"StrictHostKeyChecking={'yes' if way.is_pinned else _NEW_HOST}",
    ):
        options += ["-o", option]
    return options


def render_config(entries: Iterable[tuple[Pod, Way]], key_loader: str) -> str:
    """Return an OpenSSH client configuration with a block per pod.

    A pod is called by its id and, where that is a word no other pod has, its name.

    Args:
        key_loader: A command that loads the key file written behind it into
            ssh-agent; it runs when ssh is called for the pod. Empty for none.
    """
    listed = list(entries)
    names = [pod.name for pod, _ in listed]
    blocks = [
        _render_block(
            [pod.name, pod.pod_id] if _is_alias(pod.name, names) else [pod.pod_id],
            way,
            key_loader,
        )
        for pod, way in listed
    ]
    header = (
        "# Pods of RunPod, written by: runpod-ssh config. Write it again after a pod\n"
        "# was started: it then has another address and another host key.\n"
    )
    return "\n".join([header, *blocks])


def write_config(path: Path, text: str) -> None:
    """Write a configuration, whole or not at all, for its owner alone.

    Raises:
        ConfigError: It cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(
                os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(text)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}",
            hint="Name another file: --to FILE",
        ) from error


def _is_alias(name: str, names: list[str]) -> bool:
    return _ALIAS.fullmatch(name) is not None and names.count(name) == 1


def _render_block(aliases: list[str], way: Way, key_loader: str) -> str:
    lines = [
        f"Host {' '.join(aliases)}",
        f"    HostName {way.address.host}",
        f"    Port {way.address.port}",
        f"    User {way.address.user}",
        f"    HostKeyAlias {way.alias}",
        f'    UserKnownHostsFile "{_path(way.known_hosts_file)}"',
        f"    StrictHostKeyChecking {'yes' if way.is_pinned else _NEW_HOST}",
    ]
    if way.identity_file is not None:
        lines += [
            f'    IdentityFile "{_path(way.identity_file)}"',
            "    IdentitiesOnly yes",
        ]
    if way.jump:
        lines.append(f"    ProxyJump {way.jump}")
    if way.identity_file is not None and way.variables and key_loader:
        # a configuration cannot name an askpass program: the agent gets the key
        loader = f"{key_loader} {shlex.quote(str(way.identity_file))}"
        # versions of ssh differ in what they make of a quote or a backslash in there
        if not set(loader) & {'"', "\\"}:
            called = ",".join(aliases)
            loader = loader.replace("%", "%%")
            lines.append(f'Match originalhost {called} exec "{loader}"')
    return "\n".join(lines) + "\n"


def _path(path: Path) -> str:
    """Return a path as ssh reads it in options, where % starts a token."""
    return str(path).replace("%", "%%")
