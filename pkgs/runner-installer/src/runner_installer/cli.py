"""The command line `runner-installer`.

Commands live in `runner_installer.commands`, a module each, and are imported when they
are asked for: `--help` costs what click costs.
"""

from typing import NoReturn

import click

from runpod_client import console
from runpod_client.lazy_group import LazyGroup, Place

# command -> its module there, its name in it, and what `--help` says of it
COMMANDS = {
    "install": ("installing", "install", "Make a pod a runner for one job."),
    "status": ("installing", "status", "Show a pod's runners, seen from three sides."),
    "logs": ("installing", "logs", "Print what a runner and its installation wrote."),
    "remove": ("installing", "remove", "Take every runner off a pod."),
    "check": (
        "checking",
        "check",
        "Find mistakes in workflows before they cost money.",
    ),
    "plan": ("installing", "plan", "Print what install would do, and do none of it."),
    "up": ("renting", "up", "Rent pods for a workflow run and make them runners."),
    "down": ("giving_back", "down", "End all that up rented, and say what it cost."),
    "sweep": ("giving_back", "sweep", "End what lost workflow runs left behind."),
    "serve": ("serving", "serve", "Rent runners as jobs are queued; end them after."),
    "pools": ("serving", "pools", "Show what a running serve sees and decided."),
    "costs": ("serving", "costs", "Show what workflow runs cost on the pools' pods."),
}


@click.group(
    cls=LazyGroup,
    places={
        name: Place(f"runner_installer.commands.{module}", attribute, summary)
        for name, (module, attribute, summary) in COMMANDS.items()
    },
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  runner-installer install my-pod --repo owner/name
  runner-installer status my-pod
  runner-installer remove my-pod""",
)
@click.version_option(package_name="runner-installer", prog_name="runner-installer")
def cli() -> None:
    """Make a RunPod pod a GitHub Actions runner, and clean up after it.

    POD is a pod's id or its unique name. A runner takes one job and is then used up.

    Needs RUNPOD_API_KEY and GITHUB_TOKEN (or the same with _FILE), the second with
    Administration: write on the repository.
    """


def main() -> NoReturn:
    """Run the program."""
    console.run(cli, "runner-installer")
