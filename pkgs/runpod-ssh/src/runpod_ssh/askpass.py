"""`runpod-ssh-askpass`: tells OpenSSH the passphrase of a pod's key.

`runpod-ssh info` prints an ssh command with the variables below; ssh then runs this
program in place of asking. The passphrase goes to ssh through a pipe: it stands in no
command line, no variable and no file.

    SSH_ASKPASS, SSH_ASKPASS_REQUIRE   ssh's own: run this, even on a terminal
    RUNPOD_ASKPASS_KEY                 the private key whose passphrase may be told
    RUNPOD_IDENTITY_SECRET_FILE        where the secret is, as for all our tools
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from runpod_client import Error, IdentityStore
from runpod_client.config import ClientSettings, default_identity_secret_file, load

PROGRAM = "runpod-ssh-askpass"
KEY_VARIABLE = "RUNPOD_ASKPASS_KEY"
_SECRET_VARIABLE = "RUNPOD_IDENTITY_SECRET_FILE"  # noqa: S105  # a variable's name
_PROMPT = b"Enter passphrase for key '"
# ssh cuts the name of the key in its question to so many bytes
_PROMPT_BYTES = 100


def render_variables(
    program: Path, private_key_file: Path, secret_file: Path | None
) -> dict[str, str]:
    """Return the variables that let ssh open an encrypted key.

    Args:
        program: This program, as installed.
        secret_file: None where the secret is not in a file: ssh must then be run with
            the variables or the configuration that name it.
    """
    variables = {
        KEY_VARIABLE: str(private_key_file.absolute()),
        "SSH_ASKPASS": str(program),
        "SSH_ASKPASS_REQUIRE": "force",
    }
    if secret_file is not None:
        variables[_SECRET_VARIABLE] = str(secret_file.absolute())
    return variables


def answer(question: str, environ: Mapping[str, str]) -> str | None:
    """Return the passphrase that ssh asks for; None for any other question.

    Raises:
        ConfigError: The passphrase cannot be had.
    """
    key = Path(environ.get(KEY_VARIABLE, ""))
    wanted = _PROMPT + os.fsencode(key)[:_PROMPT_BYTES] + b"'"
    if not key.is_absolute() or wanted not in os.fsencode(question):
        return None
    settings = load(ClientSettings, section="client", environ=environ).settings
    store = IdentityStore(
        key.parent.parent,
        secret=settings.identity_secret,
        secret_file=default_identity_secret_file(),
    )
    identity = store.find_by_file(key)
    return identity.read_passphrase() if identity else None


def main() -> NoReturn:
    """Answer ssh on stdout, or fail, which it takes for no answer."""
    try:
        passphrase = answer(sys.argv[1] if len(sys.argv) > 1 else "", os.environ)
    except Error as error:
        sys.stderr.write(f"{PROGRAM}: {error.message}. {error.hint}\n")
        sys.exit(1)
    if passphrase is None:
        sys.stderr.write(f"{PROGRAM}: this is for ssh to run; see runpod-ssh info\n")
        sys.exit(1)
    sys.stdout.write(f"{passphrase}\n")
    sys.exit(0)


if __name__ == "__main__":
    main()
