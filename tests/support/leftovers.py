"""Find processes that a run left behind, by a text only that run can carry."""

from pathlib import Path


def processes_mentioning(text: str) -> list[str]:
    """Return `pid: command` of every live process that has `text` about it.

    It is looked for in the command line, the environment and the working directory:
    a daemon may have shed one of them, hardly all three.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            if not command:
                continue  # a zombie or a kernel thread
            about = command + (folder / "environ").read_bytes()
            about += str((folder / "cwd").readlink()).encode()
        except OSError:
            continue  # ended while we looked, or another user's
        if text.encode() in about:
            words = command.replace(b"\0", b" ").decode(errors="replace")
            found.append(f"{folder.name}: {words}")
    return found
