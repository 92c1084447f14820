import subprocess
from pathlib import Path

import pytest

from runpod_client import ConfigError, DeadlineError, IdentityStore, wait_until
from support.clock import FakeTime


def test_identity_is_a_key_pair_that_openssh_reads(tmp_path: Path) -> None:
    identity = IdentityStore(tmp_path / "ids").create("abc")

    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(identity.private_key_file)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert derived.stdout.split()[:2] == identity.public_key.split()[:2]
    assert identity.private_key_file.stat().st_mode & 0o777 == 0o600
    assert identity.private_key_file.parent.stat().st_mode & 0o777 == 0o700


def test_identity_is_made_once_and_removed_for_good(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    first = store.create("abc")

    assert store.create("abc") == first
    store.remove("abc")
    store.remove("abc")

    assert store.find("abc") is None
    assert store.create("abc").public_key != first.public_key


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "x" * 65])
def test_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        IdentityStore(tmp_path).find(name)


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
