"""What opening a client does at once, and what only the first call does."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runpod_client import ConfigError, RunPodClient, Secret, open_client
from runpod_client.cloud import Cloud
from runpod_client.config import ClientSettings
from runpod_client.identities import IdentityStore
from runpod_client.intents import Journal
from runpod_client.opening import open_cloud

PROBE = """
import sys
from pathlib import Path
from runpod_client import Secret, open_client
from runpod_client.config import ClientSettings
settings = ClientSettings(
    api_key=Secret("rpa_key"), api_url="http://127.0.0.1:1", state_dir=Path(sys.argv[1])
)
with open_client(settings) as client:
    print("requests" in sys.modules)
    client.cloud
    print("requests" in sys.modules)
"""


def settings_for(
    state_dir: Path, *, api_url: str = "http://127.0.0.1:1", dialect: str = "auto"
) -> ClientSettings:
    return ClientSettings(
        api_key=Secret("rpa_key"),
        state_dir=state_dir,
        api_url=api_url,
        dialect=dialect,
    )


def test_wire_is_loaded_by_who_needs_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "False\nTrue\n", done.stderr


def test_wire_is_opened_once_however_many_ask(tmp_path: Path) -> None:
    opened: list[Cloud] = []

    def open_wire() -> Cloud:
        opened.append(open_cloud(settings_for(tmp_path)))
        return opened[-1]

    client = RunPodClient(
        open_wire,
        Journal(tmp_path),
        IdentityStore(tmp_path / "identities"),
        owner=lambda: "tester",
    )
    with client, ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _number: client.cloud, range(50)))

    assert len(opened) == 1
    assert {id(cloud) for cloud in seen} == {id(opened[0])}


def test_client_that_made_no_call_opens_nothing_to_close_it(tmp_path: Path) -> None:
    with open_client(settings_for(tmp_path, api_url="ftp://nonsense")) as client:
        before = client.now()

    assert before.tzinfo is not None


def test_unknown_dialect_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no dialect 'rest_v3'") as caught:
        open_client(settings_for(tmp_path, dialect="rest_v3"))

    assert "rest_v2" in caught.value.hint


def test_base_url_that_is_none_is_refused_by_the_first_call(tmp_path: Path) -> None:
    with (
        open_client(settings_for(tmp_path, api_url="ftp://nonsense")) as client,
        pytest.raises(ConfigError, match="no http"),
    ):
        client.list_pods()
