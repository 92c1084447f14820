"""A click group whose commands are imported when they are asked for.

`--help` of a program then costs what click costs. The table is all it knows of them.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Place:
    """Where a command is found.

    Attributes:
        module: Its dotted name.
        name: The command's name in it.
        summary: What the program's `--help` says of it, one line.
    """

    module: str
    name: str
    summary: str


class LazyGroup(click.Group):
    """The commands of a table, in its order."""

    def __init__(self, *, places: Mapping[str, Place], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        """Return the names without importing anything."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """Import a command; None where the table has none of that name."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(place.module), place.name
        )
        command.short_help = place.summary
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the table into `--help`."""
        with formatter.section("Commands"):
            rows = [(name, place.summary) for name, place in self._places.items()]
            formatter.write_dl(rows)
