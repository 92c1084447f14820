#!/usr/bin/python3
"""Stands for the runner's worker: run one job's script and report how it went.

The order comes as one line of JSON on standard input, whose end means that the
listener is gone. Exit status: 100 succeeded, 102 failed, 103 canceled.
"""

import sys

sys.dont_write_bytecode = True

import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

from service import POLL_TIMEOUT_SECONDS, Diagnostics, Identity, ServiceError, seconds

ROOT = Path(__file__).resolve().parent.parent
EXIT_CODES = {"succeeded": 100, "failed": 102, "canceled": 103}
KILL_PATIENCE_SECONDS = 2.5
TRIES = 5


class Log:
    """Collects what the job prints and sends it to GitHub bit by bit."""

    def __init__(self, send):
        self._send = send
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, raw):
        with self._lock:
            self._pending += raw

    def say(self, line):
        self.add(line.encode() + b"\n")

    def close(self):
        """Send the rest and stop."""
        self._closed.set()
        self._thread.join(POLL_TIMEOUT_SECONDS)

    def _run(self):
        while not self._closed.wait(seconds("LOG", 0.5)):
            self._flush(whole=False)
        self._flush(whole=True)

    def _flush(self, *, whole):
        with self._lock:
            # A character may be half written; only whole lines are sure not to be.
            end = len(self._pending) if whole else self._pending.rfind(b"\n") + 1
            raw, self._pending = bytes(self._pending[:end]), self._pending[end:]
        if raw:
            self._send(raw.decode("utf-8", "replace"))


class Worker:
    """Runs one job."""

    def __init__(self, order, identity, diagnostics):
        self.job = order["job"]
        self.run_url = order["runServiceUrl"]
        self.identity = identity
        self.diagnostics = diagnostics
        self.cancelled = threading.Event()
        self.orphaned = threading.Event()
        self.ended = threading.Event()
        self.tracking_id = f"github_{uuid.uuid4()}"
        self.log = Log(self.send_log)

    # GitHub

    def post(self, call, **body):
        """Tell GitHub something about the job, with a few tries."""
        for left in range(TRIES - 1, -1, -1):
            try:
                return self.identity.send(
                    "POST",
                    f"{self.run_url}/{call}",
                    body={"jobId": self.job["jobId"], **body},
                    timeout=POLL_TIMEOUT_SECONDS,
                )[1]
            except ServiceError as error:
                self.diagnostics.note(f"{call} failed: {error}")
                if error.status == 404 or not left:
                    return None
            time.sleep(seconds("RETRY", 3))
        return None

    def send_log(self, text):
        self.post("log", text=text)

    def keep_lock(self):
        """Renew the job's lock until the job ends; an answer may order to cancel."""
        while not self.ended.is_set():
            answer = self.post("renewjob")
            if answer is None:
                # The job is GitHub's no longer, or GitHub is not to be reached.
                self.ended.wait(seconds("RETRY", 3))
            elif answer["cancel"]:
                self.cancelled.set()
                return

    def watch_listener(self):
        """Note the end of the pipe from the listener."""
        try:
            os.read(sys.stdin.fileno(), 1)
        except OSError as error:
            self.diagnostics.note(f"pipe broken: {error}")
        if not self.ended.is_set():
            self.orphaned.set()
            self.cancelled.set()

    # The job

    def run(self):
        """Run the job with its hooks and return its result."""
        # Daemons: the process must not wait for a poll when the job is over.
        for target in (self.keep_lock, self.watch_listener):
            threading.Thread(target=target, daemon=True).start()
        try:
            result = self.run_steps()
        except OSError as error:
            self.log.say(f"##[error]{error}")
            result = "failed"
        self.kill_leftovers()
        self.ended.set()
        if self.orphaned.is_set():
            return "canceled"
        self.log.close()
        self.post("completejob", conclusion=result)
        return result

    def run_steps(self):
        workspace, temp, environment = self.prepare()
        script = temp / f"{uuid.uuid4()}.sh"
        script.write_text(self.job["script"])
        ok = self.run_hook("ACTIONS_RUNNER_HOOK_JOB_STARTED", workspace, environment)
        if ok and not self.cancelled.is_set():
            ok = self.run_script(script, workspace, environment) == 0
        script.unlink(missing_ok=True)
        # The hook at the end is not part of what was cancelled.
        cancelled = self.cancelled.is_set()
        hook_ok = self.run_hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", workspace, environment)
        if cancelled:
            return "canceled"
        return "succeeded" if ok and hook_ok else "failed"

    def prepare(self):
        """Make the job's folders and environment."""
        settings = self.identity.settings
        work = ROOT / (settings.get("workFolder") or "_work")
        variables = self.job["variables"]
        name = variables["GITHUB_REPOSITORY"].rpartition("/")[2]
        workspace, temp, tools = work / name / name, work / "_temp", work / "_tool"
        event = temp / "_github_workflow" / "event.json"
        commands = temp / "_runner_file_commands"
        for folder in (workspace, tools, event.parent, commands):
            folder.mkdir(parents=True, exist_ok=True)
        event.write_text(json.dumps({"repository": {"full_name": variables["GITHUB_REPOSITORY"]}}))
        environment = dict(os.environ) | variables
        for command in ("ENV", "OUTPUT", "PATH", "STATE", "STEP_SUMMARY"):
            path = commands / f"{command.lower()}_{self.job['jobId']}"
            path.touch()
            environment[f"GITHUB_{command}"] = str(path)
        is_arm = platform.machine() in {"aarch64", "arm64"}
        environment |= {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_EVENT_PATH": str(event),
            "RUNNER_NAME": settings["agentName"],
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "ARM64" if is_arm else "X64",
            "RUNNER_ENVIRONMENT": "self-hosted",
            "RUNNER_TEMP": str(temp),
            "RUNNER_WORKSPACE": str(work / name),
            "RUNNER_TOOL_CACHE": environment.get("RUNNER_TOOL_CACHE", str(tools)),
            "RUNNER_TRACKING_ID": self.tracking_id,
        }
        return workspace, temp, environment

    def run_hook(self, variable, workspace, environment):
        """Run the hook that the variable names, if it names one."""
        hook = os.environ.get(variable)
        if not hook:
            return True
        self.log.say(f"Running the hook {hook}")
        if not os.path.isabs(hook) or not os.path.isfile(hook):
            self.log.say(f"##[error]There is no file at the path in {variable}: {hook}")
            return False
        status = self.run_script(hook, workspace, environment, heed_cancel=False)
        if status:
            self.log.say(f"##[error]The hook {hook} ended with {status}.")
        return status == 0

    def run_script(self, script, workspace, environment, *, heed_cancel=True):
        """Run a script with `bash -e` and return its exit status."""
        process = subprocess.Popen(
            [shutil.which("bash") or "bash", "-e", script],
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own, but the runner's session: who kills that, kills this.
            process_group=0,
        )
        reader = threading.Thread(target=self.copy_output, args=(process.stdout,), daemon=True)
        reader.start()
        while process.poll() is None:
            heed = heed_cancel and self.cancelled.wait(0.05)
            if heed or self.orphaned.is_set():
                stop_group(process)
            elif not heed_cancel:
                time.sleep(0.05)
        # What the script left behind may hold the pipe open.
        reader.join(1)
        if process.returncode and not self.cancelled.is_set():
            self.log.say(f"##[error]Process completed with exit code {process.returncode}.")
        return process.returncode

    def copy_output(self, pipe):
        with pipe:
            while raw := os.read(pipe.fileno(), 65536):
                self.log.add(raw)

    def kill_leftovers(self):
        """Kill what still carries the job's mark in its environment."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = self.find_leftovers()
            for pid in found:
                if number == signal.SIGTERM:
                    self.log.say(f"Terminate orphan process: pid ({pid})")
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + 1
            while found and time.monotonic() < deadline and self.find_leftovers():
                time.sleep(0.02)

    def find_leftovers(self):
        mark = f"RUNNER_TRACKING_ID={self.tracking_id}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                # Gone by now, or another user's.
                continue
        return found


def stop_group(process):
    """End a script and its children, politely first."""
    patience = seconds("CANCEL", 7.5)
    for number, wait in (
        (signal.SIGINT, patience),
        (signal.SIGTERM, KILL_PATIENCE_SECONDS),
        (signal.SIGKILL, KILL_PATIENCE_SECONDS),
    ):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            continue
        return


def main():
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        # The listener decides what an interrupt means. A handler, since ignoring the
        # signal would be handed down to the job.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
    diagnostics = Diagnostics(ROOT, "Worker")
    # Unbuffered, so that the watcher of the pipe sees its end and nothing else.
    line = bytearray()
    while not line.endswith(b"\n"):
        raw = os.read(sys.stdin.fileno(), 65536)
        if not raw:
            return EXIT_CODES["canceled"]
        line += raw
    order = json.loads(line)
    worker = Worker(order, Identity(ROOT), diagnostics)
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.cancelled.set())
    diagnostics.note(f"job {worker.job['jobId']}")
    result = worker.run()
    diagnostics.note(f"job {worker.job['jobId']} {result}")
    return EXIT_CODES[result]


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The threads that still wait for GitHub must not hold up the end.
    os._exit(code)
