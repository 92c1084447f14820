"""`runpod-client`: the command line over `RunPodClient`.

Groups of commands live in `runpod_client.commands`, a module each, and are imported
when they are asked for: `--help` costs what click costs.
"""

from typing import NoReturn

import click

from runpod_client import console
from runpod_client.lazy_group import LazyGroup, Place

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


@click.group(
    cls=LazyGroup,
    places={
        name: Place(f"runpod_client.commands.{module}", name.replace("-", "_"), summary)
        for name, (module, summary) in GROUPS.items()
    },
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
