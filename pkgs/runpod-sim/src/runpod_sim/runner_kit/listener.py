#!/usr/bin/python3
"""Stands for the runner's listener: configure, remove, and run jobs as they come.

Written from what is known of the real one's behaviour: its flags, files, console lines
and exit codes.
"""

import sys

sys.dont_write_bytecode = True

import base64
import json
import os
import platform
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import configuration
from service import (
    POLL_TIMEOUT_SECONDS,
    VERSION,
    Diagnostics,
    Identity,
    ServiceError,
    complain,
    say,
    seconds,
    stamp,
    write_file,
)

ROOT = Path(__file__).resolve().parent.parent
DONE, TERMINATED, RETRYABLE, CONFLICT, DEPRECATED = 0, 1, 2, 5, 7
SESSION_TRIES = 8
MESSAGE_ERROR_LIMIT = 10
WORKER_PATIENCE_SECONDS = 30
RESULTS = {100: "Succeeded", 102: "Failed", 103: "Canceled"}


class StopRequested(BaseException):
    """SIGINT or SIGTERM asked the listener to end."""


class Ended(Exception):
    """The listener cannot go on; `code` is its exit status."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def stop(_number, _frame):
    # Once is enough: what follows is the orderly end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise StopRequested


def install_signal_handlers():
    # Who starts a program with SIGINT ignored, as `cmd &` does, means it.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


class Listener:
    """Holds a session with the broker and has jobs run."""

    def __init__(self, identity, diagnostics, *, one_job):
        self.identity = identity
        self.diagnostics = diagnostics
        self.one_job = one_job
        self.session_id = None
        self.worker = None

    def run(self):
        """Work until there is nothing more to do; return the exit status."""
        try:
            self.create_session()
            say("")
            say("√ Connected to GitHub")
            say("")
            say(f"Current runner version: '{VERSION}'")
            say(stamp("Listening for Jobs"))
            return self.listen()
        except Ended as ended:
            return ended.code
        except StopRequested:
            say("Exiting...")
            self.stop_worker()
            return DONE
        finally:
            self.delete_session()

    def create_session(self):
        body = {
            "ownerName": f"{socket.gethostname()} (PID: {os.getpid()})",
            "agent": {
                "version": VERSION,
                "os": "Linux",
                "architecture": platform.machine(),
            },
        }
        conflicts, lost = 0, False
        while True:
            try:
                self.identity.token = None
                _, answer = self.identity.send("POST", f"{self.identity.broker}/session", body=body)
            except ServiceError as error:
                self.diagnostics.note(f"session not created: {error}")
                if error.status == 409:
                    conflicts += 1
                    complain("A session for this runner already exists.")
                    if conflicts >= SESSION_TRIES:
                        raise Ended(CONFLICT) from None
                    time.sleep(seconds("SESSION_RETRY", 30))
                    continue
                self.give_up_if_hopeless(error, creating=True)
                if not lost:
                    complain(stamp(f"Runner connect error: {error}. Retrying until reconnected."))
                lost = True
                time.sleep(seconds("SESSION_RETRY", 30))
                continue
            if lost:
                say(stamp("Runner reconnected."))
            self.session_id = answer["sessionId"]
            self.diagnostics.note("session created")
            return

    def give_up_if_hopeless(self, error, *, creating):
        """End for errors that no waiting mends."""
        if error.kind == "RunnerNotFound":
            if creating:
                complain(
                    "Failed to create a session. The runner registration has been "
                    "deleted from the server, please re-configure."
                )
            else:
                complain(
                    "The runner no longer exists on the server. "
                    "Cleaning up local configuration."
                )
            configuration.wipe(ROOT)
            raise Ended(TERMINATED)
        if error.kind == "RunnerVersionTooOld":
            complain(f"An error occurred: {error}")
            told = os.environ.get("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "")
            raise Ended(DEPRECATED if told.lower() in {"1", "true"} else TERMINATED)
        if error.status == 400:
            complain(
                "The local machine's clock may be out of sync with the server "
                "time by more than five minutes."
            )
        elif error.status in {401, 403}:
            complain(f"An error occurred: {error}")
            raise Ended(TERMINATED)

    def listen(self):
        failures = 0
        while True:
            try:
                message = self.get_message()
            except ServiceError as error:
                self.diagnostics.note(f"no message: {error}")
                if error.kind == "RunnerSessionInvalid":
                    self.create_session()
                    continue
                self.give_up_if_hopeless(error, creating=False)
                failures += 1
                if failures == 1:
                    complain(stamp(f"Runner connect error: {error}. Retrying until reconnected."))
                if failures >= MESSAGE_ERROR_LIMIT:
                    return RETRYABLE
                time.sleep(seconds("RETRY", 15))
                continue
            if failures:
                say(stamp("Runner reconnected."))
            failures = 0
            if message is None or message["messageType"] != "RunnerJobRequest":
                continue
            if self.take_job(json.loads(message["body"])) and self.one_job:
                if self.identity.settings.get("ephemeral"):
                    configuration.wipe(ROOT)
                return DONE

    def get_message(self):
        query = urllib.parse.urlencode(
            {
                "sessionId": self.session_id,
                "status": "Online",
                "runnerVersion": VERSION,
                "os": "Linux",
                "architecture": platform.machine(),
                "disableUpdate": "true",
            }
        )
        status, message = self.identity.send(
            "GET", f"{self.identity.broker}/message?{query}", timeout=POLL_TIMEOUT_SECONDS
        )
        return message if status == 200 else None

    def take_job(self, offer):
        """Run the offered job; tell whether there was one to run."""
        run_url = offer["runServiceUrl"].rstrip("/")
        try:
            _, job = self.identity.send("POST", f"{run_url}/acquirejob", body={"jobId": offer["jobId"]})
        except ServiceError as error:
            self.diagnostics.note(f"job {offer['jobId']} not acquired: {error}")
            return False
        name = job["jobDisplayName"]
        say(stamp(f"Running job: {name}"))
        code = self.run_worker({"job": job, "runServiceUrl": run_url})
        result = RESULTS.get(code, "Failed")
        say(stamp(f"Job {name} completed with result: {result}"))
        return True

    def run_worker(self, order):
        # The order goes through a pipe: an argument could be read by everyone.
        self.worker = subprocess.Popen([ROOT / "bin" / "Runner.Worker"], stdin=subprocess.PIPE)
        try:
            self.worker.stdin.write(json.dumps(order).encode() + b"\n")
            self.worker.stdin.flush()
            return self.worker.wait()
        except BrokenPipeError:
            return self.worker.wait()
        finally:
            if self.worker.poll() is not None:
                self.worker.stdin.close()
                self.worker = None

    def stop_worker(self):
        if self.worker is None:
            return
        self.worker.terminate()
        try:
            self.worker.wait(WORKER_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()
        if self.identity.settings.get("ephemeral"):
            configuration.wipe(ROOT)

    def delete_session(self):
        if self.session_id is None:
            return
        query = urllib.parse.urlencode({"sessionId": self.session_id})
        try:
            self.identity.send("DELETE", f"{self.identity.broker}/session?{query}", timeout=5)
        except ServiceError as error:
            self.diagnostics.note(f"session not deleted: {error}")


def write_jit_files(encoded):
    """Write the files of a JIT config into the root."""
    try:
        packed = json.loads(base64.b64decode(encoded, validate=True))
        files = {name: base64.b64decode(text, validate=True) for name, text in packed.items()}
    except (ValueError, AttributeError, TypeError):
        complain("The JIT config is not valid.")
        raise Ended(TERMINATED) from None
    if any("/" in name or not name.startswith(".") for name in files):
        complain("The JIT config names files that are not the runner's.")
        raise Ended(TERMINATED)
    for name, content in files.items():
        write_file(ROOT / name, content)


def load_environment_file():
    path = ROOT / ".env"
    if path.exists():
        for line in path.read_text().splitlines():
            name, mark, value = line.partition("=")
            if mark and name.strip():
                os.environ[name.strip()] = value


def run(inputs):
    """Run as the runner that is configured here, or that a JIT config makes."""
    diagnostics = Diagnostics(ROOT, "Runner")
    diagnostics.note(f"version {VERSION}")
    invariant = os.environ.get("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "").lower() in {"1", "true"}
    lacks_icu = os.environ.get("RUNNER_SIM_MISSING_LIBICU") and not invariant
    if lacks_icu and not (ROOT / "bin" / ".dependencies").exists():
        complain("Process terminated. Couldn't find a valid ICU package installed on the system.")
        return 134
    jit = inputs.get("jitconfig")
    if jit:
        write_jit_files(jit)
    if not (ROOT / ".runner").exists():
        complain("Not configured. Run config.sh to configure the runner.")
        return TERMINATED
    identity = Identity(ROOT)
    one_job = bool(jit or inputs.get("once") or identity.settings.get("ephemeral"))
    return Listener(identity, diagnostics, one_job=one_job).run()


def main():
    inputs, command, unknown = configuration.read_inputs(sys.argv[1:], os.environ)
    if "version" in inputs:
        say(VERSION)
        return DONE
    if "commit" in inputs:
        say("0" * 40)
        return DONE
    if "help" in inputs:
        say(configuration.HELP)
        return DONE
    for word in unknown:
        complain(f"Unrecognized command-line input arguments: '{word}'. See --help.")
    load_environment_file()
    try:
        if command == "configure":
            return configuration.configure(ROOT, inputs)
        if command == "remove":
            return configuration.remove(ROOT, inputs)
        install_signal_handlers()
        return run(inputs)
    except configuration.SetupError as error:
        complain(str(error))
        return TERMINATED
    except Ended as ended:
        return ended.code
    except (StopRequested, KeyboardInterrupt):
        say("Exiting...")
        return DONE


if __name__ == "__main__":
    sys.exit(main())
