import subprocess
import sys
from pathlib import Path

from support.leftovers import processes_mentioning
from support.waiting import wait_for

INTERRUPTED_WHILE_FORKING = """
import os, signal, sys
from pathlib import Path
from runpod_hub.child_processes import start_child

# Python ignores what is raised in such a hook, also the interrupt of a person
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    start_child(["sleep", "60"], os.environ, Path(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_while_a_child_is_forked_is_not_lost(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_FORKING, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
    )

    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")
    wait_for(
        lambda: not processes_mentioning(str(tmp_path)), what="the child has ended too"
    )
