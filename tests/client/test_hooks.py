import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from runpod_client.errors import ConfigError, HookError
from runpod_client.hooks import (
    Hook,
    HookDocument,
    HookEvent,
    Hooks,
    HookSettings,
    OnFailure,
    parse_hooks,
)
from runpod_client.model import Constraints, Pod, PodSpec, PodStatus, Secret
from support.leftovers import processes_mentioning
from support.waiting import wait_for

KEY = Secret("rpa_planted0secret0value")
ENDS_AT = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
POD = Pod(
    pod_id="abc",
    name="trainer",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=2,
    image="img",
    price_usd_per_hour=Decimal("0.78"),
    env={"HF_TOKEN": "planted-variable"},
    owner="me",
    intent_id="3f9a2c1d00000000",
    lease_ends_at=ENDS_AT,
)
SPEC = PodSpec(
    name="trainer",
    image="img",
    place=Constraints(gpu_types=("NVIDIA L4",)),
    env={"HF_TOKEN": "planted-variable"},
    lease=timedelta(hours=2),
)
DOCUMENT = HookDocument(owner="me", pod=POD, spec=SPEC)

Entries = list[dict[str, Any]]


@pytest.fixture
def logged() -> Iterator[Entries]:
    """What was logged while the test ran; every level."""
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc]  # structlog's own name for such dicts


def script(folder: Path, text: str, *, name: str = "hook") -> tuple[str, ...]:
    """Return the argv of a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


def hooks_for(
    event: HookEvent,
    *hooks: Hook,
    linger_seconds: float = 0.0,
    environ: Mapping[str, str] | None = None,
) -> Hooks:
    return Hooks(
        HookSettings(by_event={event: hooks}),
        environ={"PATH": os.environ["PATH"], **(environ or {})},
        api_key=KEY,
        linger_seconds=linger_seconds,
    )


def test_hook_gets_the_event_and_its_pod_without_values_of_variables(
    tmp_path: Path,
) -> None:
    command = script(tmp_path, f"cat > {tmp_path}/told")
    hooks = hooks_for(HookEvent.POST_CREATE, Hook(command=command))

    hooks.after(HookEvent.POST_CREATE, DOCUMENT)

    text = (tmp_path / "told").read_text()
    assert "planted-variable" not in text
    assert json.loads(text) == {
        "version": 1,
        "event": "post_create",
        "owner": "me",
        "dry_run": False,
        "reason": "",
        "pod": {
            "pod_id": "abc",
            "name": "trainer",
            "status": "RUNNING",
            "gpu_type": "NVIDIA L4",
            "gpu_count": 2,
            "image": "img",
            "price_usd_per_hour": "0.78",
            "cloud_type": None,
            "is_spot": False,
            "started_at": None,
            "lease_ends_at": "2026-11-22T14:05:00+00:00",
            "intent_id": "3f9a2c1d00000000",
            "ssh": None,
            "env_names": ["HF_TOKEN"],
        },
        "spec": {
            "name": "trainer",
            "image": "img",
            "gpu_types": ["NVIDIA L4"],
            "gpu_count": 1,
            "cloud_type": "any",
            "bid": "",
            "max_price_usd_per_hour": None,
            "container_disk_gb": 20,
            "volume_gb": 0,
            "network_volume_id": "",
            "ports": ["22/tcp"],
            "start_command": None,
            "lease_seconds": 7200,
            "env_names": ["HF_TOKEN"],
        },
    }


@pytest.mark.parametrize("event", list(HookEvent))
def test_every_event_runs_its_hooks_in_a_process(
    tmp_path: Path, event: HookEvent
) -> None:
    command = script(tmp_path, f"cat > {tmp_path}/told")

    with hooks_for(event, Hook(command=command), linger_seconds=10) as hooks:
        hooks.after(event, DOCUMENT)

    assert json.loads((tmp_path / "told").read_text())["event"] == event


@pytest.mark.parametrize("event", [HookEvent.PRE_CREATE, HookEvent.PRE_START])
def test_failing_hook_vetoes_with_its_last_words(
    tmp_path: Path, event: HookEvent
) -> None:
    first = Hook(
        command=script(tmp_path, "echo over budget >&2; exit 3"),
        on_failure=OnFailure.ABORT,
    )
    second = Hook(command=script(tmp_path, f"touch {tmp_path}/ran", name="second"))

    with pytest.raises(HookError, match="exit status 3: over budget") as caught:
        hooks_for(event, first, second).before(event, DOCUMENT)

    assert (caught.value.event, caught.value.command) == (event, first.command[0])
    assert not (tmp_path / "ran").exists()


def test_failing_hook_that_may_only_warn_lets_it_pass(
    tmp_path: Path, logged: Entries
) -> None:
    hook = Hook(command=script(tmp_path, "exit 3"), on_failure=OnFailure.WARN)

    hooks_for(HookEvent.PRE_CREATE, hook).before(HookEvent.PRE_CREATE, DOCUMENT)

    (entry,) = logged
    assert (entry["event"], entry["log_level"]) == ("hook_failed", "warning")
    assert entry["error_detail"] == "failed with exit status 3"


def test_missing_program_vetoes_where_it_may_and_warns_elsewhere(
    tmp_path: Path, logged: Entries
) -> None:
    hook = Hook(command=(str(tmp_path / "none"),), on_failure=OnFailure.ABORT)

    hooks_for(HookEvent.POST_START, hook).after(HookEvent.POST_START, DOCUMENT)
    with pytest.raises(HookError, match="could not be started: no such file"):
        hooks_for(HookEvent.PRE_START, hook).before(HookEvent.PRE_START, DOCUMENT)

    assert [e["event"] for e in logged] == ["hook_failed", "hook_failed"]


@pytest.mark.parametrize("text", ["kill -SEGV $$", "exit 1", "sleep 60", "yes"])
@pytest.mark.parametrize("event", [HookEvent.PRE_STOP, HookEvent.PRE_TERMINATE])
def test_bad_hook_holds_up_no_stop(
    tmp_path: Path, event: HookEvent, text: str, logged: Entries
) -> None:
    hook = Hook(command=script(tmp_path, text), timeout_seconds=60)
    delays = []
    for _ in range(3):
        with hooks_for(event, hook, hook, hook) as hooks:
            started = time.monotonic()
            with hooks.alongside(event, DOCUMENT):
                entered = time.monotonic()
            delays.append(max(entered - started, time.monotonic() - entered))

    # the best of three: the machine that runs this may be busy with other things
    assert min(delays) < 0.05
    assert {e["event"] for e in logged} == {"hook_failed"}
    assert_nothing_is_left(tmp_path)


def test_hook_past_its_time_limit_is_killed_with_all_it_started(
    tmp_path: Path,
) -> None:
    text = f"sleep 60 & echo $! > {tmp_path}/child\ntrap '' TERM\nwait"
    hook = Hook(
        command=script(tmp_path, text),
        timeout_seconds=0.4,
        on_failure=OnFailure.ABORT,
    )

    with pytest.raises(HookError, match=r"did not end within 0\.4 s"):
        hooks_for(HookEvent.PRE_CREATE, hook).before(HookEvent.PRE_CREATE, DOCUMENT)

    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_running(child), what="the hook's child to be gone")


def test_what_a_hook_leaves_behind_neither_holds_it_up_nor_stays(
    tmp_path: Path,
) -> None:
    # the child keeps the hook's stdout open
    text = f"sleep 60 & echo $! > {tmp_path}/child"
    hooks = hooks_for(HookEvent.READY, Hook(command=script(tmp_path, text)))

    started = time.monotonic()
    hooks.after(HookEvent.READY, DOCUMENT)

    assert time.monotonic() - started < 10
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_running(child), what="the hook's child to be gone")


def test_flood_of_output_is_read_and_cut(tmp_path: Path, logged: Entries) -> None:
    command = script(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x")

    hooks_for(HookEvent.READY, Hook(command=command)).after(HookEvent.READY, DOCUMENT)

    (entry,) = logged
    assert (entry["event"], entry["log_level"]) == ("hook_finished", "warning")
    assert entry["is_output_cut"]
    assert entry["output"] == "x" * 65536


def test_hook_that_does_not_read_its_document_does_no_harm(
    tmp_path: Path, logged: Entries
) -> None:
    long = HookDocument(owner="me", reason="x" * 500_000)
    command = script(tmp_path, "exec 0<&-; echo done")

    hooks_for(HookEvent.READY, Hook(command=command)).after(HookEvent.READY, long)

    assert [e["output"] for e in logged] == ["done\n"]


def test_secrets_a_hook_prints_are_not_logged(tmp_path: Path, logged: Entries) -> None:
    command = script(tmp_path, f"echo key {KEY}")

    hooks_for(HookEvent.READY, Hook(command=command)).after(HookEvent.READY, DOCUMENT)

    assert [e["output"] for e in logged] == ["key ***\n"]


@pytest.mark.parametrize("pass_api_key", [False, True])
def test_hook_sees_the_runpod_key_only_where_it_asks_for_it(
    tmp_path: Path, *, pass_api_key: bool
) -> None:
    command = script(tmp_path, f"env > {tmp_path}/seen")
    hook = Hook(command=command, pass_api_key=pass_api_key)
    hooks = hooks_for(
        HookEvent.READY,
        hook,
        environ={
            "RUNPOD_API_KEY": str(KEY),
            "RUNPOD_API_KEY_FILE": "/secret/key",
            "COPY_OF_KEY": f"Bearer {KEY}",
            "HARMLESS": "yes",
        },
    )

    hooks.after(HookEvent.READY, DOCUMENT)

    seen = (tmp_path / "seen").read_text().splitlines()
    assert "HARMLESS=yes" in seen
    assert [line for line in seen if KEY in line] == (
        [f"RUNPOD_API_KEY={KEY}"] if pass_api_key else []
    )
    assert not any(line.startswith("RUNPOD_API_KEY_FILE") for line in seen)


def test_python_entry_point_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my_hooks.py").write_text(
        "import os, pathlib\n"
        "def told(document):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'told').write_text(\n"
        "        f\"{document['event']} {document['pod']['pod_id']} {os.getpid()}\")\n"
        "def refuse(document):\n"
        "    raise ValueError('over budget')\n"
    )
    refusing = Hook(entry_point="my_hooks:refuse", on_failure=OnFailure.ABORT)
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}

    hooks_for(
        HookEvent.READY, Hook(entry_point="my_hooks:told"), environ=environ
    ).after(HookEvent.READY, DOCUMENT)
    with pytest.raises(HookError, match="ValueError: over budget"):
        hooks_for(HookEvent.PRE_CREATE, refusing, environ=environ).before(
            HookEvent.PRE_CREATE, DOCUMENT
        )

    event, pod_id, process_id = (tmp_path / "told").read_text().split()
    assert (event, pod_id) == ("ready", "abc")
    assert int(process_id) != os.getpid()


def test_entry_point_is_not_taken_from_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("def run(document): pass\n")
    monkeypatch.chdir(tmp_path)
    hook = Hook(entry_point="planted:run", on_failure=OnFailure.ABORT)

    with pytest.raises(HookError, match="No module named 'planted'"):
        hooks_for(HookEvent.PRE_CREATE, hook).before(HookEvent.PRE_CREATE, DOCUMENT)


def test_closing_gives_hooks_a_moment_and_kills_the_rest(
    tmp_path: Path, logged: Entries
) -> None:
    quick = Hook(command=script(tmp_path, "sleep 0.2; echo late news"))
    hanging = Hook(command=script(tmp_path, "sleep 60", name="hanging"))
    hooks = hooks_for(HookEvent.POST_STOP, quick, hanging, linger_seconds=2)

    hooks.after(HookEvent.POST_STOP, DOCUMENT)
    started = time.monotonic()
    hooks.close()

    assert time.monotonic() - started < 10
    assert [(e["event"], e["output"]) for e in logged] == [
        ("hook_finished", "late news\n"),
        ("hook_failed", None),
    ]
    assert_nothing_is_left(tmp_path)


def test_table_of_hooks_is_read_whole() -> None:
    settings = parse_hooks(
        {
            "pre_create": {"command": ["/bin/check", "a b"], "timeout_seconds": 5},
            "post_stop": [
                {"entry_point": "a.b:told", "pass_api_key": True},
                {"command": ["x"], "on_failure": "warn"},
            ],
        },
        source="config.toml",
    )

    assert settings == HookSettings(
        by_event={
            HookEvent.PRE_CREATE: (
                Hook(
                    command=("/bin/check", "a b"),
                    timeout_seconds=5,
                    on_failure=OnFailure.ABORT,
                ),
            ),
            HookEvent.POST_STOP: (
                Hook(entry_point="a.b:told", pass_api_key=True),
                Hook(command=("x",)),
            ),
        }
    )


GOOD = {"command": ["x"]}


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"pre_stopp": GOOD}, "no hook event 'pre_stopp'", "Did you mean 'pre_stop'?"),
        ({"ready": "x"}, "a hook of ready is no table", "Write it like"),
        ({"ready": {}}, "needs either a command or an entry_point", "Write it like"),
        ({"ready": {**GOOD, "entry_point": "a:b"}}, "needs either", ""),
        ({"ready": {**GOOD, "timeout": 3}}, "has no 'timeout'", "timeout_seconds"),
        ({"ready": {"command": "x"}}, "no list of texts", ""),
        ({"ready": {"command": []}}, "an empty command", ""),
        ({"ready": {"entry_point": "a.b"}}, "entry_point 'a.b'", "module:function"),
        ({"ready": {"entry_point": "a;b:c"}}, "entry_point", "module:function"),
        ({"ready": {**GOOD, "timeout_seconds": 0}}, "timeout_seconds", "3600"),
        ({"ready": {**GOOD, "timeout_seconds": True}}, "timeout_seconds", ""),
        ({"ready": {**GOOD, "on_failure": "halt"}}, "on_failure = 'halt'", "`warn`"),
        ({"pre_stop": {**GOOD, "on_failure": "abort"}}, "cannot abort", "pre_create"),
        ({"ready": {**GOOD, "pass_api_key": "yes"}}, "neither true nor false", ""),
    ],
)
def test_mistake_in_a_table_of_hooks_is_named(
    table: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_hooks(table, source="config.toml")

    assert hint in caught.value.hint
    assert caught.value.source == "config.toml"


def assert_nothing_is_left(folder: Path) -> None:
    """See that all that hooks in a folder started ends; what is killed takes a moment."""
    wait_for(lambda: not processes_mentioning(str(folder)), what="the hooks to be gone")


def is_running(process_id: int) -> bool:
    """Return whether a process runs; one that waits to be collected does not."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return fields.split()[0] != "Z"
