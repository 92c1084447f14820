"""Logging in with an encrypted file, an agent's keys, a token's; told when one fails."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_ssh import (
    Credentials,
    HostKeyVerifier,
    SSHAuthenticationError,
    connect,
)
from support.agents import running_agent
from support.sshd import Sshd, find_program, make_key

PASSPHRASE = "correct horse"
PIN = "1234"
SOFTHSM_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
)


async def user_there(
    sshd: Sshd, host_keys: HostKeyVerifier, credentials: Credentials
) -> bytes:
    async with connect(
        sshd.address, host_keys=host_keys, credentials=credentials
    ) as connection:
        return (await connection.run("echo in", timeout=30)).stdout


def encrypt(path: Path, environ: dict[str, str]) -> None:
    subprocess.run(
        [find_program("ssh-keygen"), "-qp", "-P", "", "-N", PASSPHRASE, "-f", path],
        check=True,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=30,
    )


async def test_encrypted_identity_is_opened_with_its_passphrase(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    encrypt(sshd.identity_file, sshd.environ)

    said = await user_there(
        sshd,
        host_keys,
        Credentials(
            identity_file=sshd.identity_file, read_passphrase=lambda: PASSPHRASE
        ),
    )

    assert said == b"in\n"


async def test_passphrase_is_not_asked_for_where_none_is_needed(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    asked: list[bool] = []

    def read() -> str:
        asked.append(True)
        return PASSPHRASE

    await user_there(
        sshd,
        host_keys,
        Credentials(identity_file=sshd.identity_file, read_passphrase=read),
    )

    assert asked == []


@pytest.mark.parametrize("passphrase", [None, "wrong one"])
async def test_encrypted_identity_that_stays_closed_is_named_before_connecting(
    sshd: Sshd, host_keys: HostKeyVerifier, passphrase: str | None
) -> None:
    encrypt(sshd.identity_file, sshd.environ)
    credentials = Credentials(
        identity_file=sshd.identity_file, read_passphrase=lambda: passphrase
    )
    seen = sshd.log_text

    with pytest.raises(SSHAuthenticationError) as caught:
        await user_there(sshd, host_keys, credentials)

    assert str(sshd.identity_file) in str(caught.value)
    assert "wrong one" not in str(caught.value) + repr(credentials)
    assert seen == sshd.log_text


@pytest.fixture
def agent() -> Iterator[str]:
    """An ssh-agent without keys; its socket."""
    with running_agent() as variables:
        yield variables["SSH_AUTH_SOCK"]


def add_to_agent(agent: str, key: Path) -> None:
    subprocess.run(
        [find_program("ssh-add"), "-q", str(key)],
        check=True,
        env={**os.environ, "SSH_AUTH_SOCK": agent},
        stdin=subprocess.DEVNULL,
        timeout=30,
    )


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


async def test_key_of_the_agent_logs_in(
    sshd: Sshd, host_keys: HostKeyVerifier, agent: str, empty_home: Path
) -> None:
    del empty_home
    add_to_agent(agent, sshd.identity_file)

    said = await user_there(sshd, host_keys, Credentials(agent_path=agent))

    assert said == b"in\n"


async def test_agent_is_asked_only_after_the_identity_was_refused(
    sshd: Sshd, host_keys: HostKeyVerifier, agent: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "stranger", sshd.environ)
    add_to_agent(agent, sshd.identity_file)

    said = await user_there(
        sshd,
        host_keys,
        Credentials(identity_file=tmp_path / "stranger", agent_path=agent),
    )

    assert said == b"in\n"


async def test_agent_that_is_not_there_is_no_failure_of_its_own(
    sshd: Sshd, host_keys: HostKeyVerifier, empty_home: Path
) -> None:
    shutil.copy(sshd.identity_file, empty_home / ".ssh" / "id_ed25519")

    said = await user_there(
        sshd, host_keys, Credentials(agent_path=str(empty_home / "none"))
    )

    assert said == b"in\n"


@pytest.mark.parametrize("named", ["identity", "identity.pub"])
async def test_public_half_picks_one_of_more_keys_than_a_server_bears(
    named: str,
    sshd: Sshd,
    host_keys: HostKeyVerifier,
    agent: str,
    tmp_path: Path,
) -> None:
    for number in range(7):
        make_key(tmp_path / f"other{number}", sshd.environ)
        add_to_agent(agent, tmp_path / f"other{number}")
    add_to_agent(agent, sshd.identity_file)
    sshd.identity_file.unlink()
    identity = sshd.identity_file.with_name(named)

    said = await user_there(
        sshd, host_keys, Credentials(identity_file=identity, agent_path=agent)
    )

    assert said == b"in\n"


@pytest.mark.parametrize("is_there", [True, False], ids=["without-it", "gone"])
async def test_key_that_only_an_agent_held_is_named_before_connecting(
    is_there: bool,  # noqa: FBT001  # pytest's
    sshd: Sshd,
    host_keys: HostKeyVerifier,
    agent: str,
) -> None:
    sshd.identity_file.unlink()
    path = agent if is_there else None
    seen = sshd.log_text

    with pytest.raises(SSHAuthenticationError, match="ssh-agent") as caught:
        await user_there(
            sshd,
            host_keys,
            Credentials(identity_file=sshd.identity_file, agent_path=path),
        )

    assert f"{sshd.identity_file}.pub" in caught.value.message
    assert seen == sshd.log_text


async def test_users_own_keys_are_offered_and_broken_ones_passed_over(
    sshd: Sshd, host_keys: HostKeyVerifier, empty_home: Path
) -> None:
    (empty_home / ".ssh" / "id_ed25519").write_text("no key")
    shutil.copy(sshd.identity_file, empty_home / ".ssh" / "id_ecdsa")

    assert await user_there(sshd, host_keys, Credentials()) == b"in\n"


@pytest.fixture(scope="module")
def softhsm() -> Path:
    named = os.environ.get("RUNPOD_TEST_SOFTHSM", "")
    for place in (named, *SOFTHSM_PLACES):
        if place and Path(place).is_file():
            return Path(place)
    pytest.fail("the tests need SoftHSM: apt-get install softhsm2", pytrace=False)


@pytest.fixture(scope="module")
def token(softhsm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A token of SoftHSM with no key on it; the library is read once per process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        make = [find_program("softhsm2-util"), "--init-token", "--free"]
        subprocess.run(
            [*make, "--label", "runpod", "--pin", PIN, "--so-pin", "123456"],
            check=True,
            capture_output=True,
            timeout=30,
        )
        yield softhsm


def put_key(token: Path, path: Path, *words: str, key_id: str) -> None:
    """Make a key of ssh-keygen's type and leave it on the token alone."""
    del token
    run = functools.partial(subprocess.run, check=True, capture_output=True, timeout=60)
    keygen = [find_program("ssh-keygen"), "-q", "-m", "PKCS8", "-N", "", *words]
    run([*keygen, "-f", str(path)])
    put = [find_program("softhsm2-util"), "--token", "runpod", "--pin", PIN]
    run([*put, "--import", str(path), "--label", path.name, "--id", key_id])
    path.unlink()


async def test_key_of_a_token_logs_in_beside_one_that_does_not_show_itself(
    sshd: Sshd,
    host_keys: HostKeyVerifier,
    token: Path,
    tmp_path: Path,
    empty_home: Path,
) -> None:
    del empty_home
    # SoftHSM keeps the public half of an elliptic key to itself
    put_key(token, tmp_path / "ec", "-t", "ecdsa", key_id="01")
    put_key(token, tmp_path / "rsa", "-t", "rsa", "-b", "2048", key_id="02")
    shutil.copy(tmp_path / "rsa.pub", sshd.folder / "authorized_keys")
    credentials = Credentials(pkcs11_provider=token, read_pkcs11_pin=lambda: PIN)

    assert await user_there(sshd, host_keys, credentials) == b"in\n"


async def refusal(
    sshd: Sshd, host_keys: HostKeyVerifier, credentials: Credentials
) -> SSHAuthenticationError:
    with pytest.raises(SSHAuthenticationError) as caught:
        await user_there(sshd, host_keys, credentials)
    return caught.value


async def test_wrong_pin_is_told_without_the_pin(
    sshd: Sshd, host_keys: HostKeyVerifier, token: Path, empty_home: Path
) -> None:
    del empty_home
    credentials = Credentials(pkcs11_provider=token, read_pkcs11_pin=lambda: "987654")

    error = await refusal(sshd, host_keys, credentials)

    assert str(error) == f"cannot use the token behind {token}: the PIN is wrong"
    assert "987654" not in str(error) + error.hint + repr(credentials)


async def test_missing_library_is_told(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path, empty_home: Path
) -> None:
    del empty_home
    credentials = Credentials(pkcs11_provider=tmp_path / "none.so")

    error = await refusal(sshd, host_keys, credentials)

    assert "there is no such library" in str(error)


async def test_file_that_is_no_library_is_told(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path, empty_home: Path
) -> None:
    del empty_home
    (tmp_path / "text.so").write_text("no library")

    error = await refusal(
        sshd, host_keys, Credentials(pkcs11_provider=tmp_path / "text.so")
    )

    assert str(tmp_path / "text.so") in str(error)


async def test_token_is_left_alone_where_the_identity_is_accepted(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    credentials = Credentials(
        identity_file=sshd.identity_file, pkcs11_provider=tmp_path / "none.so"
    )

    assert await user_there(sshd, host_keys, credentials) == b"in\n"


def test_secrets_are_in_no_representation() -> None:
    credentials = Credentials(
        read_passphrase=lambda: PASSPHRASE, read_pkcs11_pin=lambda: PIN
    )

    assert "lambda" not in repr(credentials)
