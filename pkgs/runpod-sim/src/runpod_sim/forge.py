"""The pure state of a GitHub Enterprise Server as far as runners need it.

Who may register, which runner is online, how a registration ends. What happens to jobs
is in `forge_jobs`, which this class builds on. It must not know HTTP, processes or the
wall clock: time comes from the injected clock and randomness from the seed, so that a
test may look at any rule as data.

Rules that GitHub documents, and the figures they work with:

- registration and remove tokens are good for an hour, for any number of runners;
- a JIT config registers a one-job runner at once and is good for one listener;
- an offline runner is dropped after 14 days, a one-job runner after one;
- a runner that runs a job cannot be deleted;
- a one-job runner is dropped shortly *after* its job ended, so its name lingers.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runpod_sim.clock import Clock
from runpod_sim.forge_jobs import JobBoard
from runpod_sim.forge_model import (
    Deprecation,
    InstallationToken,
    Label,
    Purpose,
    RefusedError,
    Runner,
    RunnerGroup,
    RunnerToken,
    Scope,
    ScopeKind,
    Session,
)

TOKEN_LIFE = timedelta(hours=1)
OFFLINE_DROP_AFTER = timedelta(days=14)
EPHEMERAL_DROP_AFTER = timedelta(days=1)
MAX_LABELS = 100
MAX_LABEL_LENGTH = 256
READ_ONLY_LABELS = frozenset({"self-hosted", "linux", "x64", "arm64", "arm"})


class Forge(JobBoard):
    """Hold scopes, runners and tokens, and decide what each call does to them.

    Args:
        base_url: The server's root, without a slash at its end. It may be set later,
            when the server has found its port.
    """

    def __init__(self, clock: Clock, *, seed: int, base_url: str) -> None:
        super().__init__(clock)
        self.base_url = base_url
        self.seed = seed
        self._random = random.Random(seed)  # noqa: S311  (made-up names, not secrets)
        self._tokens: dict[str, RunnerToken] = {}
        self._installation_tokens: dict[str, InstallationToken] = {}
        self._access: dict[str, tuple[int, datetime]] = {}
        self._deprecations: dict[str, Deprecation] = {}

    # Tokens

    def create_runner_token(self, scope: Scope, purpose: Purpose) -> RunnerToken:
        """Mint a token that lets a machine register, or remove, runners of `scope`."""
        token = RunnerToken(
            self._made_up(29).upper(), scope, purpose, self.clock.now() + TOKEN_LIFE
        )
        self._tokens[token.token] = token
        return token

    def get_runner_token(self, token: str) -> RunnerToken:
        """Return the token's record.

        Raises:
            RefusedError: 404: GitHub says no more about a token it does not accept.
        """
        found = self._tokens.get(token)
        if found is None or found.expires_at <= self.clock.now():
            raise RefusedError(404, "Not Found")
        return found

    def create_installation_token(
        self,
        permissions: dict[str, str],
        repositories: Sequence[str],
        *,
        account: str = "",
    ) -> InstallationToken:
        """Mint a GitHub App's token, narrowed to what was asked for."""
        token = InstallationToken(
            f"ghs_{self._made_up(36)}",
            tuple(sorted(permissions.items())),
            tuple(repositories),
            self.clock.now() + TOKEN_LIFE,
            account,
        )
        self._installation_tokens[token.token] = token
        return token

    def find_installation_token(self, token: str) -> InstallationToken | None:
        """Return the record of a token minted here."""
        return self._installation_tokens.get(token)

    # Registrations

    def create_jit_runner(
        self, scope: Scope, name: str, *, group_id: int, labels: Sequence[str]
    ) -> Runner:
        """Register a one-job runner before its machine runs.

        Raises:
            RefusedError: 404 for an unknown group, 409 for a name that is taken, 422
                for labels GitHub does not accept.
        """
        self.sweep()
        self._require_labels(labels)
        if self.find_runner(scope, name) is not None:
            raise RefusedError(409, f"Already exists - A runner with the name {name}")
        group = self.get_group(scope, group_id)
        return self._add_runner(
            scope,
            name,
            group,
            # A JIT runner has the labels it was given and no others.
            self._labels(labels),
            key=self._made_up(64),
            is_ephemeral=True,
            is_jit=True,
        )

    def register_runner(
        self,
        token: str,
        name: str,
        *,
        group_id: int,
        labels: Sequence[str],
        key: str,
        version: str,
        is_ephemeral: bool,
        replaced_id: int | None = None,
    ) -> Runner:
        """Register the runner that `config.sh` is setting up.

        Raises:
            RefusedError: 404 for the token or group, 403 for a version too old, 409
                for a name that is taken by another runner than `replaced_id`.
        """
        self.sweep()
        scope = self._scope_of(token, Purpose.REGISTER)
        self._require_version(version, registering=True)
        self._require_labels(labels)
        group = self.get_group(scope, group_id)
        existing = self.find_runner(scope, name)
        if existing is not None and existing.id != replaced_id:
            raise RefusedError(409, f"Already exists - A runner with the name {name}")
        if existing is not None:
            self._drop(existing)
        runner = self._add_runner(
            scope,
            name,
            group,
            self._labels(labels),
            key=key,
            is_ephemeral=is_ephemeral,
            is_jit=False,
        )
        return self._keep(replace(runner, version=version, os="Linux"))

    def list_runners(self, scope: Scope, *, name: str | None = None) -> list[Runner]:
        """Return the scope's own runners in the order they were registered."""
        self.sweep()
        return [
            runner
            for runner in self.runners.values()
            if runner.scope == scope and name in {None, runner.name}
        ]

    def find_runner(self, scope: Scope, name: str) -> Runner | None:
        """Return the scope's runner of that name."""
        return next(iter(self.list_runners(scope, name=name)), None)

    def get_runner(self, scope: Scope, runner_id: int) -> Runner:
        """Return the scope's runner of that id.

        Raises:
            RefusedError: 404: it is not there, or no longer.
        """
        self.sweep()
        runner = self.runners.get(runner_id)
        if runner is None or runner.scope != scope:
            raise RefusedError(404, "Not Found")
        return runner

    def delete_runner(self, scope: Scope, runner_id: int) -> None:
        """Take the registration away; its listener learns it at its next call.

        Raises:
            RefusedError: 404 when it is gone, 422 while it runs a job.
        """
        runner = self.get_runner(scope, runner_id)
        if runner.job_id is not None:
            raise RefusedError(
                422,
                f"Bad request - Runner {runner.name!r} is still running a job",
            )
        self._drop(runner)

    def delete_own_runner(self, token: str, runner_id: int) -> None:
        """Take a registration away for a machine that holds a remove token.

        Raises:
            RefusedError: 404 for the token or runner, 422 while it runs a job.
        """
        self.delete_runner(self._scope_of(token, Purpose.REMOVE), runner_id)

    def set_labels(
        self, scope: Scope, runner_id: int, names: Sequence[str], *, keep: bool
    ) -> Runner:
        """Set a runner's custom labels; with `keep`, add to those it has.

        Raises:
            RefusedError: 404 for the runner, 422 for the labels.
        """
        runner = self.get_runner(scope, runner_id)
        if names or keep:
            self._require_labels(names)
        kept = tuple(label for label in runner.labels if keep or label.is_read_only)
        known = {label.name.casefold() for label in kept}
        fresh = [name for name in names if name.casefold() not in known]
        return self._keep(replace(runner, labels=kept + self._labels(fresh)))

    def delete_label(self, scope: Scope, runner_id: int, name: str) -> Runner:
        """Take one custom label from a runner.

        Raises:
            RefusedError: 404 for the runner or label, 422 for a read-only label.
        """
        runner = self.get_runner(scope, runner_id)
        wanted = name.casefold()
        label = next((x for x in runner.labels if x.name.casefold() == wanted), None)
        if label is None:
            raise RefusedError(404, "Not Found")
        if label.is_read_only:
            raise RefusedError(422, f"The label {label.name!r} is read-only")
        kept = tuple(x for x in runner.labels if x is not label)
        return self._keep(replace(runner, labels=kept))

    # Credentials, sessions

    def find_client(self, client_id: str) -> Runner | None:
        """Return the runner whose credentials carry `client_id`."""
        self.sweep()
        wanted = client_id
        runners = self.runners.values()
        return next((x for x in runners if x.client_id == wanted), None)

    def create_access_token(self, runner: Runner) -> str:
        """Mint the token a listener speaks to the broker with."""
        token = self._made_up(40)
        self._access[token] = (runner.id, self.clock.now() + TOKEN_LIFE)
        return token

    def get_authorized_runner(self, access_token: str) -> Runner:
        """Return the runner that `access_token` speaks for.

        Raises:
            RefusedError: 401 for the token, 404 when the registration is gone.
        """
        self.sweep()
        runner_id, expires_at = self._access.get(access_token, (0, self.clock.now()))
        if expires_at <= self.clock.now():
            raise RefusedError(401, "The access token is not valid")
        runner = self.runners.get(runner_id)
        if runner is None:
            raise RefusedError(404, "Runner not found", kind="RunnerNotFound")
        return runner

    def create_session(
        self, runner: Runner, owner: str, *, version: str, os: str, architecture: str
    ) -> Session:
        """Let a listener take hold of its runner.

        Raises:
            RefusedError: 409 while another listener holds it, 403 for a version that
                is no longer served, 404 for a one-job runner that is used up.
        """
        self._require_version(version, registering=False)
        if self.find_session(runner) is not None:
            raise RefusedError(
                409, "A session already exists", kind="TaskAgentSessionConflict"
            )
        if runner.is_spent:
            raise RefusedError(404, "Runner not found", kind="RunnerNotFound")
        now = self.clock.now()
        session = Session(self._made_up(32), runner.id, owner, now)
        self.sessions[session.id] = session
        self._keep(
            replace(
                self.runners[runner.id],
                version=version,
                os=os,
                architecture=architecture,
                last_seen_at=now,
            )
        )
        return session

    def delete_session(self, runner: Runner, session_id: str) -> None:
        """Let a listener go; a JIT config is thereby used up."""
        session = self.sessions.get(session_id)
        if session is None or session.runner_id != runner.id:
            return
        del self.sessions[session_id]
        # GitHub says a JIT config works once; when exactly it is spent is not
        # documented. Here: as soon as the listener that used it says good-bye.
        current = self.runners[runner.id]
        self._keep(replace(current, is_spent=current.is_spent or current.is_jit))

    # Groups

    def list_groups(self, scope: Scope) -> list[RunnerGroup]:
        """Return the scope's groups, of which the default one is always there."""
        own = [group for group in self.groups.values() if group.scope == scope]
        return own or [self._add_default_group(scope)]

    def get_group(self, scope: Scope, group_id: int) -> RunnerGroup:
        """Return the scope's group of that id; 1 stands for the default one.

        Raises:
            RefusedError: 404: the scope has no such group.
        """
        for group in self.list_groups(scope):
            if group.id == group_id or (group_id == 1 and group.is_default):
                return group
        raise RefusedError(404, f"Could not find runner group with id {group_id}")

    def create_group(self, group: RunnerGroup) -> RunnerGroup:
        """Add a group; its id is given here.

        Raises:
            RefusedError: 409 for a name that is taken.
        """
        if any(x.name == group.name for x in self.list_groups(group.scope)):
            raise RefusedError(409, f"A runner group named {group.name!r} exists")
        return self.put_group(replace(group, id=self._next_id("group", 2)))

    def put_group(self, group: RunnerGroup) -> RunnerGroup:
        """Put a changed group in its place."""
        self.groups[group.id] = group
        return group

    def delete_group(self, scope: Scope, group_id: int) -> None:
        """Remove a group; its runners fall back to the default one.

        Raises:
            RefusedError: 404 for the group, 422 for the default one.
        """
        group = self.get_group(scope, group_id)
        if group.is_default:
            raise RefusedError(422, "The default runner group cannot be deleted")
        del self.groups[group.id]
        default = self.get_group(scope, 1)
        for runner in [x for x in self.runners.values() if x.group_id == group.id]:
            self._keep(replace(runner, group_id=default.id))

    def move_runner(self, scope: Scope, runner_id: int, group_id: int) -> None:
        """Put a runner into a group.

        Raises:
            RefusedError: 404 for either.
        """
        group = self.get_group(scope, group_id)
        runner = self.get_runner(scope, runner_id)
        self._keep(replace(runner, group_id=group.id))

    # Versions

    def set_deprecation(self, deprecation: Deprecation) -> None:
        """Announce the end of a runner version."""
        self._deprecations[deprecation.version] = deprecation

    def get_deprecation(self, version: str) -> Deprecation:
        """Return the version's schedule, which is empty unless one was announced."""
        return self._deprecations.get(version, Deprecation(version))

    # Rules that work by themselves

    def sweep(self) -> None:
        """Carry out what the passing of time has made due."""
        now = self.clock.now()
        self._sweep_jobs(now)
        self._sweep_sessions(now)
        held = {session.runner_id for session in self.sessions.values()}
        for runner in list(self.runners.values()):
            if runner.remove_at is not None:
                if runner.remove_at <= now:
                    self._drop(runner)
                continue
            if runner.job_id is not None or runner.id in held:
                continue
            one_job = runner.is_ephemeral
            patience = EPHEMERAL_DROP_AFTER if one_job else OFFLINE_DROP_AFTER
            if now - (runner.last_seen_at or runner.created_at) >= patience:
                self._drop(runner)

    def _drop(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)
        for session in list(self.sessions.values()):
            if session.runner_id == runner.id:
                del self.sessions[session.id]

    def _add_runner(
        self,
        scope: Scope,
        name: str,
        group: RunnerGroup,
        labels: tuple[Label, ...],
        *,
        key: str,
        is_ephemeral: bool,
        is_jit: bool,
    ) -> Runner:
        if not name or len(name) > 64:
            raise RefusedError(422, "The runner's name must have 1 to 64 characters")
        return self._keep(
            Runner(
                id=self._next_id("runner", 1),
                name=name,
                scope=scope,
                group_id=group.id,
                labels=labels,
                client_id=self._made_up(32),
                key=key,
                created_at=self.clock.now(),
                is_ephemeral=is_ephemeral,
                is_jit=is_jit,
            )
        )

    def _add_default_group(self, scope: Scope) -> RunnerGroup:
        return self.put_group(
            RunnerGroup(
                # Repositories all have group 1, which no API shows.
                1 if scope.kind is ScopeKind.REPOSITORY else self._next_id("group", 2),
                scope,
                "Default",
                is_default=True,
                allows_public_repositories=True,
            )
        )

    def _scope_of(self, token: str, purpose: Purpose) -> Scope:
        record = self.get_runner_token(token)
        if record.purpose is not purpose:
            raise RefusedError(404, "Not Found")
        return record.scope

    def _require_version(self, version: str, *, registering: bool) -> None:
        schedule = self.get_deprecation(version)
        end_at = schedule.runtime_deprecates_at
        if registering:
            end_at = schedule.registration_deprecates_at or end_at
        if end_at is not None and end_at <= self.clock.now():
            raise RefusedError(
                403,
                f"Runner version v{version} is deprecated and cannot receive messages.",
                kind="RunnerVersionTooOld",
            )

    @staticmethod
    def _require_labels(names: Sequence[str]) -> None:
        if not 1 <= len(names) <= MAX_LABELS:
            raise RefusedError(422, f"A runner takes 1 to {MAX_LABELS} labels")
        for name in names:
            if not name.strip() or len(name) > MAX_LABEL_LENGTH:
                raise RefusedError(422, f"The label {name[:40]!r} is not valid")

    def _labels(self, names: Sequence[str]) -> tuple[Label, ...]:
        unique = {name.casefold(): name for name in reversed(names)}
        return tuple(
            Label(self._next_id("label", 1), name, name.casefold() in READ_ONLY_LABELS)
            for name in reversed(unique.values())
        )

    def _made_up(self, length: int) -> str:
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
        return "".join(self._random.choices(alphabet, k=length))
