"""An ssh-agent of a test's own: OpenSSH's, without keys, ended with the block."""

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.sshd import find_program

END_SECONDS = 20


@contextlib.contextmanager
def running_agent() -> Iterator[dict[str, str]]:
    """Run an ssh-agent; give the variables that lead to it."""
    # a socket's path is short, pytest's folders are not
    with tempfile.TemporaryDirectory(prefix="runpod-agent-") as folder:
        place = Path(folder) / "agent"
        process = subprocess.Popen(
            [find_program("ssh-agent"), "-D", "-a", str(place)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it says where it listens once it does
            yield {"SSH_AUTH_SOCK": str(place)}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(END_SECONDS)
            process.stdout.close()


def list_held(agent: dict[str, str]) -> list[str]:
    """Return the fingerprints of the keys that an agent holds."""
    done = subprocess.run(
        [find_program("ssh-add"), "-l"],
        env=agent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_SECONDS,
    )
    return [line.split()[1] for line in done.stdout.splitlines() if "SHA256" in line]
