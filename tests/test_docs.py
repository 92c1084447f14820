"""The documentation says what the programs do: generated pages are current, and what the README prints works."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from runpod_client.cli import cli

ROOT = Path(__file__).parent.parent


def test_generated_pages_are_what_the_programs_say() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("pkgs/*/README.md"),
    ]

    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_first_screen_of_the_readme_says_what_can_cost_money() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:50]

    text = "\n".join(first_screen)
    assert "./scripts/demo" in text
    assert "./scripts/test" in text
    assert "## What can cost money" in text


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, f"{path} {name}")


def test_every_command_shows_examples_that_are_commands_of_ours() -> None:
    known = dict(leaves(cli, "runpod-client"))

    for path, command in known.items():
        shown = re.findall(
            r"^ +(runpod-client [^|#]*)", command.epilog or "", re.MULTILINE
        )
        assert shown, f"{path} --help has no example"
        for example in shown:
            assert any(example.startswith(name) for name in known), example


def test_every_option_says_what_it_is_for() -> None:
    for path, command in leaves(cli, "runpod-client"):
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.opts[0]} has no help"
