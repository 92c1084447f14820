import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runpod_client import (
    Constraints,
    IdentityStore,
    PodSpec,
    UnsettledCreateError,
)
from support.clock import FakeTime
from support.http_server import Answer
from support.runpod_script import (
    API_KEY,
    CUT,
    OUT_OF_STOCK,
    RunPodScript,
    environ_for,
    make_client,
    pod_row,
    refusal,
)
from support.sim import SimServer
from support.waiting import wait_for

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]
CREATE = ["pods", "create", "--name", "t", "--gpu", "rtx 4090"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_with(
    environ: dict[str, str], *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": environ["RUNPOD_STATE_DIR"]} | environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def run(runpod: RunPodScript, tmp_path: Path) -> Run:
    """Return a way to run the command against the scripted RunPod."""
    state_dir = tmp_path / "state"

    def run_command(
        *arguments: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return run_with(
            environ_for(runpod.server.base_url, state_dir) | environ, *arguments
        )

    return run_command


def hold(runpod: RunPodScript, *names: str, desired: str = "RUNNING") -> None:
    for number, name in enumerate(names):
        row = pod_row(f"id{number}", name, env=["TOKEN=planted-secret"])
        runpod.pods[f"id{number}"] = row | {"desiredStatus": desired}


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_refused(
    done: subprocess.CompletedProcess[str], code: int, sentence: str, hint: str
) -> None:
    """One sentence and a hint, on stderr only, and no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "Error: " in line]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert hint in done.stderr
    assert API_KEY not in done.stderr


POD_KEYS = [
    "pod_id",
    "name",
    "status",
    "status_reason",
    "desired_status",
    "condition",
    "condition_reason",
    "gpu_type",
    "gpu_count",
    "image",
    "price_usd_per_hour",
    "cloud_type",
    "is_spot",
    "data_center_id",
    "machine_id",
    "cuda_version",
    "created_at",
    "started_at",
    "uptime_seconds",
    "container_disk_gb",
    "volume_gb",
    "network_volume_id",
    "memory_gb",
    "vcpu_count",
    "is_locked",
    "owner",
    "lease_ends_at",
    "env_names",
    "ports",
    "gpus",
    "ssh",
    "proxy_user",
]


def test_list_prints_the_documented_json(run: Run, runpod: RunPodScript) -> None:
    hold(runpod, "a", "b")

    answer = document(run("pods", "list", "--json"))

    assert list(answer) == ["pods"]
    assert [list(pod) for pod in answer["pods"]] == [POD_KEYS, POD_KEYS]
    pod = answer["pods"][0]
    assert pod["price_usd_per_hour"] == "0.69"
    assert pod["started_at"] == "2026-11-01T00:00:01.500000+00:00"
    assert pod["env_names"] == ["TOKEN"]
    assert pod["ports"][0] == {
        "private_port": 22,
        "public_port": 10341,
        "ip": "203.0.113.7",
        "is_public": True,
        "protocol": "tcp",
    }
    assert pod["gpus"] == [{"gpu_id": "GPU-1", "gpu_percent": 7, "memory_percent": 3}]
    assert pod["ssh"] == {
        "host": "203.0.113.7",
        "port": 10341,
        "user": "root",
        "command": "ssh root@203.0.113.7 -p 10341",
    }


def test_list_prints_a_table_with_one_row_per_pod(
    run: Run, runpod: RunPodScript
) -> None:
    hold(runpod, "alpha", "beta")

    done = run("pods", "list")

    lines = done.stdout.splitlines()
    headings = ["NAME", "ID", "STATUS", "GPU", "$/H", "UPTIME", "LEASE", "SSH"]
    assert lines[0].split() == headings
    assert [line.split()[:3] for line in lines[1:]] == [
        ["alpha", "id0", "RUNNING"],
        ["beta", "id1", "RUNNING"],
    ]


def test_list_without_pods_says_what_to_do(run: Run) -> None:
    assert "pods create" in run("pods", "list").stdout


def test_list_notes_a_pod_whose_create_was_interrupted(
    run: Run, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    spec = PodSpec(name="t", image="img", place=Constraints(gpu_types=("RTX 4090",)))
    state_dir = tmp_path / "state"
    with (
        make_client(runpod.server.base_url, state_dir, fake_time) as client,
        pytest.raises(UnsettledCreateError),
    ):
        client.create_pod(spec)

    done = run("pods", "list")

    assert "made by a create that was interrupted; it is rented" in done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert run("pods", "list").stderr == ""


def test_show_prints_names_of_variables_but_no_values(
    run: Run, runpod: RunPodScript
) -> None:
    hold(runpod, "a")

    page, shown = run("pods", "show", "a"), run("pods", "show", "id0", "--json")

    assert list(document(shown)) == POD_KEYS
    assert "TOKEN" in page.stdout
    assert "ssh root@203.0.113.7 -p 10341" in page.stdout
    assert "planted" not in page.stdout + shown.stdout + page.stderr


def test_gpus_and_account_print_the_documented_json(run: Run) -> None:
    gpu_types = document(run("gpus", "list", "--json"))
    account = document(run("account", "show", "--json"))

    assert list(gpu_types) == ["gpu_types"]
    assert gpu_types["gpu_types"][0] == {
        "gpu_type": "NVIDIA GeForce RTX 4090",
        "display_name": "RTX 4090",
        "memory_gb": 24,
        "is_secure": True,
        "is_community": True,
        "stock": "high",
        "on_demand_usd_per_hour": "0.34",
        "secure_usd_per_hour": "0.69",
        "community_usd_per_hour": "0.34",
        "minimum_bid_usd_per_hour": "0.2",
        "data_center_ids": [],
        "cuda_versions": [],
    }
    assert account == {
        "account_id": "user_1",
        "balance_usd": "12.3456",
        "spend_usd_per_hour": "0.69",
        "spend_limit_usd_per_hour": "80",
    }
    assert "RTX 4090" in run("gpus", "list").stdout
    assert "$12.35" in run("account", "show").stdout


@pytest.mark.usefixtures("greeting")
def test_create_stop_start_and_terminate_print_the_pod(run: Run) -> None:
    created = document(run(*CREATE, "--yes", "--json"))
    stopped = document(run("pods", "stop", "t", "--json"))
    started = document(run("pods", "start", "t", "--yes", "--json"))
    waited = document(run("pods", "wait", "t", "--json"))
    ended = document(run("pods", "terminate", "t", "--yes", "--json"))

    for pod in (created, stopped, started, waited):
        assert list(pod) == POD_KEYS
        assert pod["pod_id"] == created["pod_id"]
    assert created["ssh"]["command"] == "runpod-ssh shell t"
    assert stopped["status"] == "STOPPED"
    assert started["status"] == "RUNNING"
    assert ended == {"pod_id": created["pod_id"], "name": "t", "terminated": True}
    again = document(run("pods", "terminate", created["pod_id"], "--json"))
    assert again["terminated"] is False


def test_create_passes_on_what_was_asked_for(
    run: Run, runpod: RunPodScript, tmp_path: Path
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("A=1\nB=2\n")

    document(
        run(
            "pods",
            "create",
            "--name",
            "big",
            "--gpu",
            "h100 sxm",
            "--gpu-count",
            "2",
            "--image",
            "my/image:1",
            "--cloud",
            "secure",
            "--disk",
            "40",
            "--volume",
            "100",
            "--port",
            "22",
            "--port",
            "8188/http",
            "--env",
            "B=3",
            "--env-file",
            str(env_file),
            "--data-center",
            "EU-RO-1",
            "--command",
            "sleep infinity",
            "--no-wait",
            "--yes",
            "--json",
        )
    )

    bodies = (json.loads(a.body) for a in runpod.server.asked)
    (ask,) = (
        b["variables"]["input"] for b in bodies if b["operationName"] == "createPod"
    )
    env = {pair["key"]: pair["value"] for pair in ask.pop("env")}
    assert (env["A"], env["B"]) == ("1", "3")
    assert re.fullmatch(r"big \[[0-9a-f]{8} [0-9T:-]{16}Z\]", ask.pop("name"))
    assert ask == {
        "imageName": "my/image:1",
        "gpuTypeId": "NVIDIA H100 80GB HBM3",
        "gpuCount": 2,
        "cloudType": "SECURE",
        "containerDiskInGb": 40,
        "volumeInGb": 100,
        "volumeMountPath": "/workspace",
        "ports": "22/tcp,8188/http",
        "startSsh": True,
        "supportPublicIp": True,
        "dataCenterId": "EU-RO-1",
        "dockerArgs": "sleep infinity",
    }


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (
            CREATE,
            "Rent 't' for 8h at $0.69/hour ($16.56/day) at most, and about $0.0027/hour",
        ),
        (["pods", "start", "a"], "Start 'a' for $0.69/hour ($16.56/day)?"),
        (["pods", "terminate", "a"], "Terminate 'a' (id0) and destroy its disks?"),
    ],
)
def test_spending_and_destroying_without_a_terminal_needs_yes(
    run: Run, runpod: RunPodScript, arguments: list[str], question: str
) -> None:
    hold(runpod, "a", desired="EXITED")

    done = run(*arguments)

    assert_refused(done, 2, question, "--yes")
    changes = {"createPod", "startPod", "terminatePod"}
    assert not changes & set(runpod.counts)


@pytest.mark.parametrize(("reply", "expected"), [("y\n", 0), ("n\n", 2)])
def test_question_at_a_terminal_is_obeyed(
    runpod: RunPodScript, tmp_path: Path, reply: str, expected: int
) -> None:
    hold(runpod, "a")
    ours, theirs = pty.openpty()
    environ = environ_for(runpod.server.base_url, tmp_path)

    with subprocess.Popen(
        [*COMMAND, "pods", "terminate", "a"],
        env={"PATH": os.environ["PATH"]} | environ,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        os.write(ours, reply.encode())
        child.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)

    assert child.returncode == expected
    assert len(runpod.pods) == (0 if expected == 0 else 1)


def test_missing_key_is_explained(run: Run) -> None:
    done = run("pods", "list", RUNPOD_API_KEY="")

    assert_refused(done, 2, "there is no RunPod API key", "RUNPOD_API_KEY_FILE")


def test_wrong_key_is_explained(run: Run) -> None:
    done = run("pods", "list", RUNPOD_API_KEY="rpa_wrong")

    assert_refused(done, 3, "RunPod does not accept the API key", "RUNPOD_API_KEY")


@pytest.mark.parametrize("command", ["show", "start", "stop", "terminate", "wait"])
def test_unknown_pod_is_explained(run: Run, runpod: RunPodScript, command: str) -> None:
    hold(runpod, "trainer")

    done = run("pods", command, "trainr")

    assert_refused(done, 4, "there is no pod 'trainr'", "Did you mean 'trainer'?")


def test_ambiguous_name_is_explained(run: Run, runpod: RunPodScript) -> None:
    hold(runpod, "a", "a")

    done = run("pods", "stop", "a")

    assert_refused(done, 2, "2 pods are named 'a': id0, id1", "one of these ids")


def test_unreachable_api_is_explained(run: Run, dead_url: str) -> None:
    done = run("pods", "list", RUNPOD_API_BASE_URL=dead_url)

    assert_refused(done, 7, "connection refused", "RUNPOD_API_BASE_URL")


def test_lack_of_capacity_is_explained(
    run: Run, runpod: RunPodScript, tmp_path: Path
) -> None:
    runpod.instead["createPod"] = [OUT_OF_STOCK] * 2

    done = run(*CREATE, "--yes")

    assert_refused(done, 5, "free now", "--cloud any")
    assert list((tmp_path / "state" / "identities").iterdir()) == []


def test_unknown_gpu_type_is_explained(run: Run) -> None:
    done = run("pods", "create", "--name", "t", "--gpu", "RTX 409", "--yes")

    assert_refused(done, 4, "no GPU type 'RTX 409'", "Did you mean 'RTX 4090'?")


def test_bid_below_the_minimum_is_pointed_out(run: Run) -> None:
    done = run(*CREATE, "--bid", "0.01", "--yes")
    why = run(*CREATE, "--bid", "0.01", "--explain")

    assert_refused(done, 2, "nothing fits; without the bid 0.01", "--explain")
    assert "the bid of 0.01 is below the lowest that" in why.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "ssh"], "'ssh' is no port"),
        (["--env", "planted"], "variable 1 of --env is not written KEY=VALUE"),
        (["--env-file", "/nonexistent"], "cannot read /nonexistent"),
        (["--name", ""], "a pod needs a name"),
    ],
)
def test_senseless_options_are_explained(
    run: Run, runpod: RunPodScript, arguments: list[str], sentence: str
) -> None:
    done = run(*CREATE, *arguments, "--yes")

    assert_refused(done, 2, sentence, "")
    assert runpod.counts["createPod"] == 0


@pytest.mark.parametrize("bid", ["0", "-1", "nan", "cheap"])
def test_senseless_bid_is_explained(run: Run, bid: str) -> None:
    done = run(*CREATE, "--bid", bid, "--yes")

    assert_refused(done, 2, f"{bid!r} is no way to bid", "share:0.6")


def test_deadline_of_a_create_names_the_pod_that_bills(
    run: Run, runpod: RunPodScript
) -> None:
    starting = pod_row("pod00000000001", "t", has_runtime=False)
    answer = Answer(body=json.dumps({"data": {"pod": starting}}).encode())
    runpod.instead["findPod"] = [answer] * 50

    done = run(*CREATE, "--yes", "--timeout", "0.2")

    assert_refused(done, 6, "waited", "pods terminate pod00000000001")


def test_errors_are_json_on_stderr_when_json_is_asked_for(run: Run) -> None:
    done = run("pods", "show", "x", "--json")

    assert done.returncode == 4
    assert done.stdout == ""
    assert json.loads(done.stderr) == {
        "error": "NotFoundError",
        "message": "there is no pod 'x'",
        "hint": "List your pods: runpod-client pods list",
    }


def test_spending_limit_is_explained(run: Run, runpod: RunPodScript) -> None:
    runpod.instead["createPod"] = [
        refusal(
            "Renting this pod would put you over your current spending limit.",
            "INSUFFICIENT_BALANCE",
        )
    ]

    done = run(*CREATE, "--yes")

    assert_refused(done, 5, "over your current spending limit", "Add credit")


def test_key_is_read_from_a_file(
    run: Run, runpod: RunPodScript, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{API_KEY}\n")
    key_file.chmod(0o600)

    done = run("account", "show", RUNPOD_API_KEY="", RUNPOD_API_KEY_FILE=str(key_file))

    assert done.returncode == 0
    assert runpod.counts["getAccount"] == 1


def test_command_that_tells_the_key_is_run_once(
    run: Run, runpod: RunPodScript, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    tell = f"sh -c 'echo x >> {asked}; echo {API_KEY}'"

    done = run(*CREATE, "--explain", RUNPOD_API_KEY="", RUNPOD_API_KEY_COMMAND=tell)

    assert done.returncode == 0, done.stderr
    assert runpod.counts["listGpuTypes"] == 1
    assert asked.read_text() == "x\n"


@pytest.mark.usefixtures("greeting")
def test_interrupt_ends_with_130_and_leaves_the_create_to_be_settled(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    runpod.after["createPod"] = [Answer(pause_seconds=60)]
    environ = environ_for(runpod.server.base_url, tmp_path)

    with subprocess.Popen(
        [*COMMAND, *CREATE, "--yes", "--json"],
        env={"PATH": os.environ["PATH"]} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        wait_for(lambda: runpod.counts["createPod"], what="the create to be sent")
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)

    assert child.returncode == 130
    assert "Traceback" not in said
    assert "may have been rented all the same" in said
    pod = document(run_with(environ, *CREATE, "--yes", "--json"))
    assert [pod["pod_id"]] == list(runpod.pods)
    assert runpod.counts["createPod"] == 1


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from runpod_client.cli import cli\n"
        "cli.main(['pods', 'create', '--help'], standalone_mode=False)\n"
        "heavy = {'requests', 'rich', 'stamina', 'structlog', 'msgspec', 'sqlite3'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "HEAVY []" in done.stdout


def decrypt_key(folder: Path) -> Path:
    """Return a file with the only pod's key in the clear, for ssh to use."""
    state = folder / "state"
    secret_file = state / ".config" / "runpod" / "identity-secret"
    store = IdentityStore(state / "identities", secret_file=secret_file)
    (name,) = store.list_names()
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(store.unseal(name))
    return key


def test_whole_life_of_a_pod_against_the_simulator(
    sim: SimServer, tmp_path: Path
) -> None:
    environ = {**sim.env, "RUNPOD_STATE_DIR": str(tmp_path / "state")}

    def run(*arguments: str) -> Any:
        return document(run_with(environ, *arguments, "--json"))

    created = run(*CREATE, "--volume", "10", "--yes")
    address = created["ssh"]
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
    options += ["-o", f"UserKnownHostsFile={tmp_path / 'known_hosts'}"]
    options += ["-i", str(decrypt_key(tmp_path)), "-p", str(address["port"])]
    reached = subprocess.run(
        [
            "ssh",
            *options,
            f"{address['user']}@{address['host']}",
            "echo $RUNPOD_POD_ID",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    stopped = run("pods", "stop", "t")
    started = run("pods", "start", "t", "--yes")
    ended = run("pods", "terminate", "t", "--yes")

    assert reached.stdout == f"{created['pod_id']}\n"
    assert (stopped["status"], stopped["ssh"]) == ("STOPPED", None)
    assert started["status"] == "RUNNING"
    assert started["started_at"] > created["started_at"]
    assert ended["terminated"] is True
    assert run("pods", "list") == {"pods": []}
    assert run("account", "show")["spend_usd_per_hour"] == "0"


def test_create_whose_answer_is_lost_ends_with_one_pod_in_the_simulator(
    sim: SimServer, tmp_path: Path
) -> None:
    environ = {**sim.env, "RUNPOD_STATE_DIR": str(tmp_path / "state")}
    sim.add_fault("lost_answer", operation="deploy", times=1)

    created = document(run_with(environ, *CREATE, "--no-wait", "--yes", "--json"))

    (pod,) = document(run_with(environ, "pods", "list", "--json"))["pods"]
    assert pod["pod_id"] == created["pod_id"]


def test_pod_is_read_changed_and_watched_from_the_command_line(
    sim: SimServer, tmp_path: Path
) -> None:
    environ = {**sim.env, "RUNPOD_STATE_DIR": str(tmp_path / "state")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = run_with(environ, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    run(*CREATE, "--volume", "10", "--env", "A=1", "--yes")
    names = run("pods", "list", "--mine", "-o", "name").stdout.split()
    log = document(run("pods", "logs", "t", "--system", "--tail", "5", "--json"))
    watched = run("pods", "watch", "--json", "--for", "0").stdout.splitlines()
    renamed = document(run("pods", "edit", "t", "--name", "u", "--json"))
    edit = ("pods", "edit", "u", "--env", "B=2", "--unset", "A", "--yes", "--json")
    edited = document(run(*edit))
    run("pods", "wait", "u")  # new variables restart the container
    restarted = document(run("pods", "restart", "u", "--yes", "--json"))
    run("pods", "wait", "u", "--for", "tcp:22")

    assert names == ["t"]
    assert [line["source"] for line in log["lines"]] == ["system"] * len(log["lines"])
    assert any("pull image" in line["text"] for line in log["lines"])
    assert [json.loads(line)["kind"] for line in watched] == ["appeared"]
    assert renamed["name"] == "u"
    assert {"B", "RUNPOD_CLIENT_OWNER"} <= set(edited["env_names"])
    assert "A" not in edited["env_names"]
    assert restarted["started_at"] > renamed["started_at"]


def test_edit_that_changes_nothing_is_a_usage_error(
    run: Run, runpod: RunPodScript
) -> None:
    hold(runpod, "a")

    done = run("pods", "edit", "a", "--yes")

    assert done.returncode == 2
    assert "say what to change" in done.stderr
    assert runpod.counts["editPod"] == 0


def test_names_of_a_result_without_any_are_a_usage_error(run: Run) -> None:
    done = run("account", "show", "-o", "name")

    assert done.returncode == 2
    assert "has no names" in done.stderr


REFUSALS = {
    "no_capacity": (5, "free now"),
    "insufficient_balance": (5, "balance does not cover"),
    "rate_limited": (5, "takes no more calls for now"),
    "unauthorized": (3, "does not accept the API key"),
    "gone": (1, "withdrawn"),
}


def test_refusals_of_the_simulator_are_told_apart(
    sim: SimServer, tmp_path: Path
) -> None:
    environ = {**sim.env, "RUNPOD_STATE_DIR": str(tmp_path / "state")}

    for fault, (code, sentence) in REFUSALS.items():
        sim.add_fault(fault, operation="deploy", times=1)
        done = run_with(environ, *CREATE, "--cloud", "secure", "--yes")
        assert_refused(done, code, sentence, "")

    assert list((tmp_path / "state" / "identities").iterdir()) == []
    assert document(run_with(environ, "pods", "list", "--json")) == {"pods": []}
