"""One copy as a process, to be killed: `up|down PORT IDENTITY SOURCE TARGET`.

It prints a line for every piece that has moved.
"""

import asyncio
import sys
from pathlib import Path

from runpod_client import SSHAddress
from runpod_ssh import Credentials, connect, download, upload
from runpod_ssh.model import HostKey


class AnyKey:
    """Takes any host key: the server is this machine's own."""

    preferred_algorithm = ""

    def check(self, offered: HostKey) -> None:
        del offered

    def confirm(self, proved: HostKey) -> None:
        del proved


async def main(way: str, port: str, identity: str, source: str, target: str) -> None:
    def tell(done: int, _total: int) -> None:
        print(done, flush=True)  # noqa: T201  # what it is for

    async with connect(
        SSHAddress(host="127.0.0.1", port=int(port)),
        host_keys=AnyKey(),
        credentials=Credentials(identity_file=Path(identity)),
    ) as link:
        if way == "up":
            await upload(link, Path(source), target, on_progress=tell)
        else:
            await download(link, source, Path(target), on_progress=tell)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
