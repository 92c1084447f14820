"""What is told of a pod to OpenSSH's own tools, read back by those tools."""

import shlex
import subprocess
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import Pod, PodStatus, SSHAddress
from runpod_ssh.askpass import answer, render_variables
from runpod_ssh.openssh import (
    TOOLS,
    Way,
    render_command,
    render_config,
    write_config,
)

WAY = Way(
    alias="7h9k2m",
    address=SSHAddress(host="203.0.113.7", port=10341),
    known_hosts_file=Path("/state 100%/host_keys/7h9k2m.known_hosts"),
    is_pinned=True,
    identity_file=Path("/state 100%/identities/abc/id_ed25519"),
    variables={"SSH_ASKPASS": "/a b/askpass"},
)
POD = Pod(
    pod_id="7h9k2m",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="runpod/base",
    price_usd_per_hour=Decimal(1),
)


def resolve(folder: Path, config: str, host: str) -> dict[str, str]:
    """Return what OpenSSH makes of a configuration for a host, without connecting."""
    (folder / "config").write_text(config)
    done = subprocess.run(
        ["ssh", "-G", "-F", str(folder / "config"), host],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("host", ["train", "7h9k2m"])
def test_openssh_reads_the_block_as_it_is_meant(tmp_path: Path, host: str) -> None:
    text = render_config([(POD, replace(WAY, jump="me@bastion:2222"))], "")

    read = resolve(tmp_path, text, host)

    assert read["hostname"] == "203.0.113.7"
    assert (read["port"], read["user"]) == ("10341", "root")
    assert read["hostkeyalias"] == "7h9k2m"
    assert read["stricthostkeychecking"] == "true"
    identity_file = read["identityfile"].replace("%%", "%")
    assert identity_file == "/state 100%/identities/abc/id_ed25519"
    assert read["identitiesonly"] == "yes"
    known_hosts_file = read["userknownhostsfile"].replace("%%", "%")
    assert known_hosts_file == "/state 100%/host_keys/7h9k2m.known_hosts"
    assert read["proxyjump"] == "me@bastion:2222"


@pytest.mark.parametrize("other", ["other-pod", "example.com", "trainer"])
def test_block_of_a_pod_says_nothing_of_other_hosts(tmp_path: Path, other: str) -> None:
    text = render_config([(POD, WAY)], "false")

    assert resolve(tmp_path, text, other) == resolve(tmp_path, "", other)


def test_key_is_loaded_when_ssh_is_called_for_the_pod_and_only_then(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "called"
    loader = tmp_path / "a loader"
    loader.write_text(f'#!/bin/sh\nprintf %s "$1" >{mark}\n')
    loader.chmod(0o700)
    text = render_config([(POD, WAY)], shlex.quote(str(loader)))

    resolve(tmp_path, text, "example.com")
    assert not mark.exists()
    resolve(tmp_path, text, "train")

    assert mark.read_text() == str(WAY.identity_file)


@pytest.mark.parametrize("odd", ["it's", 'say "x"', "back\\slash"])
def test_loader_that_ssh_might_misread_is_left_out(tmp_path: Path, odd: str) -> None:
    text = render_config([(POD, WAY)], shlex.quote(f"/{odd}/loader"))

    assert "Match" not in text
    assert resolve(tmp_path, text, "train")["hostname"] == "203.0.113.7"


def test_name_that_is_no_word_or_not_the_only_one_is_left_out(tmp_path: Path) -> None:
    odd = replace(POD, pod_id="odd1", name="my pod *")
    twins = [replace(POD, pod_id=f"twin{i}", name="twin") for i in (1, 2)]
    ways = [(pod, replace(WAY, alias=pod.pod_id)) for pod in (POD, odd, *twins)]

    text = render_config(ways, "")

    hosts = [line for line in text.splitlines() if line.startswith("Host ")]
    assert hosts == ["Host train 7h9k2m", "Host odd1", "Host twin1", "Host twin2"]
    assert resolve(tmp_path, text, "twin2")["hostkeyalias"] == "twin2"


@pytest.mark.parametrize("tool", TOOLS)
def test_command_for_each_tool_names_key_host_key_and_port(tool: str) -> None:
    words = shlex.split(render_command(WAY, tool))

    assert words[:3] == ["env", "SSH_ASKPASS=/a b/askpass", tool]
    flat = " ".join(words)
    for part in ("HostKeyAlias=7h9k2m", "StrictHostKeyChecking=yes", "10341"):
        assert part in flat


@given(st.text(alphabet="ab '\"$`\\%*;&", min_size=1, max_size=12))
def test_odd_paths_reach_ssh_unharmed(name: str) -> None:
    way = replace(WAY, identity_file=Path(f"/keys/{name}"), variables={})

    words = shlex.split(render_command(way))

    assert words[words.index("-i") + 1].replace("%%", "%") == f"/keys/{name}"


def test_configuration_is_written_whole_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ssh_config"

    write_config(path, "one\n")
    write_config(path, "two\n")

    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["ssh_config"]


def test_askpass_answers_only_the_question_for_its_key(tmp_path: Path) -> None:
    from runpod_client import IdentityStore  # noqa: PLC0415

    store = IdentityStore(tmp_path / "state" / "identities")
    key, other = store.create("abc"), store.create("other")
    secret_file = store.secret_file
    assert secret_file is not None
    environ = render_variables(Path("/askpass"), key.private_key_file, secret_file)
    question = f"Enter passphrase for key '{str(key.private_key_file)[:100]}': "

    assert answer(question, environ) == key.read_passphrase()
    for else_asked in (
        f"Enter passphrase for key '{other.private_key_file}': ",
        "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
        "root@203.0.113.7's password: ",
        f"Bad passphrase, try again for {key.private_key_file}: ",
        "",
    ):
        assert answer(else_asked, environ) is None
    assert answer(question, {}) is None
