"""A scripted RunPod whose one pod, `train`, is a real sshd: quick to make, quick to ask.

As a program, `pod_world.py FOLDER` serves until its standard input ends, and prints a
line of JSON: the variables for the tools, and how OpenSSH gets in.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.http_server import ScriptedServer
from support.runpod_script import RunPodScript, environ_for, pod_row
from support.sshd import Sshd, make_key, shimmed_environ

POD_ID = "podtrain000001"
NAME = "train"
_INTENT = "k0000000000000000000000000000001"


@dataclass(frozen=True)
class PodWorld:
    """The pod, its account, and the environment of a user who owns it.

    Attributes:
        identity_file: A private key the pod takes, in the clear.
    """

    sshd: Sshd
    script: RunPodScript
    environ: Mapping[str, str]
    identity_file: Path


@contextlib.contextmanager
def pod_world(folder: Path) -> Iterator[PodWorld]:
    """Yield the world; everything in it ends with the block."""
    server = ScriptedServer()
    sshd = _make_sshd(folder)
    try:
        sshd.start()
        script = RunPodScript(server)
        script.pods[POD_ID] = pod_row(
            POD_ID,
            NAME,
            env=[f"RUNPOD_CLIENT_INTENT={_INTENT}", "RUNPOD_CLIENT_OWNER=tester"],
            address=("127.0.0.1", sshd.port),
        )
        environ = {
            **os.environ,
            **environ_for(server.base_url, folder / "state"),
            "RUNPOD_OWNER": "tester",
            "RUNPOD_SSH_BACKGROUND": "true",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }
        environ.pop("SSH_AUTH_SOCK", None)
        (folder / "run").mkdir(mode=0o700)
        yield PodWorld(sshd, script, environ, sshd.identity_file)
    finally:
        sshd.stop()
        server.close()


def _make_sshd(folder: Path) -> Sshd:
    place = folder / "sshd"
    home = place / "home"
    home.mkdir(parents=True)
    environ = shimmed_environ(place, home)
    sshd = Sshd(
        folder=place, home=home, identity_file=place / "identity", environ=environ
    )
    make_key(sshd.identity_file, environ)
    shutil.copy(place / "identity.pub", place / "authorized_keys")
    sshd.new_host_key()
    # filed where the pod's own key is looked for, under the intent it was made for
    own = folder / "state" / "identities" / _INTENT
    own.mkdir(mode=0o700, parents=True)
    shutil.copy(sshd.identity_file, own / "id_ed25519")
    shutil.copy(place / "identity.pub", own / "id_ed25519.pub")
    return sshd


def main() -> None:
    """Serve a world until stdin ends."""
    folder = Path(sys.argv[1])
    with pod_world(folder) as world:
        told = {
            "environ": {
                k: v for k, v in world.environ.items() if os.environ.get(k) != v
            },
            "port": world.sshd.port,
            "identity_file": str(world.identity_file),
        }
        print(json.dumps(told), flush=True)  # noqa: T201  # a program's answer
        sys.stdin.read()


if __name__ == "__main__":
    main()
