"""The settings of this package, section `[ssh]`; those of RunPod are in `[client]`."""

from dataclasses import dataclass

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
