import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from support.http_server import Answer
from support.runpod_script import RunPodScript, environ_for, pod_row

PROGRAM = str(Path(sys.executable).with_name("runpod-client"))


def complete(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Ask as bash does: the words so far, the last of them unfinished."""
    return subprocess.run(
        [PROGRAM],
        env={
            "PATH": os.environ["PATH"],
            **environ,
            "_RUNPOD_CLIENT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["runpod-client", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def offered(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [line for line in done.stdout.splitlines() if line]
    return [row.partition(",")[2] for row in rows]


def test_pods_are_offered_by_name_and_twins_by_id(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    environ = environ_for(runpod.server.base_url, tmp_path)
    for number, name in enumerate(("trainer", "twin", "twin", "web")):
        runpod.pods[f"id{number}"] = pod_row(f"id{number}", name)

    assert offered(complete(environ, "pods", "stop", "tr")) == ["trainer"]
    assert offered(complete(environ, "pods", "stop", "id")) == ["id1", "id2"]
    # the second was answered from the cache
    assert runpod.counts["listPods"] == 1


def test_gpu_types_are_offered_without_regard_to_capitals(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    environ = environ_for(runpod.server.base_url, tmp_path)

    done = complete(environ, "pods", "create", "--gpu", "rtx")

    assert offered(done) == ["RTX 4090"]


def test_unreachable_api_offers_what_was_known_and_says_nothing(
    runpod: RunPodScript, tmp_path: Path, dead_url: str
) -> None:
    environ = environ_for(runpod.server.base_url, tmp_path)
    runpod.pods["id0"] = pod_row("id0", "trainer")
    offered(complete(environ, "pods", "show", ""))
    cache = tmp_path / "completion.json"
    aged = json.loads(cache.read_text())
    aged["pods"]["at"] = 0
    cache.write_text(json.dumps(aged))

    done = complete(environ | {"RUNPOD_API_BASE_URL": dead_url}, "pods", "show", "")

    assert offered(done) == ["trainer"]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600


def test_broken_settings_and_answers_offer_nothing(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    environ = environ_for(runpod.server.base_url, tmp_path)
    (tmp_path / "completion.json").write_text("no JSON")
    runpod.instead["listPods"] = [Answer(body=b"neither")] * 8

    assert offered(complete(environ, "pods", "show", "")) == []
    assert offered(complete(environ | {"RUNPOD_API_KEY": ""}, "pods", "show", "")) == []
