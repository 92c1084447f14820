import asyncio
import time

import pytest

from runpod_client import (
    AuthenticationError,
    ClientSettings,
    DeadlineError,
    Secret,
    open_client,
)
from runpod_hub.cloud import RunPodCloud
from support.http_server import Answer, ScriptedServer
from support.sim import SimServer


def make_cloud(
    settings: ClientSettings, *, timeout_seconds: float = 10.0
) -> RunPodCloud:
    return RunPodCloud(open_client(settings), timeout_seconds=timeout_seconds)


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> ClientSettings:
    return ClientSettings(
        api_key=Secret("rpa_planted0secret0value"),
        state_dir=tmp_path_factory.mktemp("state"),
    )


async def test_account_and_pods_come_from_runpod(
    sim: SimServer, settings: ClientSettings
) -> None:
    given = ClientSettings(
        api_key=Secret(sim.env["RUNPOD_API_KEY"]),
        api_url=sim.base_url,
        state_dir=settings.state_dir,
    )

    cloud = make_cloud(given)

    assert await cloud.list_pods() == []
    assert (await cloud.get_account()).balance_usd > 0


async def test_a_refused_key_arrives_as_the_clients_error(
    http_server: ScriptedServer, settings: ClientSettings
) -> None:
    http_server.script = lambda _asked: Answer(status=401, body=b"{}")
    given = ClientSettings(
        api_key=settings.api_key,
        api_url=http_server.base_url,
        state_dir=settings.state_dir,
    )

    with pytest.raises(AuthenticationError):
        await make_cloud(given).list_pods()


async def test_a_hanging_runpod_holds_neither_the_loop_nor_more_than_four_calls(
    http_server: ScriptedServer, settings: ClientSettings
) -> None:
    http_server.script = lambda _asked: Answer(pause_seconds=60)
    given = ClientSettings(
        api_key=settings.api_key,
        api_url=http_server.base_url,
        state_dir=settings.state_dir,
    )
    cloud = make_cloud(given, timeout_seconds=0.2)
    started = time.monotonic()

    outcomes = await asyncio.gather(
        *(cloud.list_pods() for _ in range(5)), return_exceptions=True
    )

    assert time.monotonic() - started < 5
    assert [type(outcome) for outcome in outcomes] == [DeadlineError] * 5
    assert "still hang" in str(outcomes[4])
