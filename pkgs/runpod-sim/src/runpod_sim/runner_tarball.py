"""Packs the runner kit into the tarball that the simulated GitHub offers.

The package a machine downloads has no top folder and starts its members with `./`, as
GitHub's has. The same sources give the same bytes, so that the checksum is stable. It
must not know GitHub or HTTP.

Shebangs are rewritten to the interpreters of this host: a simulated pod is this host,
and neither `/bin/bash` nor `/usr/bin/env` exists everywhere.
"""

import gzip
import hashlib
import io
import shutil
import sys
import tarfile
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

VERSION = "2.336.0"
ARCHITECTURES = ("x64", "arm64")
# A fixed past instant, so that the bytes do not change from day to day.
MEMBER_TIME = 1_750_000_000
KIT = {
    "config.sh": "config.sh",
    "run.sh": "run.sh",
    "run-helper.sh.template": "run-helper.sh.template",
    "env.sh": "env.sh",
    "safe_sleep.sh": "safe_sleep.sh",
    "bin/Runner.Listener": "listener.py",
    "bin/Runner.Worker": "worker.py",
    "bin/service.py": "service.py",
    "bin/configuration.py": "configuration.py",
    "bin/systemd.svc.sh.template": "svc.sh.template",
    "bin/installdependencies.sh": "installdependencies.sh",
    "externals/README": "externals.txt",
}


class MissingInterpreterError(Exception):
    """This host has no bash, without which a runner cannot be started."""

    hint = "Install bash and make sure it is on PATH."


def filename(architecture: str) -> str:
    """Return the package's file name, which follows GitHub's pattern."""
    return f"actions-runner-linux-{architecture}-{VERSION}.tar.gz"


def checksum(architecture: str) -> str:
    """Return the package's SHA-256 in hex."""
    return hashlib.sha256(pack(architecture)).hexdigest()


@cache
def pack(architecture: str) -> bytes:
    """Return the package's bytes.

    Raises:
        MissingInterpreterError: There is no bash on PATH.
    """
    return pack_for(architecture, bash=find_bash(), python=sys.executable)


def pack_for(architecture: str, *, bash: str, python: str) -> bytes:
    """Return the package for a host that has these interpreters."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in (".", "./bin", "./externals"):
            archive.addfile(_member(folder, tarfile.DIRTYPE, 0o755, 0))
        source = files("runpod_sim").joinpath("runner_kit")
        for name, origin in KIT.items():
            content = _read(source.joinpath(origin), bash, python)
            is_script = content.startswith(b"#!")
            mode = 0o755 if is_script else 0o644
            member = _member(f"./{name}", tarfile.REGTYPE, mode, len(content))
            archive.addfile(member, io.BytesIO(content))
        note = f"{VERSION} linux-{architecture}\n".encode()
        member = _member("./bin/version", tarfile.REGTYPE, 0o644, len(note))
        archive.addfile(member, io.BytesIO(note))
    return gzip.compress(plain.getvalue(), mtime=MEMBER_TIME)


def find_bash() -> str:
    """Return the path of bash.

    Raises:
        MissingInterpreterError: There is none on PATH.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise MissingInterpreterError("no bash on PATH to start a runner with")
    return bash


def _read(source: Traversable, bash: str, python: str) -> bytes:
    content = source.read_bytes()
    shebangs = {b"#!/bin/bash\n": bash, b"#!/usr/bin/python3\n": python}
    for shebang, interpreter in shebangs.items():
        if content.startswith(shebang):
            rest = content.removeprefix(shebang)
            return f"#!{interpreter}\n".encode() + rest
    return content


def _member(name: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    member.mtime = MEMBER_TIME
    return member
