"""Several runners on one pod at once."""

import asyncio

import pytest

from runner_installer import (
    ConsoleState,
    GitHub,
    Installation,
    RegistrationError,
    RunnerSpec,
    TarballCache,
    list_installed,
)
from runner_installer.remote import SSHRemote
from support.forge import ServedForge


def names_of(spec: RunnerSpec, count: int) -> list[RunnerSpec]:
    return [spec.renamed(f"runpod-pod1-n{number}") for number in range(count)]


async def test_runners_are_made_with_one_package_sent_once(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    sent: list[str] = []
    installation = Installation(
        remote, github, tarballs, on_phase=lambda phase: sent.append(phase.name)
    )

    batch = await installation.run_many(names_of(spec, 3))

    assert batch.failures == ()
    assert {done.runner.console.state for done in batch.installed} == {
        ConsoleState.LISTENING
    }
    assert len(forge.forge.runners) == 3
    assert (sent.count("probe"), sent.count("upload"), sent.count("verify")) == (
        1,
        1,
        3,
    )


async def test_runners_that_are_there_are_taken_as_they_are(
    remote: SSHRemote, github: GitHub, tarballs: TarballCache, spec: RunnerSpec
) -> None:
    await Installation(remote, github, tarballs).run_many(names_of(spec, 1))
    installation = Installation(remote, github, tarballs)
    assert await installation.list_live(spec.scope) == ("runpod-pod1-n0",)

    batch = await installation.run_many(names_of(spec, 2))

    assert [done.is_new for done in batch.installed] == [False, True]
    assert len(await list_installed(remote)) == 2


async def test_one_that_fails_leaves_the_others(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
) -> None:
    specs = names_of(spec, 2)
    await asyncio.to_thread(forge.jit, specs[0].name)

    batch = await Installation(remote, github, tarballs).run_many(specs)

    ((name, error),) = batch.failures
    assert name == specs[0].name
    assert isinstance(error, RegistrationError)
    assert [done.runner.name for done in batch.installed] == [specs[1].name]
    assert [runner.name for runner in await list_installed(remote)] == [specs[1].name]


@pytest.mark.parametrize("moment", ["upload", "unpack"])
async def test_interrupt_takes_all_of_them_back(
    remote: SSHRemote,
    github: GitHub,
    tarballs: TarballCache,
    spec: RunnerSpec,
    forge: ServedForge,
    moment: str,
) -> None:
    reached = asyncio.Event()
    installation = Installation(
        remote,
        github,
        tarballs,
        on_phase=lambda phase: reached.set() if phase.name == moment else None,
    )
    task = asyncio.create_task(installation.run_many(names_of(spec, 2)))
    await asyncio.wait_for(reached.wait(), timeout=30)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert forge.forge.runners == {}
    assert await list_installed(remote) == ()
