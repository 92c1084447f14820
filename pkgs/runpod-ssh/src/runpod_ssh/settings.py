"""The settings of this package, section `[ssh]`; those of RunPod are in `[client]`."""

from dataclasses import dataclass

from runpod_client import Secret
from runpod_client.config import setting


@dataclass(frozen=True, kw_only=True)
class SSHSettings:
    """How connections to pods are made."""

    connect_timeout_seconds: float = setting(
        "Time limit of connecting to a pod, all phases together",
        env="RUNPOD_SSH_CONNECT_TIMEOUT",
        default=30.0,
        unit="s",
        flag="--connect-timeout",
    )
    user: str = setting(
        "Login name on pods", env="RUNPOD_SSH_USER", default="root", flag="--user"
    )
    jump: str = setting(
        "Hosts to go through to pods, as ssh -J takes them: [user@]host[:port],...",
        env="RUNPOD_SSH_JUMP",
        default="",
        flag="--jump",
    )
    ssh_config: str = setting(
        "OpenSSH client configuration to honour; none for none",
        env="RUNPOD_SSH_CONFIG",
        default="~/.ssh/config",
    )
    proxy: str = setting(
        "RunPod's SSH proxy, host or host:port: shells of pods without a port of theirs",
        env="RUNPOD_SSH_PROXY",
        default="ssh.runpod.io",
    )
    background: bool = setting(
        "Keep connections in a background process, so that the next command is quick",
        env="RUNPOD_SSH_BACKGROUND",
        default=True,
    )
    background_idle_seconds: float = setting(
        "The background process ends when it had nothing to do for this long",
        env="RUNPOD_SSH_BACKGROUND_IDLE",
        default=600.0,
        unit="s",
    )
    parallel: int = setting(
        "Pods a command runs on at the same time",
        env="RUNPOD_SSH_PARALLEL",
        default=32,
        flag="--parallel",
    )
    pkcs11_provider: str = setting(
        "Library of a PKCS#11 token whose keys are offered at login",
        env="RUNPOD_SSH_PKCS11_PROVIDER",
        default="",
    )
    pkcs11_pin: Secret | None = setting(
        "PIN of that token", env="RUNPOD_SSH_PKCS11_PIN", default=None
    )
