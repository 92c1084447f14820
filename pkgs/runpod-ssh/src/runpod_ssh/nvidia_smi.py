"""What nvidia-smi writes, parsed into GPUs, their slices and processes. Pure.

A field it cannot tell stands in brackets, `[N/A]` or `[Insufficient Permissions]`;
such a field is None. Its errors come on stdout, where rows were wanted. The output is
not promised to stay as it is between drivers: what does not fit is told, not guessed.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runpod_ssh.probe_records import GPU, GPUProcess, GPUSlice, ProbeProblem

# its exit statuses, from the manual page
_STATUSES = {
    2: "the driver does not know a field that was asked for",
    4: "this user may not ask the driver",
    6: "no GPU was found",
    8: "a GPU has no power",
    9: "the NVIDIA driver is not loaded",
    10: "the driver has trouble with an interrupt of a GPU",
    12: "the driver's library is not in the container",
    14: "the GPU's memory of facts is damaged",
    15: "a GPU fell off the bus",
    126: "nvidia-smi cannot be run",
    127: "nvidia-smi cannot be run",
}
_TROUBLE = {
    "gpu is lost": "the GPU is lost; only a restart of the machine brings it back",
    "unknown error": "the driver answers: Unknown Error",
    "err!": "the driver answers: ERR!",
    "gpu requires reset": "the GPU needs a reset",
}
_DEVICES_GONE = "Failed to initialize NVML: Unknown Error"
_LOST_HANDLE = re.compile(
    r"Unable to determine the device handle for (?:the )?GPU\s*"
    r"(?P<bus>[0-9A-Fa-f]+:[0-9A-Fa-f:.]+[0-9A-Fa-f]):\s*(?P<why>[^.]*)"
)
_LISTED_GPU = re.compile(r"GPU \d+: .*\(UUID: (?P<uuid>[^)]+)\)\s*")
_LISTED_SLICE = re.compile(
    r"\s+MIG (?P<profile>\S+)\s+Device\s+(?P<index>\d{1,4}): \(UUID: (?P<uuid>[^)]+)\)\s*"
)
_TAG = re.compile(r"\s*<(?P<close>/?)(?P<name>\w+)[^>]*>(?:(?P<text>[^<]*)</\w+>)?\s*")


@dataclass(kw_only=True)
class Section:
    """What one program of the probe wrote.

    Attributes:
        words: What it was asked.
        status: How it ended; None when that was not told.
    """

    kind: str
    words: str
    lines: list[str] = field(default_factory=list)
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What came out; None where the driver could not be asked."""

    gpus: tuple[GPU, ...] | None
    processes: tuple[GPUProcess, ...] | None
    problems: tuple[ProbeProblem, ...]


def parse(
    sections: Sequence[Section],
    *,
    has_tool: bool,
    device_count: int,
    late_parts: Mapping[str, str],
    is_skipped: bool = False,
) -> Findings:
    """Return what the sections tell.

    Args:
        device_count: How many GPU devices the pod shows.
        late_parts: What did not answer within how many seconds.
        is_skipped: nvidia-smi was not to be asked.
    """
    if is_skipped:
        problem = ProbeProblem(part="gpus", reason="nvidia-smi was not asked")
        return Findings(gpus=None, processes=None, problems=(problem,))
    if not has_tool:
        return _without_tool(device_count)
    queries = [section for section in sections if section.kind == "gpus"]
    found, reasons = _parse_gpus(queries)
    slices = _parse_slices([s for s in sections if s.kind == "slices"])
    gpus = tuple(
        dataclasses.replace(gpu, slices=tuple(slices.get(gpu.uuid or "", ())))
        for gpu in found
    )
    problems = [ProbeProblem(part="gpus", reason=reason) for reason in reasons]
    if "gpus" in late_parts:
        problems.append(_late("gpus", late_parts["gpus"]))
    processes, failure = _parse_processes(sections, late_parts.get("gpu_processes"))
    # one reason is enough where both questions met the same wall
    if failure is not None and (gpus or not problems):
        problems.append(failure)
    is_known = bool(gpus) or any(q.status in {0, 6} for q in queries)
    return Findings(
        gpus=gpus if is_known else None, processes=processes, problems=tuple(problems)
    )


def _without_tool(device_count: int) -> Findings:
    if not device_count:
        return Findings(gpus=(), processes=(), problems=())
    reason = (
        f"the pod shows {device_count} GPU device{'s' * (device_count > 1)} and has no "
        "nvidia-smi: its image or the driver's mount is broken"
    )
    problem = ProbeProblem(part="gpus", reason=reason)
    return Findings(gpus=None, processes=None, problems=(problem,))


def _late(part: str, seconds: str) -> ProbeProblem:
    reason = f"nvidia-smi did not answer within {seconds} s: the driver may hang"
    return ProbeProblem(part=part, reason=reason, is_timeout=True)


def _parse_gpus(queries: Iterable[Section]) -> tuple[list[GPU], list[str]]:
    """Return the GPUs, each once, and what went wrong with the questions."""
    found: dict[str, GPU] = {}
    reasons: dict[str, str] = {}
    for query in queries:
        names = query.words.split(",")
        said = []
        for line in filter(str.strip, query.lines):
            fields = line.split(", ")
            if len(fields) == len(names) and re.fullmatch(
                r"\d{1,4}", fields[0].strip()
            ):
                gpu = _parse_gpu(dict(zip(names, map(str.strip, fields), strict=True)))
                found[_key(gpu.bus_id) or gpu.uuid or str(gpu.index)] = gpu
            else:
                said.append(line.strip())
        lost = _find_lost(said)
        for gpu in lost:
            found.setdefault(_key(gpu.bus_id), gpu)
        # without a status it was given up on, which is told elsewhere
        if not lost and query.status is not None and (said or query.status):
            reasons[query.words] = _explain(said, query.status)
    # the short list of fields was asked because the long one failed
    if len(reasons) > 1 or found:
        reasons = {k: r for k, r in reasons.items() if r != _STATUSES[2]}
    ordered = sorted(found.values(), key=lambda g: (g.index is None, g.index or 0))
    return ordered, list(dict.fromkeys(reasons.values()))


def _parse_gpu(row: Mapping[str, str]) -> GPU:
    troubles = (_TROUBLE.get(text.strip("[] ").lower()) for text in row.values())
    return GPU(
        index=_whole(row.get("index")),
        uuid=_text(row.get("uuid")),
        bus_id=_text(row.get("pci.bus_id")),
        name=_text(row.get("name")),
        driver_version=_text(row.get("driver_version")),
        utilization_percent=_number(row.get("utilization.gpu")),
        memory_utilization_percent=_number(row.get("utilization.memory")),
        memory_used_mib=_whole(row.get("memory.used")),
        memory_total_mib=_whole(row.get("memory.total")),
        temperature_celsius=_number(row.get("temperature.gpu")),
        power_draw_watts=_number(row.get("power.draw")),
        power_limit_watts=_number(row.get("power.limit")),
        is_mig_enabled=_switch(row.get("mig.mode.current")),
        problem=next(filter(None, troubles), ""),
    )


def _find_lost(said: Iterable[str]) -> list[GPU]:
    """Return the GPUs that nvidia-smi says it cannot reach."""
    matches = filter(None, map(_LOST_HANDLE.search, said))
    return [
        _unreachable(
            match["bus"],
            _TROUBLE.get(match["why"].strip().lower(), match["why"].strip())
            or "the driver cannot reach it",
        )
        for match in matches
    ]


def _unreachable(bus_id: str, problem: str) -> GPU:
    return GPU(
        index=None,
        uuid=None,
        bus_id=bus_id,
        name=None,
        driver_version=None,
        utilization_percent=None,
        memory_utilization_percent=None,
        memory_used_mib=None,
        memory_total_mib=None,
        temperature_celsius=None,
        power_draw_watts=None,
        power_limit_watts=None,
        is_mig_enabled=None,
        problem=problem,
    )


def _explain(said: Sequence[str], status: int | None) -> str:
    """Return why a query gave no rows, in nvidia-smi's words and the manual's."""
    known = _STATUSES.get(status or 0, "")
    if status == 2:
        return known
    words = said[0].rstrip(".")[:200] if said else ""
    if status == 0:
        return f"a line of nvidia-smi could not be read: {words}"
    if words == _DEVICES_GONE:
        return f"{words}; a restart of the pod helps when its container lost the device"
    if words and known:
        return f"{known}: {words}"
    return words or known or f"nvidia-smi failed with status {status}"


def _parse_slices(sections: Iterable[Section]) -> dict[str, list[GPUSlice]]:
    """Return the slices by their GPU's UUID: names from -L, memory from -q -x."""
    lines = [line for section in sections for line in section.lines]
    memory = _parse_slice_memory(lines)
    found: dict[str, list[GPUSlice]] = {}
    gpu = ""
    for line in lines:
        if listed := _LISTED_GPU.fullmatch(line):
            gpu = listed["uuid"]
        elif match := _LISTED_SLICE.fullmatch(line):
            index = int(match["index"])
            used, total = memory.pop((gpu, index), (None, None))
            found.setdefault(gpu, []).append(
                GPUSlice(
                    index=index,
                    uuid=match["uuid"],
                    profile=match["profile"],
                    memory_used_mib=used,
                    memory_total_mib=total,
                )
            )
    for (uuid, index), (used, total) in memory.items():
        found.setdefault(uuid, []).append(
            GPUSlice(
                index=index,
                uuid=None,
                profile=None,
                memory_used_mib=used,
                memory_total_mib=total,
            )
        )
    return found


def _parse_slice_memory(
    lines: Iterable[str],
) -> dict[tuple[str, int], tuple[int | None, int | None]]:
    """Return used and total MiB by GPU and index, from lines of -q -x."""
    found: dict[tuple[str, int], tuple[int | None, int | None]] = {}
    gpu, index, path = "", None, list[str]()
    for tag in filter(None, map(_TAG.fullmatch, lines)):
        name, text = tag["name"], tag["text"]
        if tag["close"]:
            path = path[: path.index(name)] if name in path else path
        elif text is None:
            if name == "gpu":
                gpu, path = "", []
            if name == "mig_device":
                index = None
            path.append(name)
        elif name == "uuid" and "mig_device" not in path:
            gpu = gpu or text.strip()
        elif name == "index" and path[-1:] == ["mig_device"]:
            index = _whole(text)
        elif path[-1:] == ["fb_memory_usage"] and gpu and index is not None:
            used, total = found.get((gpu, index), (None, None))
            if name == "used":
                found[gpu, index] = (_whole(text), total)
            elif name == "total":
                found[gpu, index] = (used, _whole(text))
    return found


def _parse_processes(
    sections: Iterable[Section], late: str | None
) -> tuple[tuple[GPUProcess, ...] | None, ProbeProblem | None]:
    part = "gpu_processes"
    if late is not None:
        return None, _late(part, late)
    section = next((s for s in sections if s.kind == "gpu_processes"), None)
    if section is None:
        reason = "nvidia-smi was not asked for processes"
        return None, ProbeProblem(part=part, reason=reason)
    found, said = [], []
    for line in filter(str.strip, section.lines):
        # a program's name may hold the separator; what stands around it may not
        first, *rest = line.strip().split(", ")
        if len(rest) >= 3 and first.startswith(("GPU-", "MIG-", "[")):
            found.append(
                GPUProcess(
                    gpu_uuid=_text(first),
                    pid=_whole(rest[0]),
                    name=_text(", ".join(rest[1:-1])),
                    memory_used_mib=_whole(rest[-1]),
                )
            )
        else:
            said.append(line.strip())
    if section.status == 0 and not said:
        return tuple(found), None
    problem = ProbeProblem(part=part, reason=_explain(said, section.status))
    return tuple(found) if section.status == 0 and found else None, problem


def _key(bus_id: str | None) -> str:
    """Return a bus id in one spelling: its domain has four or eight digits."""
    domain, _, rest = (bus_id or "").lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def _text(text: str | None) -> str | None:
    """Return a text; None for one in brackets or another way to say nothing."""
    stripped = (text or "").strip()
    if not stripped or stripped.startswith("[") or stripped.upper() in {"N/A", "ERR!"}:
        return None
    return stripped


def _number(text: str | None) -> float | None:
    match = re.fullmatch(
        r"(\d{1,15}(?:\.\d{1,15})?)(?: (?:%|MiB|W|C))?", (text or "").strip()
    )
    value = float(match[1]) if match else None
    return value if value is not None and math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None else int(value)


def _switch(text: str | None) -> bool | None:
    return {"enabled": True, "disabled": False}.get((text or "").strip().lower())
