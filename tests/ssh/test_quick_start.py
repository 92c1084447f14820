"""What a short-lived process need not load, and that it is there when it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from runpod_ssh.quick_start import may_use_tokens
from runpod_ssh.settings import SSHSettings

PROBE = """
import ctypes.util, gc, sys
from runpod_ssh.quick_start import load_transport
from runpod_ssh.settings import SSHSettings
look = ctypes.util.find_library
gc.disable()
load_transport(SSHSettings(ssh_config="none", pkcs11_provider=sys.argv[1]))
print('asyncssh' in sys.modules, 'pkcs11' in sys.modules)
print(ctypes.util.find_library is look, gc.isenabled())
print('ssl' in sys.modules, 'cryptography.x509' in sys.modules)
import pkcs11, ssl, cryptography.x509
"""

NO_PROCESS = """
import sys
def refuse(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.system"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
from runpod_ssh.quick_start import load_transport
from runpod_ssh.settings import SSHSettings
load_transport(SSHSettings(ssh_config="none"))
print("done")
"""


@pytest.mark.parametrize(("provider", "has_tokens"), [("", False), ("/lib.so", True)])
def test_tokens_are_loaded_only_where_one_is_configured(
    provider: str, *, has_tokens: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, provider],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == f"True {has_tokens}\nTrue True\nFalse False\n", done.stderr
    assert done.returncode == 0, done.stderr


def test_looking_for_libraries_starts_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Host *\n  User me\n", False),
        ("# PKCS11Provider no\n", False),
        ("Host gate\n\tpkcs11provider=/lib.so\n", True),
        ("PKCS11Provider /lib.so\n", True),
        ("Include config.d/*\n", True),
        ("", False),
    ],
)
def test_ssh_config_that_may_name_a_token_counts(
    tmp_path: Path, text: str, *, expected: bool
) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    assert may_use_tokens(SSHSettings(ssh_config=str(path))) is expected


def test_no_ssh_config_names_no_token(tmp_path: Path) -> None:
    missing = SSHSettings(ssh_config=str(tmp_path / "missing"))

    assert not may_use_tokens(missing)
    assert not may_use_tokens(SSHSettings(ssh_config="none"))
