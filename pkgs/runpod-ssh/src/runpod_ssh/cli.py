"""`runpod-ssh`: the command line over pods' SSH.

Commands live in `runpod_ssh.commands`, a module each, and are imported when they are
asked for, as asyncssh is when something connects: `--help` costs what click costs.
"""

from typing import NoReturn

import click

from runpod_client import console
from runpod_client.lazy_group import LazyGroup, Place

# command -> its module there, its name in it, and what `--help` says of it
COMMANDS = {
    "exec": ("executing", "exec_", "Run a command on one pod or on many."),
    "shell": ("shells", "shell", "Open a login shell on a pod."),
    "copy": ("copying", "copy", "Copy files and folders to, from and between pods."),
    "sync": (
        "syncing",
        "sync",
        "Make a folder equal to another, sending what changed.",
    ),
    "sessions": ("sessions", "sessions", "Keep terminals on pods that outlive links."),
    "forward": ("forwarding", "forward", "Reach ports of pods through tunnels."),
    "probe": ("probing", "probe", "See the load of pods: GPU, CPU, memory, disks."),
    "info": ("reaching", "info", "Show how to reach a pod with OpenSSH's ssh."),
    "config": ("reaching", "config", "Write pods into an OpenSSH configuration."),
    "keys": ("keys", "keys", "Look after host keys and login keys."),
    "master": ("master", "master", "See and stop the background process."),
}


@click.group(
    cls=LazyGroup,
    places={
        name: Place(f"runpod_ssh.commands.{module}", attribute, summary)
        for name, (module, attribute, summary) in COMMANDS.items()
    },
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  runpod-ssh exec trainer nvidia-smi
  runpod-ssh copy ./src trainer:/workspace/
Pods come from runpod-client: runpod-client pods list""",
)
@click.version_option(package_name="runpod-ssh", prog_name="runpod-ssh")
def cli() -> None:
    """Run commands, open shells and copy files on RunPod pods.

    POD is a pod's id or its unique name. Host keys are pinned per pod and start.
    """


def main() -> NoReturn:
    """Run the command line."""
    console.run(cli, "runpod-ssh")
