"""Every exception of the library below becomes one of ours; every error has a status."""

import inspect

import asyncssh
import pytest

from runpod_client import Error, SSHAddress
from runpod_client.console import exit_code
from runpod_ssh import EXIT_CODES, SSHError, errors
from runpod_ssh.ssh_failures import TRANSLATIONS, translate, translation_of

ADDRESS = SSHAddress(host="203.0.113.5", port=10022)

LOWER = sorted(
    (
        kind
        for _name, kind in inspect.getmembers(asyncssh, inspect.isclass)
        # the root of the tree is never raised itself
        if issubclass(kind, Exception) and kind is not asyncssh.Error
    ),
    key=lambda kind: kind.__name__,
)
OURS = [
    kind
    for _name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Error) and kind.__module__ == "runpod_ssh.errors"
]


@pytest.mark.parametrize("kind", LOWER, ids=lambda kind: kind.__name__)
def test_exception_of_asyncssh_has_a_translation(kind: type[Exception]) -> None:
    assert translation_of(kind) is not None


def test_root_of_the_lower_tree_is_no_catch_all() -> None:
    assert asyncssh.Error not in TRANSLATIONS
    assert Exception not in TRANSLATIONS


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_error_has_an_exit_status_of_its_own(kind: type[Error]) -> None:
    assert kind in EXIT_CODES


def test_translated_error_names_the_address_and_the_reason() -> None:
    error = translate(
        asyncssh.PermissionDenied("no key fits"), ADDRESS, "logging in to"
    )

    assert str(error) == "logging in to root@203.0.113.5:10022 failed: no key fits"
    assert error.address == ADDRESS
    assert exit_code(error, EXIT_CODES) == 3
    assert "--identity" in error.hint


def test_error_of_ours_passes_unchanged() -> None:
    error = SSHError("as it is", address=ADDRESS)

    assert translate(error, ADDRESS, "doing") is error
