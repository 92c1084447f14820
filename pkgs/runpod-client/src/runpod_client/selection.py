"""Which pod or GPU type a person means; pure, over listings made by others."""

from collections.abc import Iterable, Sequence

from runpod_client.errors import AmbiguousPodError, NotFoundError, RejectedError
from runpod_client.model import GPUOffer, Pod, PodStatus
from runpod_client.nearest import find_nearest


def select_pod(pods: Sequence[Pod], selector: str) -> Pod:
    """Return the pod of that id or, failing that, of that name.

    Raises:
        AmbiguousPodError: Several live pods have that name.
        NotFoundError: None fits.
    """
    for pod in pods:
        if pod.pod_id == selector:
            return pod
    live = [pod for pod in pods if pod.status is not PodStatus.TERMINATED]
    named = [pod for pod in live if pod.name == selector]
    if len(named) > 1:
        raise AmbiguousPodError(selector, tuple(pod.pod_id for pod in named))
    if named:
        return named[0]
    known = [pod.name for pod in live] + [pod.pod_id for pod in live]
    raise no_such_pod(selector, find_nearest(selector, known))


def select_gpu_types(known: Iterable[GPUOffer], wanted: Iterable[str]) -> list[str]:
    """Return the ids of the GPU types named by id or display name, capitals aside.

    Raises:
        NotFoundError: There is no such type. Asking for it would look like a lack of
            capacity for ever.
    """
    by_name: dict[str, GPUOffer] = {}
    for offer in known:
        by_name[offer.gpu_type.casefold()] = offer
        by_name.setdefault(offer.display_name.casefold(), offer)
    selected = []
    for name in wanted:
        found = by_name.get(name.casefold())
        if found is None:
            near = find_nearest(name, by_name)
            meant = by_name[near].display_name if near else None
            raise NotFoundError(
                f"RunPod has no GPU type {name!r}",
                operation="listGpuTypes",
                hint=f"{_render_near(meant)}See `runpod-client gpus list`.",
            )
        selected.append(found.gpu_type)
    return list(dict.fromkeys(selected))


def check_name_is_free(name: str, pods: Iterable[Pod]) -> None:
    """Do nothing if no live pod has that name, since POD may be a name everywhere.

    Raises:
        RejectedError: One has.
    """
    for pod in pods:
        if pod.name == name and pod.status is not PodStatus.TERMINATED:
            raise RejectedError(
                f"there is already a pod named {name!r}: {pod.pod_id}, "
                f"{pod.status.lower()}",
                operation="createPod",
                hint="Use that one, choose another name, or say "
                "--allow-duplicate-name.",
            )


def no_such_pod(selector: str, near: str | None = None) -> NotFoundError:
    """Return the error for a pod that is not there."""
    return NotFoundError(
        f"there is no pod {selector!r}",
        operation="findPod",
        hint=f"{_render_near(near)}List your pods: runpod-client pods list",
    )


def _render_near(name: str | None) -> str:
    return f"Did you mean {name!r}? " if name else ""
