"""A key pair per pod, encrypted on disk from the first byte on, gone when removed."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError, DeadlineError, IdentityStore, wait_until
from runpod_client.identity_secret import IdentitySecret
from runpod_client.model import Secret
from runpod_client.sealed_keys import is_sealed, read_public_key
from support.clock import FakeTime

SECRET = Secret("a secret of more than twenty characters")


def public_half(private_key_file: Path, passphrase: str | None) -> list[str]:
    """Return the public key as OpenSSH derives it from the private one."""
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-P", passphrase or "", "-f", str(private_key_file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return derived.stdout.split()[:2]


def write_clear_key(store_folder: Path, name: str) -> str:
    """Write a key pair as earlier versions did, in the clear; return its public key."""
    folder = store_folder / name
    folder.mkdir(mode=0o700, parents=True)
    key = folder / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return key.with_suffix(".pub").read_text()


def test_identity_is_a_key_pair_that_openssh_reads(tmp_path: Path) -> None:
    identity = IdentityStore(tmp_path / "ids").create("abc")

    derived = public_half(identity.private_key_file, identity.read_passphrase())

    assert derived == identity.public_key.split()[:2]
    assert identity.private_key_file.stat().st_mode & 0o777 == 0o600
    assert identity.private_key_file.parent.stat().st_mode & 0o777 == 0o700
    public_file = identity.private_key_file.with_suffix(".pub")
    assert public_file.read_text() == f"{identity.public_key}\n"


def test_private_key_is_encrypted_and_opens_with_its_passphrase_alone(
    tmp_path: Path,
) -> None:
    store = IdentityStore(tmp_path, secret=SECRET)

    one, other = store.create("one"), store.create("other")

    assert is_sealed(one.private_key_file.read_bytes())
    for wrong in (other.read_passphrase(), str(SECRET), ""):
        with pytest.raises(subprocess.CalledProcessError):
            public_half(one.private_key_file, wrong)


def test_identity_is_made_once_and_removed_for_good(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    first = store.create("abc")

    assert store.create("abc") == first
    assert store.list_names() == ["abc"]
    store.remove("abc")
    store.remove("abc")

    assert store.find("abc") is None
    assert store.list_names() == []
    assert store.create("abc").public_key != first.public_key


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "x" * 65])
def test_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        IdentityStore(tmp_path).find(name)


def test_key_in_the_clear_is_encrypted_when_it_is_found(tmp_path: Path) -> None:
    public = write_clear_key(tmp_path / "ids", "old")

    found = IdentityStore(tmp_path / "ids").find("old")

    assert found is not None
    assert found.public_key.split()[:2] == public.split()[:2]
    assert is_sealed(found.private_key_file.read_bytes())
    derived = public_half(found.private_key_file, found.read_passphrase())
    assert derived == public.split()[:2]


def test_keys_stay_readable_when_a_secret_is_configured_later(tmp_path: Path) -> None:
    place = tmp_path / "config" / "identity-secret"
    made_up = IdentityStore(tmp_path / "ids", secret_file=place)
    public = made_up.create("abc").public_key.split()[:2]
    assert made_up.secret_file == place

    configured = IdentityStore(tmp_path / "ids", secret=SECRET, secret_file=place)
    found = configured.find("abc")

    assert found is not None
    assert public_half(found.private_key_file, found.read_passphrase()) == public
    newer = configured.create("newer")
    place.unlink()
    assert public_half(newer.private_key_file, newer.read_passphrase())


def test_lost_secret_is_said_in_a_sentence(tmp_path: Path) -> None:
    place = tmp_path / "identity-secret"
    store = IdentityStore(tmp_path / "ids", secret_file=place)
    store.create("abc")
    place.unlink()
    IdentityStore(tmp_path / "other", secret_file=place).create("other")

    with pytest.raises(ConfigError, match="another identity secret") as caught:
        store.unseal("abc")

    assert "RUNPOD_IDENTITY_SECRET_FILE" in caught.value.hint
    other = Secret("another secret of more than twenty characters")
    both = IdentityStore(tmp_path / "ids", secret=other, secret_file=place)
    found = both.find("abc")
    assert found is not None
    with pytest.raises(ConfigError, match="another identity secret"):
        found.read_passphrase()


def test_two_first_runs_agree_on_one_secret(tmp_path: Path) -> None:
    place = tmp_path / "config" / "identity-secret"
    made: list[Secret] = []
    gate = threading.Barrier(8)

    def first_run() -> None:
        gate.wait(10)
        made.append(IdentitySecret(None, [place]).ensure())

    threads = [threading.Thread(target=first_run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(made) == 8
    assert len(set(made)) == 1
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["identity-secret"]


def test_secret_goes_to_the_next_place_where_the_first_cannot_be_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file" / "identity-secret", tmp_path / "state" / "secret"]

    made = IdentitySecret(None, places).ensure()

    assert IdentitySecret(None, places).list_known() == [made]
    assert places[1].read_text().strip() == made


def test_short_or_open_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too short") as caught:
        IdentitySecret(Secret("hunter2"), []).ensure()
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    place = tmp_path / "identity-secret"
    IdentitySecret(None, [place]).ensure()
    place.chmod(0o644)

    with pytest.raises(ConfigError, match="open to other users"):
        IdentitySecret(None, [place]).ensure()


def test_neither_secret_nor_passphrase_shows_in_a_repr(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path, secret=SECRET)
    identity = store.create("abc")
    passphrase = identity.read_passphrase()
    assert passphrase

    shown = f"{identity!r} {identity} {store!r} {vars(store)!r}"

    assert SECRET not in shown
    assert passphrase not in shown


@given(st.binary(max_size=400))
def test_anything_that_is_no_key_is_refused_in_a_sentence(noise: bytes) -> None:
    armoured = (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + noise
        + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    for text in (noise, armoured):
        with pytest.raises(ConfigError, match="no private Ed25519 key"):
            read_public_key(text)


@given(cut=st.integers(min_value=0, max_value=60))
def test_cut_key_is_refused_in_a_sentence(cut: int) -> None:
    with pytest.raises(ConfigError, match="no private Ed25519 key"):
        read_public_key(WHOLE_KEY[: 40 + cut] + b"\n" + WHOLE_KEY[-35:])


WHOLE_KEY = (
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
    b"b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCAIVnMTHjhc8N/\n"
    b"3qSbxsuGAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIMg5ilRWn/8gFG3wsIwmXCd6OJW1\n"
    b"-----END OPENSSH PRIVATE KEY-----\n"
)


def test_rotated_key_serves_one_start_and_the_first_every_other(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    first = store.create("abc").public_key
    second = store.stage("abc").public_key
    store.adopt("abc", start="s1")
    third = store.stage("abc").public_key
    store.adopt("abc", start="s1")

    def key_at(start: str) -> str:
        found = store.find("abc", start=start)
        assert found is not None
        derived = public_half(found.private_key_file, found.read_passphrase())
        assert derived == found.public_key.split()[:2]
        return found.public_key

    assert len({first, second, third}) == 3
    assert [key_at(s) for s in ("s1", "s2", "s1", "s2")] == [third, first, third, first]
    assert not store.is_rotated("abc")
    key_at("s1")
    assert store.is_rotated("abc")
    retired = {" ".join(key.split()[:2]) for key in (first, second)}
    assert set(store.list_retired("abc")) == retired


def test_replaced_key_is_destroyed(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.create("abc")
    for _ in range(2):
        store.stage("abc")
        before = (tmp_path / "abc" / "id_ed25519").read_bytes()
        store.adopt("abc", start="s1")

    files = [path.read_bytes() for path in (tmp_path / "abc").iterdir()]

    assert before not in files
    assert sum(b"OPENSSH PRIVATE KEY" in content for content in files) == 3


KILLED_ADOPT = """
import os, sys
from pathlib import Path
from runpod_client import IdentityStore, identities

count = int(sys.argv[2])
write_private, replace = identities.write_private, Path.replace

def step():
    global count
    count -= 1
    if count < 0:
        os._exit(9)

def counting_write(*given, **more):
    step()
    write_private(*given, **more)
    step()

def counting_replace(self, target):
    step()
    return replace(self, target)

identities.write_private = counting_write
Path.replace = counting_replace
IdentityStore(Path(sys.argv[1])).adopt("abc", start="s1")
"""


def test_adoption_killed_at_any_step_leaves_a_key_the_pod_accepts(
    tmp_path: Path,
) -> None:
    outcomes = set()
    for steps in range(60):
        folder = tmp_path / str(steps) / "ids"
        store = IdentityStore(folder)
        first = store.create("abc").public_key
        second = store.stage("abc").public_key

        done = subprocess.run(
            [sys.executable, "-c", KILLED_ADOPT, str(folder), str(steps)],
            check=False,
            timeout=60,
        )

        found = IdentityStore(folder).find("abc", start="s1")
        assert found is not None
        assert found.public_key in {first, second}
        public_half(found.private_key_file, found.read_passphrase())
        after = IdentityStore(folder).find("abc", start="s2")
        assert after is not None
        assert after.public_key == first
        outcomes.add((done.returncode, found.public_key == second))
        if done.returncode == 0:
            break
    assert outcomes == {(9, False), (9, True), (0, True)}


def test_rotation_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.create("abc")

    with (
        store.rotating("abc"),
        pytest.raises(ConfigError, match="another process"),
        IdentityStore(tmp_path).rotating("abc"),
    ):
        pass

    with store.rotating("abc"):
        pass


def test_waiting_asks_at_the_interval_until_the_deadline(fake_time: FakeTime) -> None:
    asked: list[float] = []

    def probe() -> tuple[None, str]:
        asked.append(fake_time.elapsed_seconds)
        return None, "cold"

    with pytest.raises(DeadlineError, match="5 s for it; last seen: cold"):
        wait_until(
            probe,
            what="it",
            timeout=5,
            clock=fake_time.clock,
            sleep=fake_time.sleep,
        )

    assert asked == [0, 2, 4, 5]
