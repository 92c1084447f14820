"""`runpod-ssh`: the command line over pods' SSH.

Commands live in `runpod_ssh.commands`, a module each, and are imported when they are
asked for, as asyncssh is when something connects: `--help` costs what click costs.
"""

import importlib
from typing import NoReturn

import click

from runpod_client import console

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


class _Commands(click.Group):
    """The commands above, loaded on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        if cmd_name not in COMMANDS:
            return None
        module_name, name, summary = COMMANDS[cmd_name]
        module = importlib.import_module(f"runpod_ssh.commands.{module_name}")
        command: click.Command = getattr(module, name)
        command.short_help = summary
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in COMMANDS.items()])


@click.group(
    cls=_Commands,
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
