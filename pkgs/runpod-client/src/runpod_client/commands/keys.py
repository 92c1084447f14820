"""`runpod-client keys`: the SSH keys that RunPod puts into pods made with startSsh."""

from typing import IO, TYPE_CHECKING, Any

import click

from runpod_client.commands.arguments import YES_OPTION, examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient
    from runpod_client.keyring import AccountKey
    from runpod_client.public_keys import PublicKey
    from runpod_client.sheets import Sheet

MAX_FILE_CHARACTERS = 1_000_000


@click.group()
def keys() -> None:
    """Keep the account's SSH keys.

    RunPod puts them into pods when those are created; pods that run do not get a key
    that is added later. Pods made by runpod-client have a key of their own besides.
    """


@keys.command(
    "list",
    epilog=examples(
        "  runpod-client keys list\n"
        "  runpod-client keys list --json | jq -r '.keys[].public_key'\n"
    ),
)
@with_client
def list_keys(session: Session, client: "RunPodClient") -> None:
    """List the account's SSH keys, and which of them are weak."""
    from runpod_client.keyring import Keyring  # noqa: PLC0415  # slow

    found = Keyring(client.cloud).list_keys()
    session.emit(
        {"keys": [render_entry(entry) for entry in found]},
        lambda: render_sheet(found),
        names=lambda: [entry.key.fingerprint for entry in found if entry.key],
    )


@keys.command(
    "add",
    epilog=examples(
        "  runpod-client keys add ~/.ssh/id_ed25519.pub\n"
        "  ssh-add -L | runpod-client keys add -\n"
        "  runpod-client keys add laptop.pub --comment me@laptop\n"
    ),
)
@click.argument("file", type=click.File(errors="replace"), metavar="FILE|-")
@click.option("--comment", help="Instead of the key's own; names it in the list.")
@with_client
def add_keys(
    session: Session, client: "RunPodClient", file: IO[str], *, comment: str | None
) -> None:
    """Add the public keys in a file to the account's, and keep all others.

    A key that is there already stays as it is. It takes a second or two: whether
    somebody else wrote at the same moment is looked for.
    """
    from runpod_client.keyring import Keyring  # noqa: PLC0415  # slow
    from runpod_client.public_keys import (  # noqa: PLC0415
        parse_public_key,
        parse_public_keys,
    )

    text = file.read(MAX_FILE_CHARACTERS)
    given = parse_public_keys(text, source=file.name)
    if comment is not None:
        given = [parse_public_key(key.line, comment=comment) for key in given]
    keyring = Keyring(client.cloud)
    outcomes: list[tuple[PublicKey, bool]] = []
    for key in given:
        if key.warning:
            session.note(f"Warning: {key.fingerprint}: {key.warning}.")
        with session.status(f"adding {key.fingerprint}"):
            outcomes.append((key, keyring.add(key)))
    session.emit(
        {"keys": [_render_key(key) | {"added": did} for key, did in outcomes]},
        lambda: _render_outcomes(outcomes),
        names=lambda: [key.fingerprint for key, _ in outcomes],
    )


@keys.command(
    "remove",
    epilog=examples(
        "  runpod-client keys remove SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDqbHt1cOPbwhr1jXY\n"
        "  runpod-client keys remove me@laptop --yes\n"
    ),
)
@click.argument("key", metavar="FINGERPRINT|COMMENT")
@YES_OPTION
@with_client
def remove_key(
    session: Session, client: "RunPodClient", key: str, *, yes: bool
) -> None:
    """Remove one key from the account's.

    Pods that have it keep it: it is not taken out of them.
    """
    from runpod_client.keyring import Keyring, select_key  # noqa: PLC0415  # slow
    from runpod_client.sheets import Lines  # noqa: PLC0415

    keyring = Keyring(client.cloud)
    chosen = select_key(keyring.list_keys(), key)
    label = _render_label(chosen)
    session.confirm(f"Remove the SSH key {label}?", yes=yes)
    with session.status(f"removing {label}"):
        # by its fingerprint: a comment may stand for another key by now
        keyring.remove(chosen.key.fingerprint if chosen.key else chosen.line)
    session.emit(
        {"key": render_entry(chosen), "removed": True},
        lambda: Lines(f"{label} removed"),
    )


def render_entry(entry: "AccountKey") -> dict[str, Any]:
    """Return a line of the account for programs; what is no key has nulls."""
    if entry.key is not None:
        return _render_key(entry.key)
    return {
        "fingerprint": None,
        "key_type": None,
        "bits": None,
        "comment": None,
        "warning": "not a valid public key",
        "public_key": entry.line,
    }


def _render_key(key: "PublicKey") -> dict[str, Any]:
    return {
        "fingerprint": key.fingerprint,
        "key_type": key.key_type,
        "bits": key.bits,
        "comment": key.comment,
        "warning": key.warning or None,
        "public_key": key.line,
    }


def render_sheet(entries: "list[AccountKey]") -> "Sheet":
    """Return the keys as a table."""
    from runpod_client.sheets import Cell, Sheet  # noqa: PLC0415  # slow

    rows = []
    for document in map(render_entry, entries):
        warning = document["warning"] or ""
        rows.append(
            [
                document["fingerprint"] or document["public_key"][:40],
                document["key_type"] or "-",
                str(document["bits"] or "-"),
                document["comment"] or "-",
                Cell(warning, "yellow"),
            ]
        )
    return Sheet(
        headings=("FINGERPRINT", "TYPE", ">BITS", "COMMENT", "WARNING"),
        rows=rows,
        empty="No SSH keys. Add one: runpod-client keys add ~/.ssh/id_ed25519.pub",
    )


def _render_label(entry: "AccountKey") -> str:
    key = entry.key
    if key is None:
        return repr(entry.line[:40])
    return f"{key.fingerprint} ({key.comment})" if key.comment else key.fingerprint


def _render_outcomes(outcomes: "list[tuple[PublicKey, bool]]") -> Any:
    from runpod_client.sheets import Lines  # noqa: PLC0415  # slow

    return Lines(
        "\n".join(
            f"{key.fingerprint} {'added' if did else 'was there already'}"
            for key, did in outcomes
        )
    )
