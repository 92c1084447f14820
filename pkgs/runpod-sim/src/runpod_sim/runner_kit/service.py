"""The runner's side of GitHub: credentials, HTTP and the files in its root.

Used by the listener and the worker alike; Python's standard library alone.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

VERSION = (Path(__file__).parent / "version").read_text().split()[0]
CALL_TIMEOUT_SECONDS = 30
POLL_TIMEOUT_SECONDS = 70
SECRET_FILES = {".credentials_rsaparams"}


class ServiceError(Exception):
    """GitHub refused, or could not be reached (then `status` is 0)."""

    def __init__(self, status, message, kind=None):
        super().__init__(message)
        self.status = status
        self.kind = kind


def seconds(name, default):
    """Return a pause, which the tests shorten through the environment."""
    return float(os.environ.get(f"RUNNER_SIM_{name}_SECONDS", default))


def say(line):
    """Print a line of the console."""
    print(line, flush=True)


def complain(line):
    """Print a line of trouble."""
    print(line, file=sys.stderr, flush=True)


def stamp(line):
    """Put the UTC time before a line, as the runner does."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%SZ}: {line}"


class Diagnostics:
    """A log file in `_diag`, one for each start; it never gets to see a secret."""

    def __init__(self, root, name):
        folder = root / "_diag"
        folder.mkdir(exist_ok=True)
        now = datetime.now(timezone.utc)
        base = f"{name}_{now:%Y%m%d-%H%M%S}-utc"
        self._path = folder / f"{base}.log"
        number = 1
        while self._path.exists():
            self._path = folder / f"{base}_{number}.log"
            number += 1
        self._path.touch()
        self._name = name
        self._copy = bool(os.environ.get("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"))

    def note(self, line):
        text = f"[{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%SZ} INFO {self._name}] {line}"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        if self._copy:
            say(text)


def write_file(path, content):
    """Put a whole file in place at once; secrets are for their owner's eyes alone."""
    mode = 0o600 if path.name in SECRET_FILES else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json_file(path):
    """Return a JSON file's content."""
    return json.loads(path.read_bytes())


def call(method, url, *, body=None, form=None, authorization=None, timeout=CALL_TIMEOUT_SECONDS):
    """Send a request and return its status and decoded answer."""
    headers = {
        "User-Agent": f"GitHubActionsRunner-linux/{VERSION}",
        "Accept": "application/json",
    }
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if authorization is not None:
        headers["Authorization"] = authorization
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
    except urllib.error.HTTPError as error:
        with error:
            raise refusal(error.code, error.read()) from None
    except (OSError, ValueError) as error:
        # urllib's errors, timeouts and answers that are cut off
        raise ServiceError(0, f"{method} {url}: {error}") from None
    except Exception as error:
        if type(error).__module__ != "http.client":
            raise
        raise ServiceError(0, f"{method} {url}: {error!r}") from None


def refusal(status, raw):
    """Turn an answer that is no success into an error."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    return ServiceError(status, body.get("message", f"status {status}"), body.get("errorKind"))


def unpadded(raw):
    """Encode as JSON web tokens do."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Identity:
    """Who this runner is: its settings, its credentials and its access token."""

    def __init__(self, root):
        self.settings = read_json_file(root / ".runner")
        credentials = read_json_file(root / ".credentials")["data"]
        self._client_id = credentials["clientId"]
        self._authorization_url = credentials["authorizationUrl"]
        self._key = read_json_file(root / ".credentials_rsaparams")["hmacKey"]
        self.token = None

    @property
    def broker(self):
        return self.settings["serverUrlV2"].rstrip("/")

    def renew_token(self):
        """Exchange a signed assertion for a fresh access token."""
        now = int(time.time())
        head = unpadded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        claims = {
            "sub": self._client_id,
            "iss": self._client_id,
            "aud": self._authorization_url,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        signed = f"{head}.{unpadded(json.dumps(claims).encode())}"
        signature = hmac.new(self._key.encode(), signed.encode(), hashlib.sha256)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": f"{signed}.{unpadded(signature.digest())}",
        }
        _, answer = call("POST", self._authorization_url, form=form)
        self.token = answer["access_token"]

    def send(self, method, url, **rest):
        """Send a request as this runner, with a fresh token where the old one ended."""
        if self.token is None:
            self.renew_token()
        try:
            return call(method, url, authorization=f"Bearer {self.token}", **rest)
        except ServiceError as error:
            if error.status != 401:
                raise
        self.renew_token()
        return call(method, url, authorization=f"Bearer {self.token}", **rest)
