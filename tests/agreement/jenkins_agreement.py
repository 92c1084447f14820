"""Run the Jenkins shared library by a real Groovy against a served RunPod.

    jenkins_agreement.py GROOVY [WORDS...]

GROOVY and WORDS are the command that runs a Groovy program: `groovy` alone where it is
installed (Debian's 2.4.21 is the version Jenkins has built in), or `java -cp JARS
groovy.ui.GroovyMain`. Prints what held; exit status 1 where something did not.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.ci_desk import GPU, IMAGE, live_pods, make_machine  # noqa: E402
from support.sim import SimServer, serving  # noqa: E402

LIBRARY = ROOT / "integrations" / "jenkins"
HARNESS = ROOT / "tests" / "support" / "jenkins.groovy"
OPTIONS = f"gpu: '{GPU}', maxPrice: '1.00', image: '{IMAGE}'"
SECONDS = 120

# what a pipeline says, its exit status, and what its output must hold
CASES: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
    (
        "a command runs on the pod and its output comes back",
        f"gpuPod({OPTIONS}) {{ echo 'said ' + gpuPodSh(script: 'echo on $HOSTNAME; "
        "echo two', returnStdout: true) }",
        0,
        ("said on ", "two", "| end the GPU pod"),
    ),
    (
        "a command's exit status passes through and fails the build",
        f"gpuPod({OPTIONS}) {{ gpuPodSh 'exit 7' }}",
        1,
        ("FAILED: script returned exit code 7", "| end the GPU pod"),
    ),
    (
        "a command's exit status can be looked at instead",
        f"gpuPod({OPTIONS}) {{ echo \"was ${{gpuPodSh(script: 'false\\ntrue', "
        'returnStatus: true)}" }',
        0,
        ("was 1", "| end the GPU pod"),
    ),
    (
        "text in a command is data to the agent's shell",
        f"gpuPod({OPTIONS}) {{ gpuPodSh 'echo \\'\"; $(echo no)\\' `echo yes`' }}",
        0,
        ('"; $(echo no) yes', "| end the GPU pod"),
    ),
    (
        "a pod that cannot be had fails the build, and cleaning up is tried",
        f"gpuPod(gpu: '{GPU}', maxPrice: '0.01') {{ echo 'never' }}",
        1,
        ("max price 0.01", "| end the GPU pod"),
    ),
    ("a pod without a limit is refused", "gpuPod(gpu: 'x') { }", 1, ("say maxPrice",)),
    (
        "a command outside of a pod is refused",
        "gpuPodSh 'true'",
        1,
        ("there is no gpuPod around it",),
    ),
    (
        "an aborted build ends its command and then its pod",
        f"gpuPod({OPTIONS}) {{ gpuPodSh 'echo begun; sleep 600' }}",
        1,
        ("FAILED: the build was aborted", "| end the GPU pod"),
    ),
)


def main(groovy: list[str]) -> int:
    """Run every case; return how many failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as sim:
        for number, (what, pipeline, status, words) in enumerate(CASES):
            problem = run_case(
                groovy, sim, Path(folder) / str(number), pipeline, status, words
            )
            failed += bool(problem)
            print(f"{'FAILED' if problem else 'ok':<6} {what}{problem}")  # noqa: T201
    return int(failed > 0)


def run_case(
    groovy: list[str],
    sim: SimServer,
    folder: Path,
    pipeline: str,
    status: int,
    words: tuple[str, ...],
) -> str:
    """Run a pipeline; return what was not as it should be, empty where all was."""
    machine = make_machine(sim, folder)
    (folder / "Jenkinsfile").write_text(pipeline + "\n")
    flag = folder / "abort"
    environ = {
        **{k: v for k, v in machine.env.items() if k != "RUNPOD_API_KEY"},
        "SECRET_runpod_api_key": machine.env["RUNPOD_API_KEY"],
        "JOB_NAME": "team/train model",
        "BUILD_NUMBER": folder.name,
        **({"ABORT_ON": str(flag)} if "sleep 600" in pipeline else {}),
    }
    process = subprocess.Popen(
        [*groovy, str(HARNESS), str(LIBRARY), str(folder / "Jenkinsfile")],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = ""
    deadline = time.monotonic() + SECONDS
    for line in process.stdout or ():
        output += line
        if line == "begun\n":
            flag.touch()
        if time.monotonic() > deadline:
            process.kill()
    problems = [f"no {word!r}" for word in words if word not in output]
    if process.wait(30) != status:
        problems.append(f"exit status {process.returncode}")
    if live_pods(sim):
        problems.append(f"left {live_pods(sim)}")
    return "".join(f"\n         {p}" for p in problems) + (
        f"\n{output}" if problems else ""
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["groovy"]))
