"""Running a command under the pod's process 1, and ending all it left behind.

The bridge to `container_init.py`: pipes, its exit, its patience. It knows nothing of
pods or SSH. Start commands from the event loop's own thread: the kernel ties the
parent-death signal to the thread that forked.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runpod_sim.processes import kill_inhabitants

INIT_SCRIPT = Path(__file__).with_name("container_init.py")
END_SECONDS = 10.0

Stream = int | IO[bytes] | None


@dataclass(frozen=True)
class Streams:
    """What the command gets as standard input, output and error."""

    stdin: Stream = asyncio.subprocess.DEVNULL
    stdout: Stream = asyncio.subprocess.DEVNULL
    stderr: Stream = asyncio.subprocess.DEVNULL


class Supervised:
    """One command and everything that descends from it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        control_fd: int,
        status_fd: int,
        territory: Path,
    ) -> None:
        self.process = process
        self._territory = territory
        self._control_fd = control_fd
        self._status_fd = status_fd
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(status_fd, self._read_status)

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        territory: Path,
        streams: Streams,
        terminal: bool = False,
    ) -> "Supervised":
        """Start a command.

        Args:
            territory: A folder of this pod alone that each of its processes names.
            terminal: Makes standard input its controlling terminal.
        """
        control_out, control_in = os.pipe()
        status_out, status_in = os.pipe()
        options = ["--terminal"] if terminal else []
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-ISs",
                str(INIT_SCRIPT),
                f"--control-fd={control_out}",
                f"--status-fd={status_in}",
                *options,
                "--",
                *command,
                env=dict(env),
                cwd=cwd,
                stdin=streams.stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                pass_fds=(control_out, status_in),
                # Ctrl-C in the simulator's terminal is for the simulator to handle.
                start_new_session=True,
            )
        except BaseException:
            os.close(control_in)
            os.close(status_out)
            raise
        finally:
            os.close(control_out)
            os.close(status_in)
        return cls(process, control_in, status_out, territory)

    def _read_status(self) -> None:
        text = os.read(self._status_fd, 64)
        asyncio.get_running_loop().remove_reader(self._status_fd)
        os.close(self._status_fd)
        if not self._status.done():
            self._status.set_result(int(text) if text else -9)

    async def wait_for_command(self) -> int:
        """Return the command's exit status, minus the signal's number if killed."""
        return await asyncio.shield(self._status)

    @property
    def is_over(self) -> bool:
        """Say whether nothing of it is left."""
        return self.process.returncode is not None

    async def stop(self, grace_seconds: float) -> None:
        """End the command and all that descends from it.

        A second call with no grace cuts a first one short.
        """
        if grace_seconds <= 0:
            self.close()
        if not self.is_over:
            if self._control_fd >= 0:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._control_fd, f"stop {grace_seconds:g}\n".encode())
            try:
                async with asyncio.timeout(grace_seconds + END_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if (self.process.returncode or 0) < 0:
            # process 1 was killed, by a job perhaps: its children have lost their keeper
            kill_inhabitants(self._territory)
        self.close()

    def close(self) -> None:
        """Let go of the pipes; the process 1 takes that as the order to end."""
        if self._control_fd >= 0:
            os.close(self._control_fd)
            self._control_fd = -1
