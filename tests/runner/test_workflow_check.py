"""Mistakes are found before they cost money, and good workflows are left alone.

The good ones lie in `workflows/good`; a mistake is one of them with one thing changed.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import click
import pytest

from runner_installer.checking.check import check_text
from runner_installer.checking.findings import Finding
from runner_installer.checking.gathering import list_actions, list_options
from runner_installer.checking.knowledge import GPU, Knowledge, Template
from runner_installer.cli import cli
from support.sim import SimServer
from support.ssh_desk import PROGRAMS

GOOD = Path(__file__).parent / "workflows" / "good"
ROOT = Path(__file__).parents[2]


def _find_fault(given: Mapping[str, str]) -> str | None:
    return None if set(given) <= {"size"} else "the template has no such parameter"


def knowledge() -> Knowledge:
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in ("up", "down")}
    return Knowledge(
        options={name: list_options(found) for name, found in commands.items() if found},
        actions=list_actions(ROOT),
        secrets=frozenset(
            ["RUNPOD_API_KEY", "RUNNER_TOKEN", "HF_TOKEN", "DEPLOY_KEY", "CHAT_HOOK", "APP_KEY", "RUNNER_APP_KEY"]
        ),
        pool_labels={"gpu": frozenset({"self-hosted", "linux", "x64", "gpu"})},
        gpus=(
            GPU(names=("NVIDIA GeForce RTX 4090", "RTX 4090"), memory_gb=24, max_count=8, usd_per_hour=Decimal("0.34")),
            GPU(names=("NVIDIA GeForce RTX 5090", "RTX 5090"), memory_gb=32, max_count=8, usd_per_hour=Decimal("0.69")),
            GPU(names=("NVIDIA RTX A4000", "RTX A4000"), memory_gb=16, max_count=8, usd_per_hour=Decimal("0.17")),
            GPU(names=("NVIDIA RTX A5000", "RTX A5000"), memory_gb=24, max_count=8, usd_per_hour=Decimal("0.22")),
            GPU(names=("NVIDIA L40S", "L40S"), memory_gb=48, max_count=8, usd_per_hour=Decimal("0.79")),
            GPU(names=("NVIDIA H100 80GB HBM3", "H100 SXM"), memory_gb=80, max_count=8, usd_per_hour=Decimal("2.69")),
        ),
        templates={"train": Template(find_fault=_find_fault)},
    )  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """A good workflow, spoilt.

    Attributes:
        was: What stands in the good one, once.
        rule: The rule that is to find it.
        words: Some of what is said about it.
    """

    name: str
    base: str
    was: str
    now: str
    rule: str
    words: str = ""


UP_KEY = "          runpod-api-key: ${{ secrets.RUNPOD_API_KEY }}\n"
MISTAKES = (
    Mistake("tab", "stale", "  stale:\n", "\tstale:\n", "syntax", "a tab stands"),
    Mistake("unclosed quote", "release", 'tags: ["v*"]', 'tags: ["v*]', "syntax"),
    Mistake("key of a job", "reaper", "runs-on: ubuntu-latest", "run-on: ubuntu-latest", "key-unknown", "runs-on"),
    Mistake("key of a step", "gpu-commands", "        env:\n          HF_TOKEN", "        envs:\n          HF_TOKEN", "key-unknown", "env"),
    Mistake("key repeated", "dispatch", "    timeout-minutes: 15", "    timeout-minutes: 15\n    timeout-minutes: 20", "key-repeated"),
    Mistake("no trigger", "gpu-labels", "on: push\n", "", "key-missing", "'on'"),
    Mistake("needs misspelt", "action-plain", "    needs: up\n", "    needs: upp\n", "needs-unknown", "up"),
    Mistake("needs in a circle", "release", "  build:\n    runs-on", "  build:\n    needs: announce\n    runs-on", "needs-cycle"),
    Mistake("needs forgotten", "action-plain", "    needs: up\n", "", "needs-missing", "Add up"),
    Mistake("output of a job misspelt", "action-plain", "${{ needs.up.outputs.label }}", "${{ needs.up.outputs.lable }}", "output-unknown", "label"),
    Mistake("output of the action misspelt", "action-plain", "${{ steps.up.outputs.label }}", "${{ steps.up.outputs.lable }}", "output-unknown", "label"),
    Mistake("outputs not handed on", "action-plain", "    outputs:\n      label: ${{ steps.up.outputs.label }}\n", "", "output-unknown", "outputs"),
    Mistake("step id misspelt", "gpu-commands", "      - id: up\n", "      - id: rent\n", "step-unknown", "'up'"),
    Mistake("expression not closed", "gpu-commands", "${{ needs.rent.outputs.label }}", "${{ needs.rent.outputs.label }", "expression-open"),
    Mistake("secret instead of secrets", "gpu-commands", "HF_TOKEN: ${{ secrets.HF_TOKEN }}", "HF_TOKEN: ${{ secret.HF_TOKEN }}", "name-unknown", "secrets"),
    Mistake("variable of the matrix", "reusable-matrix", "${{ matrix.gpu }}", "${{ matrix.gpus }}", "matrix-unknown", "gpu"),
    Mistake("input of the workflow", "gpu-min-memory", "${{ inputs.memory }}", "${{ inputs.mem }}", "input-unknown", "memory"),
    Mistake("no down", "action-plain", "      - uses: ./.github/actions/gpu-runner-down\n        with:\n" + UP_KEY, "      - run: make\n        env:\n" + UP_KEY, "down-missing"),
    Mistake("down without always", "action-plain", "    if: always()\n", "", "down-without-always", "always()"),
    Mistake("down only on success", "gpu-commands", "    if: always()\n", "    if: success()\n", "down-without-always"),
    Mistake("down too early", "action-plain", "    needs: [up, train]\n", "    needs: [up]\n", "down-too-early", "train"),
    Mistake("down not after up", "gpu-labels", "    needs: [rent, nightly]\n", "    needs: []\n", "down-too-early"),
    Mistake("down on the pod", "action-plain", "    if: always()\n    runs-on: ubuntu-latest\n", "    if: always()\n    runs-on: ${{ needs.up.outputs.label }}\n", "down-on-pod"),
    Mistake("up on the pod", "pool", "      - uses: actions/checkout@v4\n", "      - uses: acme/pods/.github/actions/gpu-runner-up@v1\n        with: {runpod-api-key: a, github-token: b, gpu: L40S}\n", "up-on-pod"),
    Mistake("label misspelt", "gpu-labels", "[self-hosted, nightly, large]", "[self-hosted, nigthly, large]", "label-unknown", "nightly"),
    Mistake("label of no pool", "pool", "linux, x64, gpu]", "linux, x64, h100]", "label-unknown"),
    Mistake("labels in one string", "gpu-labels", "runs-on: [self-hosted, nightly, large]", "runs-on: self-hosted, nightly, large", "label", "list"),
    Mistake("JSON list as a label", "action-labels-json", "${{ fromJSON(needs.up.outputs.labels) }}", "${{ needs.up.outputs.labels }}", "runs-on-json", "fromJSON"),
    Mistake("container on a pod", "action-plain", "    timeout-minutes: 90\n", "    timeout-minutes: 90\n    container: nvidia/cuda:12.8.1\n", "no-docker"),
    Mistake("docker action on a pod", "gpu-commands", "      - run: nvidia-smi\n", "      - uses: docker://nvidia/cuda\n", "no-docker"),
    Mistake("strangers' code", "pool", "on: [pull_request]", "on: [pull_request_target]", "foreign-code"),
    Mistake("key in the open", "gpu-one-job", "RUNPOD_API_KEY: ${{ secrets.RUNPOD_API_KEY }}", "RUNPOD_API_KEY: rpa_" + "A1B2C3D4" * 5, "secret-literal", "RunPod"),
    Mistake("token in the open", "reaper", "${{ secrets.RUNPOD_API_KEY }}", "ghp_" + "a1B2c3D4e5" * 4, "secret-literal", "GitHub"),
    Mistake("secret misspelt", "reaper", "secrets.RUNPOD_API_KEY", "secrets.RUNPOD_APIKEY", "secret-unknown", "RUNPOD_API_KEY"),
    Mistake("secret not declared", "callable", "${{ secrets.registry-token }}", "${{ secrets.REGISTRY_TOKEN }}", "secret-unknown"),
    Mistake("secret as an output", "gpu-commands", "      label: ${{ steps.up.outputs.label }}", "      label: ${{ steps.up.outputs.label }}\n      key: ${{ secrets.RUNPOD_API_KEY }}", "secret-in-output"),
    Mistake("no API key", "gpu-commands", "          RUNPOD_API_KEY: ${{ secrets.RUNPOD_API_KEY }}\n          GITHUB_TOKEN: ${{ secrets.RUNNER_TOKEN }}\n  train:", "          GITHUB_TOKEN: ${{ secrets.RUNNER_TOKEN }}\n  train:", "credential-missing", "RunPod API key"),
    Mistake("the run's own token", "action-labels-json", UP_KEY + "          github-token: ${{ secrets.RUNNER_TOKEN }}\n          min-memory", UP_KEY + "          github-token: ${{ github.token }}\n          min-memory", "token-useless"),
    Mistake("secrets not handed over", "reusable", "    secrets:\n      runpod-api-key: ${{ secrets.RUNPOD_API_KEY }}\n      github-token: ${{ secrets.RUNNER_TOKEN }}\n", "", "credential-missing", "runpod-api-key"),
    Mistake("title in a script", "composite-expressions", """printf '%s\\n' "$TITLE" "$BODY\"""", "echo ${{ github.event.issue.title }}", "script-injection"),
    Mistake("GPU misspelt", "action-plain", "gpu: RTX 4090", "gpu: RTX 4900", "gpu-unknown", "RTX 4090"),
    Mistake("GPU of a matrix misspelt", "reusable-matrix", "[RTX 4090, RTX A4000]", "[RTX 4090, RTX A400]", "gpu-unknown", "RTX A4000"),
    Mistake("no GPU", "gpu-commands", '--gpu "RTX 4090" ', "", "gpu-missing"),
    Mistake("too many GPUs", "action-organization", "gpu-count: 8", "gpu-count: 16", "gpu-count", "at most 8"),
    Mistake("too much memory", "action-labels-json", "min-memory: 40", "min-memory: 400", "memory", "80 GB"),
    Mistake("count of pods", "action-matrix", "count: 2", "count: 200", "value", "count"),
    Mistake("price too low", "action-plain", 'max-price: "0.80"', 'max-price: "0.20"', "price", "0.34"),
    Mistake("price with a sign", "gpu-commands", "--max-price 0.80", "--max-price 0,80€", "value", "max-price"),
    Mistake("lease misspelt", "gpu-commands", "--lease 2h", "--lease 2hours", "value", "lease"),
    Mistake("lease too short", "action-plain", "lease: 2h", "lease: 1h", "lease-short", "train"),
    Mistake("input misspelt", "action-plain", "          gpu: RTX 4090\n", "          gpu: RTX 4090\n          gpu-cout: 2\n", "option-unknown", "gpu-count"),
    Mistake("option misspelt", "gpu-labels", "--gpu-count 2", "--gpus 2", "option-unknown"),
    Mistake("required input missing", "action-plain", UP_KEY + "          github-token: ${{ secrets.RUNNER_TOKEN }}\n          gpu", "          github-token: ${{ secrets.RUNNER_TOKEN }}\n          gpu", "input-missing", "runpod-api-key"),
    Mistake("cloud that does not exist", "action-labels-json", "cloud: secure", "cloud: private", "value", "cloud"),
    Mistake("minutes that are no number", "gpu-commands", "timeout-minutes: 90", "timeout-minutes: 90m", "number"),
)  # fmt: skip


def spoil(mistake: Mistake) -> str:
    text = (GOOD / f"{mistake.base}.yml").read_text()
    assert text.count(mistake.was) >= 1, f"{mistake.was!r} is not in {mistake.base}"
    return text.replace(mistake.was, mistake.now, 1)


def rendered(findings: tuple[Finding, ...]) -> str:
    return "\n".join(f"{f.place.line} {f.rule}: {f.message} {f.hint}" for f in findings)


def run_check(
    *arguments: str, cwd: Path, env: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(PROGRAMS / "runner-installer"), "check", *arguments],
        cwd=cwd,
        env=dict(env),
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_there_are_forty_of_each() -> None:
    assert len(list(GOOD.glob("*.yml"))) >= 40
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("path", sorted(GOOD.glob("*.yml")), ids=lambda p: p.stem)
def test_good_workflow_raises_no_alarm(path: Path) -> None:
    found = check_text(path.read_text(), knowledge())

    assert not found, rendered(found)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_mistake_is_found_and_named(mistake: Mistake) -> None:
    found = check_text(spoil(mistake), knowledge())

    of_rule = [one for one in found if one.rule == mistake.rule]
    assert of_rule, rendered(found)
    assert mistake.words in rendered(tuple(of_rule))


def test_our_own_workflows_are_good() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        found = check_text(path.read_text(), knowledge())

        named = [one for one in found if one.rule != "secret-unknown"]
        assert not named, f"{path}: {rendered(tuple(named))}"


def test_command_tells_file_line_and_hint_and_fails(
    sim: SimServer, tmp_path: Path
) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    mistake = next(each for each in MISTAKES if each.name == "GPU misspelt")
    (folder / "train.yml").write_text(spoil(mistake))
    (folder / "good.yml").write_text((GOOD / "pages.yml").read_text())

    done = run_check(
        cwd=tmp_path, env={**sim.env, "PATH": str(PROGRAMS), "HOME": str(tmp_path)}
    )
    told = run_check(
        "--json",
        cwd=tmp_path,
        env={**sim.env, "PATH": str(PROGRAMS), "HOME": str(tmp_path)},
    )

    assert done.returncode == 1
    where = ".github/workflows/train.yml:17:16: error: "
    assert f"{where}RunPod has no GPU type 'RTX 4900' [gpu-unknown]" in done.stdout
    assert "Did you mean 'RTX 4090'?" in done.stdout
    assert done.stderr.startswith("Error: 1 finding in 2 workflows\n")
    (row,) = json.loads(told.stdout)
    assert (row["file"], row["line"], row["column"], row["rule"]) == (
        ".github/workflows/train.yml",
        17,
        16,
        "gpu-unknown",
    )


def test_on_github_findings_are_put_onto_the_page(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text("on: push\njobs:\n  a:\n    run-on: x\n    steps: [{run: a}]\n")
    env = {"PATH": str(PROGRAMS), "HOME": str(tmp_path), "GITHUB_ACTIONS": "true"}

    done = run_check("--offline", str(file), cwd=tmp_path, env=env)

    assert (
        f"::error file={file},line=4,col=5,title=key-unknown::'run-on'" in done.stderr
    )


def test_warning_fails_only_where_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n"
        "    steps: [{run: 'echo ${{ secrets.A }}'}]\n"
    )
    env = {"PATH": str(PROGRAMS), "HOME": str(tmp_path)}

    lenient = run_check("--offline", str(file), cwd=tmp_path, env=env)
    strict = run_check("--offline", "--strict", str(file), cwd=tmp_path, env=env)

    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert "warning: secrets.A becomes part of the script's text" in lenient.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.yml",), "missing.yml cannot be read: No such file or directory"),
        ((), "there are no workflows in .github/workflows"),
        (("--secrets-file", "none", "a.yml"), "none cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    env = {"PATH": str(PROGRAMS), "HOME": str(tmp_path)}

    done = run_check("--offline", *arguments, cwd=tmp_path, env=env)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
