"""GitHub's REST API for runners: the one module that knows its wire.

It must not know pods. Reads and DELETE (which is idempotent) are retried a bounded
number of times; minting a JIT config never is: a lost answer may have made a runner.
Rate limits are waited out where GitHub says for how long and that is short, else they
are an error; a refusal without signs of a limit is a matter of permissions, at once.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
import stamina

from runner_installer.errors import RegistrationError, RunnerBusyError
from runner_installer.model import (
    Download,
    Registration,
    RunnerRecord,
    RunnerSpec,
    Scope,
)
from runpod_client import (
    AuthenticationError,
    ConfigError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    Secret,
    TransportError,
    UnavailableError,
)
from runpod_client.config import setting
from runpod_client.logs import apply_configuration, get_logger

SERVICE = "GitHub"
API_VERSION = "2022-11-28"
USER_AGENT = "runner-installer"
PAGE_SIZE = 100
MAX_PAGES = 100
_ATTEMPTS = 4
_CHUNK_BYTES = 1 << 20
# GitHub asks for at least a minute where it names no time itself
_UNNAMED_WAIT_SECONDS = 60.0
_PERMISSION_HINT = (
    "The token needs Administration: write on the repository (a classic token: repo), "
    "or Self-hosted runners: write on the organization (classic: admin:org)."
)

log = get_logger(__name__)
Wire = TypeVar("Wire")


@dataclass(frozen=True, kw_only=True)
class GitHubSettings:
    """What is needed to reach GitHub."""

    api_url: str = setting(
        "Base URL of GitHub's REST API (GitHub Enterprise: https://HOST/api/v3)",
        env="GITHUB_API_URL",
        default="https://api.github.com",
    )
    token: Secret | None = setting(
        "GitHub token that may administer runners", env="GITHUB_TOKEN", default=None
    )
    timeout_seconds: float = setting(
        "Time limit of one GitHub call",
        env="GITHUB_API_TIMEOUT",
        default=30.0,
        unit="s",
    )
    rate_limit_wait_seconds: float = setting(
        "How long one call may wait for a rate limit to pass",
        env="GITHUB_RATE_LIMIT_WAIT",
        default=90.0,
        unit="s",
    )


class _Label(msgspec.Struct):
    name: str


class _Runner(msgspec.Struct):
    id: int
    name: str
    status: str
    busy: bool
    labels: list[_Label] = msgspec.field(default_factory=list)


class _RunnerPage(msgspec.Struct):
    total_count: int
    runners: list[_Runner]


class _JITConfig(msgspec.Struct):
    runner: _Runner
    encoded_jit_config: str


class _Download(msgspec.Struct):
    os: str
    architecture: str
    download_url: str
    filename: str
    sha256_checksum: str = ""
    temp_download_token: str = ""


class _Problem(msgspec.Struct):
    message: str = ""


class _BearerAuth(requests.auth.AuthBase):
    """Send the token; being set explicitly it also keeps ~/.netrc out of it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _NoAuth(requests.auth.AuthBase):
    """Send no credential, not even one from ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class GitHub:
    """GitHub's runners of one scope at a time. Close it, or use it as a context."""

    def __init__(
        self,
        *,
        api_url: str,
        token: Secret,
        timeout_seconds: float = 30.0,
        rate_limit_wait_seconds: float = 90.0,
        retry_wait_seconds: float = 0.5,
        now: Callable[[], float] = time.time,
    ) -> None:
        check_url(api_url, what="GITHUB_API_URL")
        self.api_url = api_url.rstrip("/")
        self._auth = _BearerAuth(token)
        self._timeout_seconds = timeout_seconds
        self._rate_limit_wait_seconds = rate_limit_wait_seconds
        self._retry_wait_seconds = retry_wait_seconds
        self._now = now
        self._session = requests.Session()
        self._session.headers.update(
            {
                "User-Agent": USER_AGENT,
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": API_VERSION,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._session.close()

    def generate_jit_config(self, spec: RunnerSpec) -> Registration:
        """Register a runner for one job; never retried.

        Raises:
            RegistrationError: A runner of that name exists, or GitHub refuses the
                labels or the group.
            TransportError: No answer; the runner may exist nevertheless.
        """
        body = {
            "name": spec.name,
            "runner_group_id": spec.group_id,
            "labels": list(spec.all_labels),
            "work_folder": spec.work_folder,
        }
        path = f"{spec.scope.api_path}/actions/runners/generate-jitconfig"
        try:
            answer = self._send("POST", path, "generate_jit_config", body=body)
        except RejectedError as error:
            raise _registration_error(error, spec) from error
        config = _decode(answer, _JITConfig, "generate_jit_config")
        log.info(
            "runner_registered",
            runner_name=spec.name,
            runner_id=config.runner.id,
            repository=str(spec.scope),
        )
        return Registration(
            runner_id=config.runner.id,
            name=config.runner.name,
            jit_config=Secret(config.encoded_jit_config),
        )

    def list_runners(self, scope: Scope, *, name: str = "") -> list[RunnerRecord]:
        """Return every runner of the scope, or those of exactly this name."""
        records: dict[int, RunnerRecord] = {}
        for page in range(1, MAX_PAGES + 1):
            query = {"per_page": PAGE_SIZE, "page": page} | (
                {"name": name} if name else {}
            )
            path = f"{scope.api_path}/actions/runners?{urlencode(query)}"
            answer = self._read("GET", path, "list_runners")
            found = _decode(answer, _RunnerPage, "list_runners")
            # runners come and go between two pages: the id tells repetitions apart
            records |= {r.id: _record(r) for r in found.runners}
            if len(found.runners) < PAGE_SIZE:
                break
        return [r for r in records.values() if not name or r.name == name]

    def find_runner(self, scope: Scope, name: str) -> RunnerRecord | None:
        """Return the runner of that name, None where there is none."""
        return next(iter(self.list_runners(scope, name=name)), None)

    def get_runner(self, scope: Scope, runner_id: int) -> RunnerRecord:
        """Return one runner, fresh.

        Raises:
            NotFoundError: GitHub knows no such runner (any more).
        """
        path = f"{scope.api_path}/actions/runners/{runner_id}"
        answer = self._read("GET", path, "get_runner")
        return _record(_decode(answer, _Runner, "get_runner"))

    def delete_runner(self, scope: Scope, runner_id: int) -> bool:
        """Remove a runner; tell whether there still was one.

        Raises:
            RunnerBusyError: It runs a job.
        """
        path = f"{scope.api_path}/actions/runners/{runner_id}"
        try:
            self._read("DELETE", path, "delete_runner")
        except NotFoundError:
            return False
        except RejectedError as error:
            if error.http_status != requests.codes.unprocessable_entity:
                raise
            raise RunnerBusyError(
                f"runner {runner_id} of {scope} runs a job, so GitHub keeps it",
                hint="Wait for the job to end, or cancel it at GitHub, and repeat.",
            ) from error
        log.info("runner_deleted", runner_id=runner_id, repository=str(scope))
        return True

    def list_downloads(self, scope: Scope) -> list[Download]:
        """Return the runner packages GitHub wants this scope to run."""
        path = f"{scope.api_path}/actions/runners/downloads"
        answer = self._read("GET", path, "list_downloads")
        return [
            Download(
                os=item.os,
                architecture=item.architecture,
                url=item.download_url,
                filename=item.filename,
                sha256=item.sha256_checksum.lower(),
                token=Secret(item.temp_download_token)
                if item.temp_download_token
                else None,
            )
            for item in _decode(answer, list[_Download], "list_downloads")
        ]

    def download(self, download: Download) -> Iterator[bytes]:
        """Stream a package, without our token: it lies on another host.

        Raises:
            TransportError: No connection, or it was cut in the middle.
            NotFoundError: The package is not there.
        """
        check_url(download.url, what="the runner's download_url")
        auth = _BearerAuth(download.token) if download.token else _NoAuth()
        try:
            with self._session.get(
                download.url,
                auth=auth,
                stream=True,
                timeout=self._timeout_seconds,
                headers={"Accept": "application/octet-stream"},
            ) as answer:
                self._check(answer, "download")
                yield from answer.iter_content(_CHUNK_BYTES)
        except requests.RequestException as error:
            raise _transport_error(error, "download", download.url) from error

    def _read(self, method: str, path: str, operation: str) -> requests.Response:
        """Send something that is safe to repeat, and repeat it where that may help."""

        def pause(error: Exception) -> bool | float:
            if isinstance(error, RateLimitedError):
                seconds = error.retry_after_seconds
                if seconds is None:
                    return False
                return seconds if seconds <= self._rate_limit_wait_seconds else False
            return isinstance(error, TransportError | UnavailableError)

        apply_configuration()  # stamina tells of each retry through structlog
        for attempt in stamina.retry_context(
            on=pause,
            attempts=_ATTEMPTS,
            timeout=self._rate_limit_wait_seconds + _ATTEMPTS * self._timeout_seconds,
            wait_initial=self._retry_wait_seconds,
            wait_max=10 * self._retry_wait_seconds,
            wait_jitter=self._retry_wait_seconds,
        ):
            with attempt:
                answer = self._send(method, path, operation)
        return answer

    def _send(
        self, method: str, path: str, operation: str, *, body: Any = None
    ) -> requests.Response:
        """Send one request and turn every failure into an error of ours."""
        url = self.api_url + path
        try:
            answer = self._session.request(
                method,
                url,
                json=body,
                auth=self._auth,
                timeout=self._timeout_seconds,
                # a redirected POST would silently become a GET
                allow_redirects=method == "GET",
            )
        except requests.RequestException as error:
            raise _transport_error(error, operation, self.api_url) from error
        self._check(answer, operation)
        return answer

    def _check(self, answer: requests.Response, operation: str) -> None:
        """Raise the error that a status of GitHub stands for."""
        status = answer.status_code
        log.debug(
            "github_call_answered",
            operation=operation,
            http_status=status,
            request_id=answer.headers.get("x-github-request-id", ""),
        )
        if status < 300:
            return
        facts: dict[str, Any] = {
            "service": SERVICE,
            "operation": operation,
            "http_status": status,
            "request_id": answer.headers.get("x-github-request-id", ""),
        }
        said = _message(answer)
        if status == requests.codes.unauthorized:
            raise AuthenticationError(
                f"GitHub refuses the token ({said})",
                hint=f"Set GITHUB_TOKEN_FILE or GITHUB_TOKEN. {_PERMISSION_HINT}",
                **facts,
            )
        if (wait := self._limit_wait(answer)) is not None:
            raise RateLimitedError(
                f"GitHub's rate limit is used up for {wait:.0f} s ({said})",
                retry_after_seconds=wait,
                hint=f"Repeat in {wait:.0f} s.",
                **facts,
            )
        if status == requests.codes.forbidden:
            raise AuthenticationError(
                f"GitHub does not permit {operation} ({said})",
                hint=_PERMISSION_HINT,
                **facts,
            )
        if status in {requests.codes.not_found, requests.codes.gone}:
            raise NotFoundError(
                f"GitHub finds nothing for {operation} ({said})",
                hint="Check the repository's name and that the token may see it. "
                + _PERMISSION_HINT,
                **facts,
            )
        if status >= 500:
            raise UnavailableError(
                f"GitHub failed at {operation} with status {status} ({said})",
                hint="Repeat later; https://www.githubstatus.com tells about outages.",
                **facts,
            )
        if status < 400:
            said = f"redirected to {answer.headers.get('location', 'nowhere')}"
        raise RejectedError(f"GitHub refuses {operation} ({said})", **facts)

    def _limit_wait(self, answer: requests.Response) -> float | None:
        """Return how long to wait for a rate limit; None where it is not one."""
        if answer.status_code not in {
            requests.codes.forbidden,
            requests.codes.too_many_requests,
        }:
            return None
        headers = answer.headers
        if (after := _number(headers.get("retry-after"))) is not None:
            return max(after, 0.0)
        reset = _number(headers.get("x-ratelimit-reset"))
        if headers.get("x-ratelimit-remaining") == "0" and reset is not None:
            return max(reset - self._now(), 1.0)
        if answer.status_code == requests.codes.too_many_requests:
            return _UNNAMED_WAIT_SECONDS
        return None


def open_github(settings: GitHubSettings) -> GitHub:
    """Return the GitHub that the settings describe.

    Raises:
        ConfigError: There is no token, or the address would send it in the clear.
    """
    if settings.token is None:
        raise ConfigError(
            "there is no GitHub token",
            setting="token",
            source="GITHUB_TOKEN",
            hint=f"Set GITHUB_TOKEN_FILE or GITHUB_TOKEN. {_PERMISSION_HINT}",
        )
    return GitHub(
        api_url=settings.api_url,
        token=settings.token,
        timeout_seconds=settings.timeout_seconds,
        rate_limit_wait_seconds=settings.rate_limit_wait_seconds,
    )


def check_url(url: str, *, what: str) -> None:
    """Refuse an address that is not https, unless it is on this machine.

    Raises:
        ConfigError: It is another.
    """
    parts = urlsplit(url)
    if parts.hostname and parts.scheme == "https":
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise ConfigError(
        f"{what} is {url!r}, which is no https address",
        setting="api_url",
        source=what,
        hint="Plain http is allowed on this machine only: a token would be readable.",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _decode(answer: requests.Response, kind: type[Wire], operation: str) -> Wire:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(
            f"GitHub's answer to {operation} is not as documented: {error}",
            service=SERVICE,
            operation=operation,
            http_status=answer.status_code,
            request_id=answer.headers.get("x-github-request-id", ""),
            hint="Check GITHUB_API_URL; GitHub Enterprise needs https://HOST/api/v3.",
        ) from error


def _record(runner: _Runner) -> RunnerRecord:
    return RunnerRecord(
        runner_id=runner.id,
        name=runner.name,
        is_online=runner.status == "online",
        is_busy=runner.busy,
        labels=tuple(label.name for label in runner.labels),
    )


def _registration_error(error: RejectedError, spec: RunnerSpec) -> RegistrationError:
    if error.http_status == requests.codes.conflict:
        return RegistrationError(
            f"{spec.scope} already has a runner named {spec.name}",
            runner_name=spec.name,
            hint="Leave --name out to get a fresh name, or remove that runner first.",
        )
    return RegistrationError(
        f"{spec.scope} takes no runner named {spec.name}: {error.message}",
        runner_name=spec.name,
        hint="Check the labels and the runner group.",
    )


def _message(answer: requests.Response) -> str:
    """Return GitHub's own words in one line, or the status where it has none."""
    try:
        # a body that streams may be large: only GitHub's JSON errors are read
        if "json" not in answer.headers.get("content-type", ""):
            raise msgspec.DecodeError
        said = msgspec.json.decode(answer.content, type=_Problem).message
    except (msgspec.MsgspecError, requests.RequestException):
        said = ""
    return " ".join(said.split())[:300] or f"status {answer.status_code}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _transport_error(
    error: requests.RequestException, operation: str, address: str
) -> TransportError:
    host = urlsplit(address).netloc
    reason = "timed out" if isinstance(error, requests.Timeout) else "cannot be reached"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        reason = "broke off in the middle of its answer"
    return TransportError(
        f"GitHub at {host} {reason} ({operation})",
        service=SERVICE,
        operation=operation,
        hint="Check the network and GITHUB_API_URL, and repeat.",
    )
