"""Where a pod was lately: used as long as its host key proves it, never believed."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import Pod, PodStatus, PortMapping, Protocol
from runpod_ssh.errors import SSHUnreachableError
from runpod_ssh.target_cache import (
    GUESS_SECONDS,
    ID_USABLE_SECONDS,
    NAME_USABLE_SECONDS,
    OutdatedError,
    RememberedPlace,
    TargetCache,
)
from support.clock import FakeTime
from support.sim import SimServer
from support.ssh_desk import SSHDesk, rent, rent_pod

POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="L4",
    gpu_count=1,
    image="image",
    price_usd_per_hour=Decimal("0.4"),
    started_at=datetime(2026, 11, 22, 12, 7, 38, 205000, tzinfo=UTC),
    ports=(
        PortMapping(
            private_port=22,
            public_port=40022,
            ip="203.0.113.7",
            is_public=True,
            protocol=Protocol.TCP,
        ),
    ),
    env={"RUNPOD_CLIENT_INTENT": "k3f9", "HF_TOKEN": "planted"},
)

WORDS = st.text("aé1:-\0", max_size=8)
MakeCache = Callable[..., TargetCache]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ssh" / "targets"


@pytest.fixture
def make_cache(folder: Path, fake_time: FakeTime) -> MakeCache:
    def make(account: str = "account") -> TargetCache:
        return TargetCache(
            folder, account=account, now=lambda: fake_time.now().timestamp()
        )

    return make


def read_entry(folder: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = folder.iterdir()
    return path, json.loads(path.read_text())


def test_another_process_finds_the_start_and_the_address(make_cache: MakeCache) -> None:
    make_cache().keep("train", POD)

    found = make_cache().find("train")

    assert found is not None
    assert (found.pod_id, found.name, found.started_at, found.ssh_address) == (
        "pod1",
        "train",
        POD.started_at,
        POD.ssh_address,
    )


def test_nothing_secret_is_kept_and_nobody_else_can_read_it(
    make_cache: MakeCache, folder: Path
) -> None:
    make_cache("https://api\0rpa_key").keep("train", POD)

    path, entry = read_entry(folder)

    assert entry["marks"] == {"RUNPOD_CLIENT_INTENT": "k3f9"}
    assert "planted" not in path.read_text()
    assert "rpa_key" not in path.read_text() + path.name
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )


@pytest.mark.parametrize(
    ("selector", "seconds"),
    [("train", NAME_USABLE_SECONDS), ("pod1", ID_USABLE_SECONDS)],
)
def test_place_is_known_for_its_time_and_no_longer(
    make_cache: MakeCache, fake_time: FakeTime, selector: str, seconds: float
) -> None:
    cache = make_cache()
    cache.keep(selector, POD)

    fake_time.sleep(seconds - 1)
    before = cache.find(selector)
    fake_time.sleep(2)

    assert before is not None
    assert cache.find(selector) is None


def test_place_is_a_guess_for_a_day(make_cache: MakeCache, fake_time: FakeTime) -> None:
    cache = make_cache()
    cache.keep("train", POD)

    fake_time.sleep(GUESS_SECONDS - 1)
    guess, known = cache.guessing().find("train"), cache.find("train")
    fake_time.sleep(2)

    assert guess is not None
    assert known is None
    assert cache.guessing().find("train") is None


def test_entry_from_the_future_is_not_used(make_cache: MakeCache, folder: Path) -> None:
    make_cache().keep("train", POD)
    path, entry = read_entry(folder)
    path.write_text(json.dumps({**entry, "found_at": entry["found_at"] + 5}))

    assert make_cache().find("train") is None


def test_accounts_and_selectors_do_not_see_each_others(make_cache: MakeCache) -> None:
    make_cache().keep("train", POD)

    assert make_cache("other").find("train") is None
    assert make_cache().find("trai") is None


def test_forgotten_place_is_unknown(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.keep("train", POD)

    cache.forget("train")
    cache.forget("never-known")

    assert cache.find("train") is None


def test_old_entries_are_removed_with_the_next(
    make_cache: MakeCache, folder: Path, fake_time: FakeTime
) -> None:
    cache = make_cache()
    cache.keep("gone", POD)
    (old,) = folder.iterdir()
    moment = fake_time.now().timestamp() - GUESS_SECONDS - 1
    os.utime(old, (moment, moment))

    cache.keep("train", POD)

    assert not old.exists()
    assert cache.find("train") is not None


def test_folder_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = TargetCache(tmp_path / "file" / "targets", account="a")

    cache.keep("train", POD)
    cache.forget("train")

    assert cache.find("train") is None


@given(
    content=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(
            ["pod_id", "name", "host", "port", "started_at", "marks", "found_at"]
        ),
        st.none() | st.booleans() | st.integers() | WORDS | st.lists(WORDS),
    ).map(lambda fields: json.dumps(fields).encode())
)
def test_whatever_stands_in_the_file_it_is_no_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("targets")
    cache = TargetCache(folder, account="a")
    cache.keep("train", POD)
    (path,) = folder.iterdir()
    path.write_bytes(content)

    found = cache.find("train")

    assert found is None or found.ssh_address is not None


async def test_place_that_fails_the_first_time_is_outdated_later_it_is_an_error() -> (
    None
):
    failures: Iterator[bool] = iter([False, True])

    def open_link() -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def link() -> Any:
            if next(failures):
                raise SSHUnreachableError("nobody is there")
            yield None

        return link()

    place = RememberedPlace(open_link, open_link)

    async with place.open_link():
        pass
    with pytest.raises(SSHUnreachableError):
        async with place.open_link():
            pass
    failures = iter([True])
    with pytest.raises(OutdatedError):
        async with RememberedPlace(open_link, open_link).open_link():
            pass


async def test_error_of_what_is_done_there_is_passed_on() -> None:
    @asynccontextmanager
    async def open_link() -> Any:
        yield None

    with pytest.raises(SSHUnreachableError):
        async with RememberedPlace(open_link, open_link).open_link():
            raise SSHUnreachableError("lost while the command ran")


@pytest.fixture(scope="module")
def office(module_sim: SimServer, tmp_path_factory: pytest.TempPathFactory) -> SSHDesk:
    """A desk where `train` has been used once; it asks for the pods by REST v2."""
    desk = rent(module_sim, tmp_path_factory.mktemp("office"), RUNPOD_DIALECT="rest_v2")
    assert desk.ssh("exec", "train", "true").returncode == 0
    return desk


@pytest.fixture
def desk(office: SSHDesk) -> Iterator[SSHDesk]:
    """The desk, with RunPod's API refusing every call once it has been used."""
    assert office.ssh("exec", "train", "true").returncode == 0
    office.sim.admin("DELETE", "faults")
    yield office
    office.sim.admin("DELETE", "faults")


def refuse_calls(desk: SSHDesk) -> None:
    desk.sim.add_fault("unauthorized", times=1000)


def entry_of(desk: SSHDesk, pod_id: str) -> tuple[Path, dict[str, Any]]:
    for path in (desk.state / "ssh" / "targets").iterdir():
        entry: dict[str, Any] = json.loads(path.read_text())
        if entry["pod_id"] == pod_id:
            return path, entry
    raise AssertionError(f"{pod_id} is not remembered")


def test_second_exec_asks_runpod_nothing(desk: SSHDesk) -> None:
    refuse_calls(desk)

    done = desk.ssh("exec", "train", "--", "echo ok; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, "ok\n", "")


@pytest.mark.parametrize("policy", ["strict", "off"])
def test_who_wants_more_proof_or_none_has_runpod_asked(
    desk: SSHDesk, policy: str
) -> None:
    refuse_calls(desk)

    done = desk.ssh("exec", "--host-key-policy", policy, "train", "true")

    assert done.returncode == 255
    assert "API key" in done.stderr


def test_forgotten_host_key_has_runpod_asked(desk: SSHDesk) -> None:
    assert desk.ssh("keys", "forget", desk.pod_id).returncode == 0
    refuse_calls(desk)

    done = desk.ssh("exec", "train", "true")

    assert done.returncode == 255
    assert "API key" in done.stderr


def test_recycled_address_never_gets_the_command(desk: SSHDesk) -> None:
    other_id = rent_pod(desk, "other")
    assert desk.ssh("exec", "other", "true").returncode == 0
    path, entry = entry_of(desk, desk.pod_id)
    _, other = entry_of(desk, other_id)
    path.write_text(json.dumps({**entry, "port": other["port"]}))

    done = desk.ssh("exec", "train", "--", "echo $RUNPOD_POD_ID")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == desk.pod_id
    assert entry_of(desk, desk.pod_id)[1]["port"] == entry["port"]


def test_pod_that_started_anew_is_found_again(desk: SSHDesk) -> None:
    restarted = desk.run("runpod-client", "pods", "restart", "train", "--yes")
    assert restarted.returncode == 0, restarted.stderr

    done = desk.ssh("exec", "train", "--", "echo $RUNPOD_POD_ID")

    assert (done.returncode, done.stdout.strip()) == (0, desk.pod_id), done.stderr


def test_pod_that_was_stopped_is_told_as_ever(sim: SimServer, tmp_path: Path) -> None:
    own = rent(sim, tmp_path)
    assert own.ssh("exec", "train", "true").returncode == 0
    assert own.run("runpod-client", "pods", "stop", "train").returncode == 0

    done = own.ssh("exec", "train", "true")

    assert done.returncode == 255
    assert "is STOPPED" in done.stderr
    assert f"runpod-client pods start {own.pod_id}" in done.stderr
