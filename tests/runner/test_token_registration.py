"""Runners registered by `config.sh`, for GitHub servers that know no JIT config."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner_installer import (
    ConsoleState,
    GitHub,
    Installation,
    InstallError,
    RunnerSpec,
    Scope,
    TarballCache,
    list_installed,
)
from runner_installer.enrolling import RegistrationTokens
from runner_installer.model import RunnerToken
from runner_installer.pod_model import InstallOptions, RegistrationKind
from runner_installer.remote import SSHRemote
from runpod_client import NotFoundError, Secret
from support.forge import ServedForge

from .conftest import Pod

BY_TOKEN = InstallOptions(registration=RegistrationKind.TOKEN)


def refuse_jit(forge: ServedForge) -> None:
    """Make the server one that has never heard of JIT configs."""
    fault = {"operation": "generate_jitconfig", "kind": "not_found", "times": 9}
    forge.order("/faults", fault)


async def test_runner_registered_by_token_takes_one_job_and_is_used_up(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    installation = Installation(remote, github, tarballs, options=BY_TOKEN)

    done = await installation.run(spec, new_name=None)

    assert "configure" in [phase.name for phase in done.phases]
    record = await asyncio.to_thread(forge.runner, spec.name)
    assert record is not None
    assert done.runner.runner_id == record["id"]
    assert [label["name"] for label in record["labels"]] == ["gpu", spec.name]
    job_id = await asyncio.to_thread(forge.queue, "true")
    assert (await asyncio.to_thread(forge.finished, job_id))["conclusion"] == "success"
    forge.clock.advance(5)
    assert await asyncio.to_thread(forge.runner, spec.name) is None


async def test_server_without_jit_configs_is_registered_at_by_token(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await asyncio.to_thread(refuse_jit, forge)

    done = await Installation(remote, github, tarballs).run(spec, new_name=None)

    assert done.runner.console.state is ConsoleState.LISTENING
    assert "configure" in [phase.name for phase in done.phases]


async def test_who_insists_on_jit_hears_that_the_server_has_none(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await asyncio.to_thread(refuse_jit, forge)
    options = InstallOptions(registration=RegistrationKind.JIT)

    with pytest.raises(NotFoundError):
        await Installation(remote, github, tarballs, options=options).run(
            spec, new_name=None
        )

    assert await list_installed(remote) == ()


def shown_by_processes(pod: Pod) -> bytes:
    """Return command lines and environments of all that runs on the pod."""
    places = [Path(f"/proc/{pid}") for pid in pod.pids()]
    return b"".join(
        (place / what).read_bytes()
        for place in places
        for what in ("cmdline", "environ")
    )


async def test_registration_token_is_left_nowhere_on_the_pod(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    pod: Pod,
) -> None:
    minted: list[Secret] = []

    class Watched(GitHub):
        """GitHub as it is; what it mints is remembered here."""

        def create_registration_token(self, scope: Scope) -> RunnerToken:
            token = super().create_registration_token(scope)
            minted.append(token.token)
            return token

    github.__class__ = Watched
    installation = Installation(remote, github, tarballs, options=BY_TOKEN)

    await installation.run(spec, new_name=None)

    (token,) = minted
    held = [path for path in pod.files() if token.encode() in path.read_bytes()]
    assert held == []
    assert token.encode() not in shown_by_processes(pod)


async def test_failed_installation_takes_the_pods_own_registration_back(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    await asyncio.to_thread(forge.jit, spec.name)
    installation = Installation(remote, github, tarballs, options=BY_TOKEN)

    with pytest.raises(InstallError, match="A runner exists with the same name"):
        await installation.run(spec, new_name=None)

    assert forge.forge.runners == {}
    assert await list_installed(remote) == ()


async def test_token_is_used_again_until_shortly_before_its_end() -> None:
    now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    minted = []

    class Mint(GitHub):
        """A GitHub that only mints tokens of an hour."""

        def create_registration_token(self, scope: Scope) -> RunnerToken:
            minted.append(scope)
            expires_at = now + timedelta(hours=1)
            return RunnerToken(token=Secret(f"t{len(minted)}"), expires_at=expires_at)

    scope = Scope(owner="acme", repository="widgets")
    with Mint(api_url="http://127.0.0.1:9/api/v3", token=Secret("x")) as github:
        tokens = RegistrationTokens(github, now=lambda: now)
        first = [await tokens.get(scope), await tokens.get(scope)]
        now += timedelta(minutes=51)
        later = await tokens.get(scope)

    assert (first, later) == (["t1", "t1"], "t2")
