import re
import subprocess
import sys
from pathlib import Path

from support.sim import SimServer

README = Path(__file__).parents[2] / "pkgs" / "runpod-client" / "README.md"


def test_python_of_the_readme_rents_and_terminates_a_pod(
    sim: SimServer, tmp_path: Path
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    done = subprocess.run(
        [sys.executable, "-c", block],
        env={**sim.env, "RUNPOD_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "root@127.0.0.1:" in done.stdout
    assert "Identity(private_key_file=" in done.stdout
