import base64

import pytest

from runner_installer import ConsoleState, InstallError, parse_scope
from runner_installer.facts import parse_facts, parse_runners, render_record
from runner_installer.model import PodFacts

PROBE = """home=/home/pod
user_id=0
os=Linux
architecture=x86_64
default_signal=yes
libicu=no
free_kb=2097152
end=yes
"""


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_probe_is_read_whole() -> None:
    assert parse_facts(PROBE) == PodFacts(
        home="/home/pod",
        user_id=0,
        os="Linux",
        architecture="x86_64",
        has_libicu=False,
        has_default_signal=True,
        free_disk_mb=2048,
    )


def test_what_a_pod_lacks_is_listed() -> None:
    facts = parse_facts("missing=tar\nmissing=bash\n" + PROBE)

    assert facts.missing_programs == ("tar", "bash")


def test_greeting_of_a_login_shell_does_no_harm() -> None:
    assert parse_facts(f"Welcome to the pod!\n{PROBE}") == parse_facts(PROBE)


@pytest.mark.parametrize("line", ["home=/home/pod", "user_id=0", "end=yes", "os=Linux"])
def test_probe_that_is_cut_short_is_an_error(line: str) -> None:
    with pytest.raises(InstallError) as caught:
        parse_facts(PROBE.replace(f"{line}\n", ""))

    assert caught.value.step == "probe"


def test_runners_are_read_with_record_and_console() -> None:
    record = render_record(
        scope=parse_scope("acme/widgets"), runner_id=7, labels=("gpu", "one")
    )
    text = (
        "runner=one\nfolder=/home/pod/actions-runner/one\n"
        f"record={packed(record)}\npid=42\nalive=yes\n"
        f"log={packed(b'2026-11-22 10:00:00Z: Listening for Jobs')}\n"
        "runner=two\nfolder=/home/pod/actions-runner/two\nend=yes\n"
    )

    one, two = parse_runners(text)

    assert (one.name, one.scope, one.runner_id) == (
        "one",
        parse_scope("acme/widgets"),
        7,
    )
    assert (one.pid, one.is_alive) == (42, True)
    assert one.console.state is ConsoleState.LISTENING
    assert (two.name, two.scope, two.pid, two.is_alive) == ("two", None, None, False)


@pytest.mark.parametrize(
    "folder",
    [
        "/home/pod/actions-runner/..",
        "/home/pod/actions-runner/a b",
        "/etc",
        "actions-runner/x",
    ],
)
def test_folder_that_no_runner_of_ours_can_have_is_left_out(folder: str) -> None:
    assert parse_runners(f"runner=x\nfolder={folder}\nend=yes\n") == ()


@pytest.mark.parametrize(
    "record", [b"", b"{}", b"\xff", b'{"scope":"../..","runner_id":1,"labels":[]}']
)
def test_record_that_makes_no_sense_is_no_record(record: bytes) -> None:
    text = f"runner=x\nfolder=/r/actions-runner/x\nrecord={packed(record)}\nend=yes\n"

    (runner,) = parse_runners(text)

    assert (runner.scope, runner.runner_id) == (None, None)


def test_list_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(InstallError):
        parse_runners("runner=x\nfolder=/r/actions-runner/x\n")
