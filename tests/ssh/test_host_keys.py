"""Host keys are pinned per pod and start; a change is refused, a new start is not."""

import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runpod_client import ConfigError
from runpod_ssh import (
    Credentials,
    HostKeyError,
    HostKeyPolicy,
    HostKeyStore,
    HostKeyVerifier,
    connect,
)
from support.sshd import Sshd

VerifierFactory = Callable[..., HostKeyVerifier]


async def visit(sshd: Sshd, host_keys: HostKeyVerifier) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        assert (await connection.run("true", timeout=30)).exit_status == 0


async def test_first_use_pins_the_key_for_this_user_alone(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())

    pin = store.find("pod1")
    assert pin is not None
    assert (pin.trust, pin.start) == ("first-use", "start-1")
    assert pin.fingerprint == sshd.fingerprint
    for path in (store.folder / "pod1.json", store.known_hosts_file("pod1")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in store.folder.iterdir()) == [
        "pod1.json",
        "pod1.known_hosts",
    ]


async def test_changed_key_of_the_same_start_is_refused_with_both_fingerprints(
    sshd: Sshd, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())
    before = sshd.fingerprint
    sshd.restart(with_new_host_key=True)

    with pytest.raises(HostKeyError) as caught:
        await visit(sshd, verifier())

    assert before == caught.value.expected_fingerprint
    assert sshd.fingerprint == caught.value.offered_fingerprint
    assert before in str(caught.value)
    assert sshd.fingerprint in str(caught.value)
    assert "runpod-ssh keys forget pod1" in caught.value.hint
    assert sshd.address == caught.value.address


async def test_unchanged_key_is_accepted_again(
    sshd: Sshd, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())
    sshd.restart(with_new_host_key=False)

    await visit(sshd, verifier())


async def test_new_start_is_trusted_anew(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())
    sshd.restart(with_new_host_key=True)

    await visit(sshd, verifier(start="start-2"))

    pin = store.find("pod1")
    assert pin is not None
    assert (pin.start, pin.fingerprint) == ("start-2", sshd.fingerprint)


async def test_other_pod_on_a_recycled_address_is_no_conflict(
    sshd: Sshd, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())
    sshd.restart(with_new_host_key=True)

    await visit(sshd, verifier(pod_id="pod2"))


async def test_failed_login_pins_nothing(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    (sshd.folder / "authorized_keys").write_text("")

    with pytest.raises(Exception, match="failed"):
        await visit(sshd, verifier())

    assert store.find("pod1") is None


async def test_strict_accepts_only_what_was_vouched_for(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    with pytest.raises(HostKeyError, match="no host key is pinned"):
        await visit(sshd, verifier(policy=HostKeyPolicy.STRICT))

    store.vouch("pod1", "start-1", [sshd.fingerprint])
    await visit(sshd, verifier(policy=HostKeyPolicy.STRICT))

    pin = store.find("pod1")
    assert pin is not None
    assert pin.trust == "verified"
    assert pin.host_key is not None


async def test_off_accepts_anything_and_pins_nothing(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    store.vouch("pod1", "start-1", ["SHA256:" + "x" * 43])

    await visit(sshd, verifier(policy=HostKeyPolicy.OFF))

    pin = store.find("pod1")
    assert pin is not None
    assert not pin.blob


async def test_forgotten_key_is_trusted_on_the_next_use(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())
    sshd.restart(with_new_host_key=True)

    assert store.forget("pod1")
    assert not store.forget("pod1")

    await visit(sshd, verifier())


@pytest.mark.parametrize(
    "count", [4, pytest.param(100, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])]
)
async def test_swapped_key_is_always_refused_and_a_recycled_address_always_accepted(
    sshd: Sshd, verifier: VerifierFactory, count: int
) -> None:
    refused = accepted = 0
    for number in range(count):
        await visit(sshd, verifier(pod_id=f"pod{number}"))
        accepted += 1
        sshd.restart(with_new_host_key=True)
        with pytest.raises(HostKeyError):
            await visit(sshd, verifier(pod_id=f"pod{number}"))
        refused += 1

    assert (refused, accepted) == (count, count)


async def test_any_of_several_vouched_keys_is_the_pod_s_until_it_has_shown_one(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    store.vouch("pod1", "start-1", ["SHA256:" + "x" * 43, sshd.fingerprint])

    await visit(sshd, verifier())

    pin = store.find("pod1")
    assert pin is not None
    assert (pin.fingerprints, pin.trust) == ({sshd.fingerprint}, "verified")


async def test_key_trusted_on_first_use_becomes_verified_when_vouched_for(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    await visit(sshd, verifier())

    pin = store.vouch("pod1", "start-1", ["SHA256:" + "x" * 43, sshd.fingerprint])

    assert pin.trust == "verified"
    assert pin.host_key is not None
    assert store.known_hosts_file("pod1").read_text().startswith("pod1 ssh-ed25519 ")


async def test_key_nobody_vouched_for_is_refused_with_the_way_out(
    sshd: Sshd, store: HostKeyStore, verifier: VerifierFactory
) -> None:
    store.vouch("pod1", "start-1", ["SHA256:" + "x" * 43])

    with pytest.raises(HostKeyError, match="vouched for") as caught:
        await visit(sshd, verifier())

    assert f"runpod-ssh keys trust pod1 {sshd.fingerprint}" in caught.value.hint


def test_pin_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    store = HostKeyStore(tmp_path)
    store.vouch("pod1", "start-1", ["SHA256:x"])
    path = tmp_path / "pod1.json"
    path.write_text(path.read_text().replace(',\n  "others": []', ""))
    assert "others" not in path.read_text()

    pin = store.find("pod1")

    assert pin is not None
    assert pin.fingerprints == {"SHA256:x"}
    assert store.list_pod_ids() == ["pod1"]


def test_unreadable_pin_counts_as_an_error_never_as_none(tmp_path: Path) -> None:
    (tmp_path / "pod1.json").write_text("{half")

    with pytest.raises(ConfigError) as caught:
        HostKeyStore(tmp_path).find("pod1")

    assert "keys forget pod1" in caught.value.hint


@pytest.mark.parametrize("pod_id", ["../x", "", "a/b", ".hidden"])
def test_pod_id_never_walks_the_tree(tmp_path: Path, pod_id: str) -> None:
    with pytest.raises(ConfigError):
        HostKeyStore(tmp_path).find(pod_id)


def test_moment_of_pinning_is_the_injected_one(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    store = HostKeyStore(tmp_path, now=lambda: moment)

    pin = store.vouch("pod1", "start-1", ["SHA256:x"])

    assert pin.pinned_at == moment.isoformat()
