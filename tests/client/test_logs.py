import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from runpod_client import Secret, logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "secret",
    [
        "rpa_ABCDEF0123456789",
        "ghp_ABCDEF0123456789",
        "ghs_ABCDEF0123456789",
        "github_pat_11ABC_def",
        "Bearer abc.def",
        "https://x/graphql?api_key=abcdef",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_credentials_are_hidden_wherever_they_stand(
    stream: io.StringIO, secret: str
) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().info("call_failed", error_detail=f"it said {secret}")

    written = stream.getvalue()
    assert secret.rsplit(maxsplit=1)[-1][-6:] not in written
    assert logs.STARS in written


def test_secret_keys_and_secret_values_are_hidden(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().info("x_done", github_token="a", key=Secret("b"), user="c")

    record = json.loads(stream.getvalue())
    assert (record["github_token"], record["key"], record["user"]) == (
        "***",
        "***",
        "c",
    )


def test_level_below_the_wanted_one_is_not_written(stream: io.StringIO) -> None:
    logs.configure(level="warning", format_name="json", stream=stream)

    structlog.get_logger().info("pod_created")

    assert stream.getvalue() == ""


def test_retries_are_told_in_our_words(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().warning(
        "stamina.retry_scheduled",
        callable="<context block>",
        args=(),
        kwargs={},
        retry_num=1,
        caused_by="TransportError('no answer')",
        wait_for=0.94,
        waited_so_far=0.0,
    )

    record = json.loads(stream.getvalue())
    del record["timestamp"]
    assert record == {
        "event": "call_retried",
        "level": "warning",
        "attempt": 1,
        "wait_seconds": 0.94,
        "error": "TransportError",
        "error_detail": "no answer",
    }


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, where nothing is imported yet."""
    head = "import sys\nfrom runpod_client import logs\nlog = logs.get_logger('a')\n"
    tail = "print('structlog' in sys.modules)\n"
    return subprocess.run(
        [sys.executable, "-c", head + script + tail],
        capture_output=True,
        text=True,
        check=True,
    )


def test_event_of_a_lazy_logger_is_written_as_configured(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    logs.get_logger("a").info("pod_created", pod_id="p1", key=Secret("b"))

    record = json.loads(stream.getvalue())
    del record["timestamp"]
    assert record == {
        "event": "pod_created",
        "level": "info",
        "pod_id": "p1",
        "key": "***",
    }


@pytest.mark.parametrize(
    ("level", "expected"), [(10, []), (20, ["info"]), (45, ["error"])]
)
def test_level_may_be_a_number(
    stream: io.StringIO, level: int, expected: list[str]
) -> None:
    logs.configure(format_name="json", stream=stream)

    logs.get_logger("a").log(level, "pod_created")

    written = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert written == expected


def test_exception_carries_its_traceback(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    try:
        json.loads("odd")
    except ValueError:
        logs.get_logger("a").exception("tick_failed")

    record = json.loads(stream.getvalue())
    assert record["level"] == "error"
    assert record["exception"][0]["exc_type"] == "JSONDecodeError"


def test_process_that_logs_nothing_never_loads_structlog() -> None:
    done = run("logs.configure(level='info')\nlog.debug('api_call_finished')\n")

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_first_event_that_matters_loads_structlog_as_configured() -> None:
    done = run("logs.configure(format_name='json')\nlog.info('pod_created', a=1)\n")

    assert done.stdout == "True\n"
    assert json.loads(done.stderr)["event"] == "pod_created"


def test_third_party_that_logs_is_configured_first() -> None:
    done = run(
        "logs.configure(format_name='json')\n"
        "logs.apply_configuration()\n"
        "import structlog\n"
        "structlog.get_logger('stamina').warning('stamina.retry_scheduled')\n"
    )

    assert done.stdout == "True\n"
    assert json.loads(done.stderr)["event"] == "call_retried"


def test_library_that_nobody_configured_warns_on_stderr_alone() -> None:
    done = run("log.info('pod_created')\nlog.warning('call_retried')\n")

    assert done.stdout == "True\n"
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "call_retried"
    ]
