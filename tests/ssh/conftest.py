"""What the tests of this package share beside the fixtures in support."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runpod_ssh import HostKeyPolicy, HostKeyStore, HostKeyVerifier

# In part they need a whole machine: terminfo, tput and dash, programs such as `true`, and
# scp that finds ssh.
UNWRAPPED = {
    "test_attachments",
    "test_cli_probe",
    "test_cli_sessions",
    "test_forwards",
    "test_info",
    "test_jump",
    "test_part_digest",
    "test_probe",
    "test_probe_script",
    "test_resume",
    "test_sessions",
    "test_standby",
    "test_users",
}
# what a test's name, or that of a fixture of its, says it needs
NEEDED = ("busybox", "softhsm")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need what some package sets or a build sandbox lack."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem in UNWRAPPED:
            item.add_marker("unwrapped")
        names = [item.name, *getattr(item, "fixturenames", ())]
        for needed in NEEDED:
            if any(needed in name for name in names):
                item.add_marker(needed)


VerifierFactory = Callable[..., HostKeyVerifier]


@pytest.fixture
def store(tmp_path: Path) -> HostKeyStore:
    return HostKeyStore(tmp_path / "state" / "host_keys")


@pytest.fixture
def verifier(store: HostKeyStore) -> VerifierFactory:
    def make(
        *,
        pod_id: str = "pod1",
        start: str = "start-1",
        policy: HostKeyPolicy = HostKeyPolicy.TRUST_ON_FIRST_USE,
    ) -> HostKeyVerifier:
        return HostKeyVerifier(store, pod_id=pod_id, start=start, policy=policy)

    return make


@pytest.fixture
def host_keys(verifier: VerifierFactory) -> HostKeyVerifier:
    """The verifier of one connection to a pod nobody has met before."""
    return verifier()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder that only the pod's side is told of."""
    folder = tmp_path / "there with 'space"
    folder.mkdir()
    return folder
