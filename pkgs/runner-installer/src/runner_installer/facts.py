"""Reading what the scripts on a pod print. Pure; a pod is not trusted to be honest."""

import base64
import binascii
import re
from collections.abc import Iterator

import msgspec

from runner_installer.errors import InstallError
from runner_installer.model import InstalledRunner, PodFacts, Scope, parse_scope
from runner_installer.runner_console import parse_console
from runpod_client import ConfigError

# a folder's name becomes part of commands and of questions to GitHub
_FOLDER = re.compile(r"/[^\0\n]*/actions-runner/[A-Za-z0-9][A-Za-z0-9._-]*")


class _Record(msgspec.Struct):
    scope: str
    runner_id: int
    labels: list[str]


def render_record(*, scope: Scope, runner_id: int, labels: tuple[str, ...]) -> bytes:
    """Return what is kept beside a runner, for `parse_runners` to find."""
    record = _Record(scope=str(scope), runner_id=runner_id, labels=list(labels))
    return msgspec.json.encode(record) + b"\n"


def parse_facts(text: str) -> PodFacts:
    """Read the output of probe.sh.

    Raises:
        InstallError: It is cut short or not what the script prints.
    """
    facts: dict[str, str] = {}
    missing: list[str] = []
    for key, value in _pairs(text):
        if key == "missing":
            missing.append(value)
        else:
            facts[key] = value
    try:
        home = facts["home"].rstrip("/") if facts["end"] == "yes" else ""
        free_kb = facts.get("free_kb", "")
        return PodFacts(
            home=home,
            user_id=int(facts["user_id"]),
            os=facts["os"],
            architecture=facts["architecture"],
            missing_programs=tuple(missing),
            has_libicu=facts["libicu"] == "yes" if "libicu" in facts else None,
            has_default_signal=facts.get("default_signal") == "yes",
            free_disk_mb=int(free_kb) // 1024 if free_kb.isdecimal() else None,
        )
    except (KeyError, ValueError) as error:
        raise InstallError(
            "the pod's answer to the probe is incomplete",
            step="probe",
            hint="Does its login shell print something or end early? "
            "Try `runpod-ssh exec POD -- uname -a`.",
        ) from error


def parse_runners(text: str) -> tuple[InstalledRunner, ...]:
    """Read the output of inspect.sh.

    Raises:
        InstallError: It is cut short.
    """
    groups: list[dict[str, str]] = []
    is_whole = False
    for key, value in _pairs(text):
        if key == "runner":
            groups.append({"runner": value})
        elif key == "end":
            is_whole = True
        elif groups:
            groups[-1][key] = value
    if not is_whole:
        raise InstallError("the pod's list of runners is incomplete", step="inspect")
    return tuple(
        _runner(group) for group in groups if _FOLDER.fullmatch(group.get("folder", ""))
    )


def _runner(group: dict[str, str]) -> InstalledRunner:
    record = _record(group.get("record", ""))
    log_tail = _decoded(group.get("log", "")).decode(errors="replace")
    pid = group.get("pid", "")
    return InstalledRunner(
        name=group["folder"].rsplit("/", 1)[-1],
        folder=group["folder"],
        scope=record[0] if record else None,
        runner_id=record[1].runner_id if record else None,
        labels=tuple(record[1].labels) if record else (),
        pid=int(pid) if pid.isdecimal() else None,
        is_alive=group.get("alive") == "yes",
        console=parse_console(log_tail),
        log_tail=log_tail,
    )


def _record(encoded: str) -> tuple[Scope, _Record] | None:
    try:
        record = msgspec.json.decode(_decoded(encoded), type=_Record)
        return parse_scope(record.scope), record
    except (msgspec.MsgspecError, ConfigError):
        return None


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return b""


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            yield key, value
