import base64

import pytest

from runner_installer import ConsoleState, InstallError, parse_scope
from runner_installer.facts import (
    parse_account,
    parse_facts,
    parse_runners,
    render_record,
)
from runner_installer.pod_model import (
    Account,
    JobStamp,
    PodFacts,
    Supervision,
    SupervisorState,
)

PROBE = """home=/home/pod
user_id=0
os=Linux
architecture=x86_64
user=root
libicu=no
user_tool=useradd
user_way=setpriv
base=/home/pod
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
        user="root",
        base="/home/pod",
        has_libicu=False,
        free_disk_mb=2048,
        user_tool="useradd",
        user_way="setpriv",
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


def test_what_supervisor_and_hooks_noted_is_read() -> None:
    noted = b"state=restarting\nrestarts=1\nreason=it ended = badly\n"
    stamp = b"state=busy\nrun_id=7\nrepository=a/b\njob=\x1b[2Jtrain\nother=x\n"
    text = (
        "runner=x\nfolder=/r/actions-runner/x\nuser=gha-1\nage=42\n"
        f"supervisor={packed(noted)}\njob={packed(stamp)}\nend=yes\n"
    )

    (runner,) = parse_runners(text)

    assert (runner.user, runner.age_seconds) == ("gha-1", 42)
    assert runner.supervision == Supervision(
        state=SupervisorState.RESTARTING, restarts=1, reason="it ended = badly"
    )
    assert runner.job == JobStamp(
        is_busy=True, run_id="7", repository="a/b", job="[2Jtrain"
    )


@pytest.mark.parametrize(
    "noted", [b"", b"\xff", b"state=flying\nrestarts=1", b"x" * 99]
)
def test_notes_that_make_no_sense_are_no_notes(noted: bytes) -> None:
    text = (
        "runner=x\nfolder=/r/actions-runner/x\n"
        f"supervisor={packed(noted)}\njob={packed(noted)}\nend=yes\n"
    )

    (runner,) = parse_runners(text)

    assert (runner.supervision, runner.job) == (None, None)


def test_user_is_read_with_its_numbers_and_home() -> None:
    planned = Account(user="gha-1", way="setpriv", is_own=True)

    account = parse_account("uid=1001\ngid=1002\nuser_home=/home/gha-1/\n", planned)

    assert (account.uid, account.gid, account.home) == (1001, 1002, "/home/gha-1")
    assert account.is_own


@pytest.mark.parametrize(
    "said", ["", "uid=x\ngid=1\nuser_home=/", "uid=0\ngid=0\nuser_home=/root"]
)
def test_user_that_is_nobody_or_root_is_an_error(said: str) -> None:
    planned = Account(user="gha-1", way="setpriv", is_own=True)

    with pytest.raises(InstallError):
        parse_account(said, planned)


def test_list_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(InstallError):
        parse_runners("runner=x\nfolder=/r/actions-runner/x\n")
