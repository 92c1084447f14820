"""Login keys over a pod's life: rotated, listed, destroyed with it, told to nobody."""

import json
import re
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_client import IdentityStore
from support.sim import SimServer
from support.ssh_desk import SSHDesk, rent, rent_pod


@pytest.fixture
def desk(
    module_sim: SimServer, tmp_path: Path, request: pytest.FixtureRequest
) -> SSHDesk:
    """A desk with a pod and an account of its own, to stop and to end."""
    account = f"rpa_{zlib.crc32(request.node.name.encode()):032x}"
    return rent(module_sim.with_key(account), tmp_path)


def test_rotated_pod_is_reached_now_and_after_its_next_start(desk: SSHDesk) -> None:
    before = desk.json("keys", "show", "train")

    rotated = desk.json("keys", "rotate", "train")
    now = desk.ssh("exec", "train", "echo now")
    shown = desk.json("keys", "show", "train")
    for action in (["stop"], ["start", "--yes"]):
        done = desk.run("runpod-client", "pods", action[0], "train", *action[1:])
        assert done.returncode == 0, done.stderr
    later = desk.ssh("exec", "train", "echo later")
    again = desk.json("keys", "rotate", "train")
    last = desk.ssh("exec", "train", "echo last")

    assert now.stdout == "now\n", now.stderr
    assert rotated["retired"] == [before["fingerprint"]]
    assert rotated["fingerprint"] == shown["fingerprint"] != before["fingerprint"]
    assert (before["is_rotated"], shown["is_rotated"]) == (False, True)
    assert later.stdout == "later\n", later.stderr
    assert before["fingerprint"] in again["retired"]
    assert last.stdout == "last\n", last.stderr


def test_pod_that_was_not_rented_here_has_no_key_to_rotate(
    desk: SSHDesk, tmp_path: Path
) -> None:
    stranger = {**desk.environ, "RUNPOD_STATE_DIR": str(tmp_path / "elsewhere")}

    done = desk.run("runpod-ssh", "keys", "rotate", "train", environ=stranger)

    assert done.returncode == 2
    assert "not rented here" in done.stderr


def test_keys_of_pods_that_are_gone_are_listed_and_destroyed(desk: SSHDesk) -> None:
    assert desk.ssh("exec", "train", "true").returncode == 0
    other = rent_pod(desk, "other")
    status, _ = desk.sim.rest("DELETE", f"pods/{desk.pod_id}")  # by somebody else
    assert status < 300

    listed = {row["pod_id"]: row for row in desk.json("keys", "list")["keys"]}
    refused = desk.ssh("keys", "prune")
    pruned = desk.json("keys", "prune", "--yes")
    left = desk.json("keys", "list")["keys"]

    gone = listed[desk.pod_id]
    assert (gone["is_orphan"], listed[other]["is_orphan"]) == (True, False)
    assert gone["host_key_trust"] == "verified"
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert [row["pod_id"] for row in pruned["destroyed"]] == [desk.pod_id]
    assert [row["pod_id"] for row in left] == [other]
    assert not list((desk.state / "host_keys").glob(f"{desk.pod_id}*"))
    assert len(list((desk.state / "identities").iterdir())) == 1


def test_list_is_a_table_for_people_and_stable_for_programs(desk: SSHDesk) -> None:
    shown = desk.ssh("keys", "list").stdout.splitlines()
    (row,) = desk.json("keys", "list")["keys"]

    assert re.split(" {2,}", shown[0]) == [
        "POD",
        "ID",
        "LOGIN KEY",
        "MADE",
        "STATE",
        "HOST KEY",
        "TRUST",
        "PINNED",
    ]
    assert shown[1].startswith(f"train  {desk.pod_id}  {row['fingerprint']}")
    assert list(row) == [
        "identity",
        "pod_id",
        "pod_name",
        "pod_status",
        "fingerprint",
        "made_at",
        "is_rotated",
        "is_unfinished",
        "is_orphan",
        "host_key_fingerprint",
        "host_key_trust",
        "host_key_pinned_at",
    ]


def list_private_texts(desk: SSHDesk) -> set[str]:
    """Return everything that must stay secret: keys line by line, passphrases."""
    store = IdentityStore(desk.state / "identities", secret_file=desk.secret_file)
    texts = {desk.secret_file.read_text().strip()}
    for name in store.list_names():
        identity = store.find(name)
        assert identity is not None
        texts.add(identity.read_passphrase() or "")
        clear = store.unseal(name).decode()
        sealed = [
            path.read_text() for path in (desk.state / "identities").rglob("id_*")
        ]
        for text in (clear, *(one for one in sealed if "PRIVATE" in one)):
            lines = [line for line in text.splitlines() if "-----" not in line]
            # the head of a key's file is its format and its public half
            texts.update(lines[2:])
    return {text for text in texts if len(text) >= 16}


def test_nothing_private_is_told_over_a_pod_s_whole_life(
    desk: SSHDesk, tmp_path: Path
) -> None:
    desk = replace(
        desk,
        environ={
            **desk.environ,
            "RUNPOD_LOG_LEVEL": "debug",
            "RUNPOD_LOG_FORMAT": "json",
        },
    )
    private = list_private_texts(desk)
    told: list[str] = []

    def run(*words: str, status: int = 0) -> None:
        done = desk.run(*words)
        assert done.returncode == status, done.stderr
        told.extend((done.stdout, done.stderr, " ".join(words)))

    run("runpod-client", "pods", "show", "train", "--json")
    run("runpod-ssh", "exec", "train", "env; cat /proc/self/environ")
    run("runpod-ssh", "info", "train", "--json")
    run("runpod-ssh", "config")
    run("runpod-ssh", "keys", "rotate", "train")
    private |= list_private_texts(desk)
    run("runpod-ssh", "keys", "list", "--json")
    run("runpod-ssh", "keys", "load", "train", status=2)  # there is no agent
    folder = next((desk.state / "identities").iterdir())
    whole = {path: path.read_text() for path in folder.glob("id_ed25519*")}
    for path, text in whole.items():
        path.write_text(text[:200])
    run("runpod-ssh", "copy", "train:x", "x", status=3)
    for path, text in whole.items():
        path.write_text(text)
    desk.secret_file.write_text("another secret of more than twenty characters")
    run("runpod-ssh", "copy", "train:x", "x", status=3)
    run("runpod-client", "pods", "terminate", "train", "--yes")

    assert not list((desk.state / "identities").iterdir())
    told += [desk.sim.log_path.read_text(), json.dumps(desk.sim.world())]
    for path in [*tmp_path.rglob("*"), *Path(desk.sim.state_dir).rglob("*")]:
        if path.is_file() and path != desk.secret_file:
            told.append(path.read_bytes().decode(errors="replace"))
    leaked = [text for text in private if any(text in one for one in told)]
    assert len(private) >= 6
    assert leaked == []
    assert "identity_rotated" in "".join(told)
    with sqlite3.connect(desk.state / "journal.sqlite3") as journal:
        dumped = "\n".join(journal.iterdump())
    journal.close()
    assert not re.search("PRIVATE KEY", dumped)
