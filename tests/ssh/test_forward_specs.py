"""What users write for a tunnel, as data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError
from runpod_ssh.forward_specs import ForwardKind, ForwardSpec, parse_spec

LOCAL, REMOTE, DYNAMIC = ForwardKind.LOCAL, ForwardKind.REMOTE, ForwardKind.DYNAMIC


def spec(
    bind: str, port: int, host: str, to: int, kind: ForwardKind = LOCAL
) -> ForwardSpec:
    return ForwardSpec(kind=kind, bind_host=bind, port=port, to_host=host, to_port=to)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("8188", spec("127.0.0.1", 8188, "127.0.0.1", 8188)),
        ("8080:8188", spec("127.0.0.1", 8080, "127.0.0.1", 8188)),
        ("0:8188", spec("127.0.0.1", 0, "127.0.0.1", 8188)),
        ("auto:8188", spec("127.0.0.1", 0, "127.0.0.1", 8188)),
        ("8080:db:5432", spec("127.0.0.1", 8080, "db", 5432)),
        ("L:8080:db:5432", spec("127.0.0.1", 8080, "db", 5432)),
        ("0.0.0.0:8080:db:5432", spec("0.0.0.0", 8080, "db", 5432)),
        ("*:8080:db:5432", spec("0.0.0.0", 8080, "db", 5432)),
        (":8080:db:5432", spec("0.0.0.0", 8080, "db", 5432)),
        ("[::1]:8080:[fe80::1]:80", spec("::1", 8080, "fe80::1", 80)),
        ("8080:[::1]:80", spec("127.0.0.1", 8080, "::1", 80)),
        ("R:9000", spec("127.0.0.1", 9000, "127.0.0.1", 9000, REMOTE)),
        ("R:0:web:80", spec("127.0.0.1", 0, "web", 80, REMOTE)),
        ("D:1080", spec("127.0.0.1", 1080, "", 0, DYNAMIC)),
        ("D:auto", spec("127.0.0.1", 0, "", 0, DYNAMIC)),
        ("D:192.168.1.2:1080", spec("192.168.1.2", 1080, "", 0, DYNAMIC)),
    ],
)
def test_tunnels_are_written_as_openssh_writes_them_or_shorter(
    text: str, meaning: ForwardSpec
) -> None:
    assert parse_spec(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "x",
            "80x",
            "-1",
            "65536",
            "0",
            "auto",
            "8080:",
            ":8080",
            "1:2:3:4:5",
        ),
        *("8080::80", "8080:host:0", "[::1:80", "[::1]x:80", "D:1:2:3", "D:", "X:80"),
        *("8080:host:99999", "D:a:b", "²:80", "٣:80"),
    ],
)
def test_what_means_no_tunnel_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="describes no tunnel") as caught:
        parse_spec(text)

    assert "8080:8188" in caught.value.hint


@given(st.text("0123456789:[]LRDauto*.", max_size=24))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        found = parse_spec(text)
    except ConfigError:
        return
    assert 0 <= found.port <= 65535
    assert found.kind is DYNAMIC or found.to_port >= 1


def test_the_options_kind_and_address_hold_where_the_text_is_silent() -> None:
    assert (
        parse_spec("1080", DYNAMIC, bind_host="10.0.0.1").listens_on == "10.0.0.1:1080"
    )
    assert (
        parse_spec("9000", REMOTE, bind_host="10.0.0.1").listens_on == "127.0.0.1:9000"
    )
    assert (
        parse_spec("::1:9000".replace("::1", "[::1]") + ":h:1").listens_on
        == "[::1]:9000"
    )


@pytest.mark.parametrize(
    ("text", "is_public"),
    [
        ("8188", False),
        ("127.0.0.2:1:h:1", False),
        ("[::1]:1:h:1", False),
        ("localhost:1:h:1", False),
        ("0.0.0.0:1:h:1", True),
        ("[::]:1:h:1", True),
        ("192.168.0.7:1:h:1", True),
        ("127.0.0.1.example.com:1:h:1", True),
    ],
)
def test_only_loopback_counts_as_private(text: str, is_public: bool) -> None:  # noqa: FBT001
    assert parse_spec(text).is_public is is_public


def test_a_free_port_is_shown_as_such_until_it_is_known() -> None:
    assert parse_spec("auto:80").listens_on == "127.0.0.1:auto"
