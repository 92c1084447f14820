import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.runpod_script import RunPodScript, environ_for, pod_row

PROGRAM = str(Path(sys.executable).with_name("runpod-client"))
CREATE = ("pods", "create", "--name", "t", "--gpu", "rtx 4090", "--yes", "--json")
EVENTS = [
    "pre_create",
    "post_create",
    "ready",
    "pre_stop",
    "post_stop",
    "pre_start",
    "post_start",
    "pre_terminate",
    "post_terminate",
]


def write_hooks(folder: Path, hooks: dict[str, str]) -> Path:
    """Return a configuration with a shell script per event."""
    rows = [
        f"{event} = {{ command = ['/bin/sh', '-c', {script!r}] }}"
        for event, script in hooks.items()
    ]
    path = folder / "config.toml"
    path.write_text("\n".join(["[hooks]", *rows]))
    path.chmod(0o600)
    return path


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": environ["RUNPOD_STATE_DIR"]} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.usefixtures("greeting")
def test_every_event_of_a_pods_life_is_told(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    config = write_hooks(
        tmp_path, dict.fromkeys(EVENTS, f"cat >> {told}; echo >> {told}")
    )
    environ = environ_for(runpod.server.base_url, tmp_path / "state")

    for command in (
        CREATE,
        ("pods", "stop", "t"),
        ("pods", "start", "t", "--yes"),
        ("pods", "terminate", "t", "--yes"),
    ):
        done = run(environ, *command, "--config", str(config))
        assert done.returncode == 0, done.stderr

    documents = [json.loads(line) for line in told.read_text().splitlines() if line]
    assert sorted(d["event"] for d in documents) == sorted(EVENTS)
    created = next(d for d in documents if d["event"] == "post_create")
    assert created["pod"]["name"] == created["spec"]["name"] == "t"
    assert "PUBLIC_KEY" in created["pod"]["env_names"]


def test_veto_before_a_create_rents_nothing(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    config = write_hooks(tmp_path, {"pre_create": "echo over budget >&2; exit 3"})
    environ = environ_for(runpod.server.base_url, tmp_path / "state")

    done = run(environ, *CREATE[:-1], "--config", str(config))

    assert done.returncode == 1
    assert "pre_create" in done.stderr
    assert "Traceback" not in done.stderr
    assert runpod.counts["createPod"] == 0
    assert not list((tmp_path / "state" / "identities").glob("*"))


def test_hook_that_hangs_does_not_delay_the_stop(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    config = write_hooks(tmp_path, {"pre_stop": "sleep 600", "post_stop": "sleep 600"})
    environ = environ_for(runpod.server.base_url, tmp_path / "state")
    runpod.pods["id0"] = pod_row("id0", "t")
    arrived: list[float] = []
    answer = runpod.server.script

    def noting(asked: object) -> object:
        if b"stopPod" in getattr(asked, "body", b""):
            arrived.append(time.monotonic())
        return answer(asked)  # type: ignore[arg-type]

    runpod.server.script = noting  # type: ignore[assignment]
    started = time.monotonic()

    done = run(environ, "pods", "stop", "t", "--config", str(config))

    assert done.returncode == 0, done.stderr
    assert runpod.pods["id0"]["desiredStatus"] == "EXITED"
    assert arrived[0] - started < 10  # far below the hooks' own time
