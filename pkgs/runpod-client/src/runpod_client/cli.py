"""`runpod-client`: the command line over `RunPodClient`.

Groups of commands live in `runpod_client.commands`, a module each, and are imported
when they are asked for: `--help` costs what click costs.
"""

import importlib
from typing import NoReturn

import click

from runpod_client import console

# group -> its module, and what `--help` says of it
GROUPS = {
    "pods": ("pods", "Rent pods and look after them."),
    "gpus": ("gpus", "See what can be rented."),
    "cpus": ("catalog", "See the CPU catalogue."),
    "data-centers": ("catalog", "See where pods can run."),
    "account": ("account", "See the account's money."),
    "keys": ("keys", "Keep the account's SSH keys."),
    "volumes": ("volumes", "Keep network volumes, which outlive pods."),
    "templates": ("templates", "Describe pods in files and rent them by name."),
    "lease": ("leases", "See and change how long pods may live."),
    "reap": ("reaping", "End pods whose lease is over or that idle."),
    "config": ("configuration", "See and check the settings."),
}


class _Groups(click.Group):
    """The groups above, loaded on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return list(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        if cmd_name not in GROUPS:
            return None
        module_name, summary = GROUPS[cmd_name]
        module = importlib.import_module(f"runpod_client.commands.{module_name}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        command.short_help = summary
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in GROUPS.items()])


@click.group(
    cls=_Groups,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  runpod-client gpus list
  runpod-client pods create --name trainer --gpu "RTX 4090" --lease 2h
  runpod-client pods list
Without an account: `runpod-sim serve`, and set the variables it prints.""",
)
@click.version_option(package_name="runpod-client", prog_name="runpod-client")
def cli() -> None:
    """Rent, resume, stop and terminate RunPod pods, each exactly once.

    The API key is read from the file named by RUNPOD_API_KEY_FILE, or from
    RUNPOD_API_KEY. POD is a pod's id or its name.
    """


def main() -> NoReturn:
    """Run the command line."""
    console.run(cli, "runpod-client")
