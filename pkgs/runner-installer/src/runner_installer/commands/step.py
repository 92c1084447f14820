"""What every command for workflows begins with: settings, and their secrets masked."""

from typing import TYPE_CHECKING

from runpod_client import console

if TYPE_CHECKING:
    from runner_installer.operations import Room
    from runner_installer.workflow_files import WorkflowFiles


def open_step(
    session: console.Session, *, needs_github: bool
) -> "tuple[WorkflowFiles, Room]":
    """Load the settings and have their secrets masked before anything uses them."""
    from dataclasses import fields  # noqa: PLC0415  # not for --help

    from runner_installer.operations import Room  # noqa: PLC0415
    from runner_installer.workflow_files import WorkflowFiles  # noqa: PLC0415
    from runpod_client import Secret  # noqa: PLC0415

    files = WorkflowFiles(session.environ, session.note)
    room = Room.of(session)
    held = (room.client_settings, room.github_settings)
    values = [getattr(each, field.name) for each in held for field in fields(each)]
    files.mask(value for value in values if isinstance(value, Secret))
    if needs_github:
        _check_github(room)
    return files, room


def _check_github(room: "Room") -> None:
    """Refuse a missing credential before anything is rented."""
    from runner_installer.github import open_github  # noqa: PLC0415  # lazy

    open_github(room.github_settings).close()
