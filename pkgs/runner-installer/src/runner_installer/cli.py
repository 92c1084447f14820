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
    "remove": ("installing", "remove", "Take every runner off a pod."),
    "plan": ("installing", "plan", "Print what install would do, and do none of it."),
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
