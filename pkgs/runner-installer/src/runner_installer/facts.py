"""Reading what the scripts on a pod print. Pure; a pod is not trusted to be honest."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from runner_installer.errors import InstallError
from runner_installer.model import Scope, parse_scope
from runner_installer.pod_model import (
    Account,
    JobStamp,
    PodFacts,
    PodRunner,
    Supervision,
    SupervisorState,
)
from runner_installer.runner_console import parse_console
from runpod_client import ConfigError

# a folder's name becomes part of commands and of questions to GitHub
_FOLDER = re.compile(r"/[^\0\n]*/actions-runner/[A-Za-z0-9][A-Za-z0-9._-]*")

_JOB_FIELDS = (
    "repository",
    "run_id",
    "run_attempt",
    "job",
    "workflow",
    "started_at",
    "completed_at",
    "keep",
)


class _Record(msgspec.Struct):
    scope: str
    runner_id: int | None
    labels: list[str]


def render_record(
    *, scope: Scope, runner_id: int | None, labels: tuple[str, ...]
) -> bytes:
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
        home = (facts["home"].rstrip("/") or "/") if facts["end"] == "yes" else ""
        free_kb = facts.get("free_kb", "")
        return PodFacts(
            home=home,
            user_id=int(facts["user_id"]),
            os=facts["os"],
            architecture=facts["architecture"],
            user=facts.get("user", ""),
            base=facts.get("base", "").rstrip("/") or None,
            missing_programs=tuple(missing),
            has_libicu=facts["libicu"] == "yes" if "libicu" in facts else None,
            free_disk_mb=int(free_kb) // 1024 if free_kb.isdecimal() else None,
            is_home_open=facts.get("home_open") == "yes",
            user_tool=facts.get("user_tool", ""),
            user_way=facts.get("user_way", ""),
        )
    except (KeyError, ValueError) as error:
        raise InstallError(
            "the pod's answer to the probe is incomplete",
            step="probe",
            hint="Does its login shell print something or end early? "
            "Try `runpod-ssh exec POD -- uname -a`.",
        ) from error


def parse_account(text: str, planned: Account) -> Account:
    """Read the output of folders.sh: the user as it is on the pod.

    Raises:
        InstallError: It does not say who that is.
    """
    said = dict(_pairs(text))
    try:
        uid, gid = int(said["uid"]), int(said["gid"])
        home = said["user_home"]
    except (KeyError, ValueError) as error:
        raise InstallError(
            f"the pod does not say who the user {planned.user} is",
            step="folders",
            hint="Look at it with `runpod-ssh shell`, and repeat.",
        ) from error
    if planned.is_own and uid == 0:
        raise InstallError(f"{planned.user} is root on the pod", step="folders")
    return replace(planned, uid=uid, gid=gid, home=home.rstrip("/"))


def parse_runners(text: str) -> tuple[PodRunner, ...]:
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


def _runner(group: dict[str, str]) -> PodRunner:
    record = _record(group.get("record", ""))
    log_tail = _decoded(group.get("log", "")).decode(errors="replace")
    pid, age = group.get("pid", ""), group.get("age", "")
    return PodRunner(
        name=group["folder"].rsplit("/", 1)[-1],
        folder=group["folder"],
        scope=record[0] if record else None,
        runner_id=record[1].runner_id if record else None,
        labels=tuple(record[1].labels) if record else (),
        pid=int(pid) if pid.isdecimal() else None,
        is_alive=group.get("alive") == "yes",
        console=parse_console(log_tail),
        log_tail=log_tail,
        user=group.get("user", ""),
        age_seconds=int(age) if age.isdecimal() else None,
        supervision=_supervision(group.get("supervisor", "")),
        job=_job(group.get("job", "")),
    )


def _supervision(encoded: str) -> Supervision | None:
    said = dict(_pairs(_decoded(encoded).decode(errors="replace")))
    try:
        return Supervision(
            state=SupervisorState(said["state"]),
            restarts=int(said["restarts"]),
            reason=said.get("reason", ""),
        )
    except (KeyError, ValueError):
        return None


def _job(encoded: str) -> JobStamp | None:
    said = dict(_pairs(_decoded(encoded).decode(errors="replace")))
    if said.get("state") not in {"busy", "idle"}:
        return None
    words = {
        name: "".join(c for c in said.get(name, "")[:256] if c.isprintable())
        for name in _JOB_FIELDS
    }
    return JobStamp(is_busy=said["state"] == "busy", **words)


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
