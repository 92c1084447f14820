"""The console script: quick where the background process does it, else the usual one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# what a second `exec` may load of all this: nothing that takes long
SLOW = {"click", "asyncio", "asyncssh", "socket", "enum", "re", "typing", "dataclasses"}


def environ_in(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_RUNTIME_DIR": str(folder),
        "HOME": str(folder),
        "RUNPOD_SSH_BACKGROUND": "true",
    }


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environ_in(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_asking_the_background_process_loads_nothing_slow(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import os\n"
        "from runpod_ssh import background, entry\n"
        "assert background.exec_there(['train', 'true'], os.environ) is None\n"
        f"print(sorted({SLOW!r} & (set(sys.modules) - before)))\n"
    )

    done = run(code, tmp_path)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_installed_program_loads_nothing_slow_before_it_has_asked(
    tmp_path: Path,
) -> None:
    program = ROOT / "pkgs" / "runpod-ssh" / "bin" / "runpod-ssh"

    done = subprocess.run(
        [sys.executable, "-X", "importtime", program, "exec", "train", "true"],
        env=environ_in(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    before = loaded[: loaded.index("runpod_ssh.background")]
    assert SLOW & set(before) == set()
    assert "click" in loaded
    assert os.access(program, os.X_OK)


def test_other_commands_and_words_are_the_command_lines(tmp_path: Path) -> None:
    helped = run(
        "import sys; sys.argv = ['runpod-ssh', 'exec', '--help']\n"
        "from runpod_ssh.entry import main; main()",
        tmp_path,
    )
    wrong = run(
        "import sys; sys.argv = ['runpod-ssh', 'exce']\n"
        "from runpod_ssh.entry import main; main()",
        tmp_path,
    )

    assert (helped.returncode, "Usage: runpod-ssh exec" in helped.stdout) == (0, True)
    assert (wrong.returncode, "exce" in wrong.stderr) == (2, True)


def test_help_and_failures_of_configuration_start_no_process(tmp_path: Path) -> None:
    for words in (["exec", "--help"], ["exec", "train", "true"], ["--version"]):
        run(
            f"import sys; sys.argv = ['runpod-ssh', *{words!r}]\n"
            "import os; os.environ.pop('RUNPOD_API_KEY', None)\n"
            "from runpod_ssh.entry import main; main()",
            tmp_path,
        )

    assert list(tmp_path.glob("runpod-ssh/*")) == []
