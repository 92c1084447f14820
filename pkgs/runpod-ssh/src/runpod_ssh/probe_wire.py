"""The answer of `assets/probe.sh`, parsed into a `Probe`. Pure.

    #probe 1
    uptime:23687.44 27302.05        a line of a file, with the file's name
    #cgroup 2                       which cgroup files follow: 1, 2 or none
    #disk /workspace                what df says of it follows
    #status disk 0                  how that program ended
    #late disks 3                   it did not end within so many seconds
    #skipped gpus                   it was not to be asked
    #end                            the answer is whole

What nvidia-smi writes is read in `nvidia_smi`. A figure that is not there, or is no
number, is None and never 0.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from runpod_ssh import nvidia_smi
from runpod_ssh.errors import ProbeError
from runpod_ssh.probe_records import (
    CPU,
    Disk,
    Load,
    Memory,
    NetworkInterface,
    Probe,
    ProbeProblem,
)

FORMAT = "1"
# cgroup v1 says "no limit" by the largest number of pages there is
_NO_LIMIT_BYTES = 2**60
# Linux counts start times in hundredths of a second on every machine that has GPUs
_TICKS_PER_SECOND = 100
_DF_ROW = re.compile(
    r"(?P<filesystem>\S.*?)\s+(?P<total>\d{1,20})\s+(?P<used>\d{1,20})"
    r"\s+(?P<available>-?\d{1,20})\s+(?:\d+%|-)\s+(?P<path>/.*)"
)
_INTERFACE = re.compile(r"\s*(?P<name>[^\s:]+):\s*(?P<figures>(?:\d{1,20}\s*)+)")


@dataclass(kw_only=True)
class _Answer:
    """The lines, sorted by where they come from."""

    files: dict[str, list[str]] = field(default_factory=dict)
    marks: dict[str, list[str]] = field(default_factory=dict)
    sections: list[nvidia_smi.Section] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Return the first line of a file, empty when there is none."""
        return next(iter(self.files.get(name, ())), "")

    def table(self, name: str) -> Mapping[str, str]:
        """Return a file of lines `key value` or `key: value`."""
        pairs = (line.split(None, 1) for line in self.files.get(name, ()))
        return {p[0].rstrip(":"): p[1].strip() for p in pairs if len(p) == 2}


def parse_probe(
    text: str, *, taken_at: datetime, elapsed_seconds: float = 0.0
) -> Probe:
    """Return what a pod answered.

    Raises:
        ProbeError: The answer is none of the probe's, or was cut short.
    """
    answer = _sort(_whole_lines(text))
    disks, disk_problems = _parse_disks(answer)
    cpu, memory = _parse_cpu(answer), _parse_memory(answer)
    network = _parse_network(answer)
    late = dict(words.partition(" ")[::2] for words in answer.marks.get("late", ()))
    gpus = nvidia_smi.parse(
        answer.sections,
        has_tool="missing" not in answer.marks,
        device_count=len(set(answer.marks.get("device", ()))),
        late_parts=late,
        is_skipped="gpus" in answer.marks.get("skipped", ()),
    )
    problems = [
        *_explain_basics(cpu, memory, network, answer),
        *disk_problems,
        *gpus.problems,
    ]
    machine_uptime = _number(answer.line("uptime"))
    return Probe(
        taken_at=taken_at,
        elapsed_seconds=elapsed_seconds,
        hostname=answer.line("sys/kernel/hostname").strip() or None,
        uptime_seconds=_parse_uptime(answer, machine_uptime),
        machine_uptime_seconds=machine_uptime,
        load=_parse_load(answer.line("loadavg")),
        cpu=cpu,
        memory=memory,
        process_count=_count(answer.line("pids.current")),
        process_limit=_count(answer.line("pids.max")),
        disks=disks,
        network=network,
        gpus=gpus.gpus,
        gpu_processes=gpus.processes,
        problems=tuple(dict.fromkeys(problems)),
    )


def _whole_lines(text: str) -> list[str]:
    """Return the lines between the first mark and the last, or raise."""
    lines = text.replace("\r\n", "\n").split("\n")
    starts = [n for n, line in enumerate(lines) if line.startswith("#probe ")]
    if not starts:
        raise ProbeError(
            "the pod did not answer with its figures",
            hint="What its login shell prints, or forbids, may stand in the way.",
        )
    version = lines[starts[0]].removeprefix("#probe ").strip()
    if version != FORMAT:
        raise ProbeError(f"the pod's figures have an unknown form: {version[:40]!r}")
    rest = lines[starts[0] + 1 :]
    if "#end" not in rest:
        raise ProbeError(
            "the pod's figures were cut short",
            hint="The connection or the pod broke off in the middle; try again.",
        )
    return rest[: rest.index("#end")]


def _sort(lines: Iterable[str]) -> _Answer:
    answer = _Answer()
    section: nvidia_smi.Section | None = None
    for line in lines:
        if not line.startswith("#"):
            if section is not None:
                section.lines.append(line)
            else:
                name, colon, rest = line.partition(":")
                if colon:
                    answer.files.setdefault(name, []).append(rest)
            continue
        word, _, words = line[1:].partition(" ")
        if word in {"disk", "gpus", "gpu_processes", "slices"}:
            section = nvidia_smi.Section(kind=word, words=words)
            answer.sections.append(section)
        elif word == "status":
            kind, _, status = words.partition(" ")
            if section is not None and section.kind == kind:
                section.status = _count(status)
            section = None
        else:
            answer.marks.setdefault(word, []).append(words)
            section = None
    return answer


def _parse_uptime(answer: _Answer, machine_uptime: float | None) -> float | None:
    # the name in the second field may hold spaces and brackets: count from its end
    fields = answer.line("1/stat").rpartition(")")[2].split()
    ticks = _count(fields[19]) if len(fields) > 19 else None
    if ticks is None or machine_uptime is None:
        return None
    return max(machine_uptime - ticks / _TICKS_PER_SECOND, 0.0)


def _parse_load(line: str) -> Load | None:
    averages = [_number(word) for word in line.split()[:3]]
    known = [average for average in averages if average is not None]
    if len(known) < 3:
        return None
    return Load(one_minute=known[0], five_minutes=known[1], fifteen_minutes=known[2])


def _parse_cpu(answer: _Answer) -> CPU:
    stat = answer.table("cpu.stat")
    if _cgroup_version(answer) == 2:
        quota, _, period = answer.line("cpu.max").partition(" ")
        used = _scaled(stat.get("usage_usec"), 1e-6)
        throttled = _scaled(stat.get("throttled_usec"), 1e-6)
    else:
        quota, period = (
            answer.line("cpu.cfs_quota_us"),
            answer.line("cpu.cfs_period_us"),
        )
        used = _scaled(answer.line("cpuacct.usage"), 1e-9)
        throttled = _scaled(stat.get("throttled_time"), 1e-9)
    return CPU(
        limit_cores=_ratio(quota, period),
        processor_count=_count_list(
            answer.table("self/status").get("Cpus_allowed_list")
        ),
        used_seconds=used,
        throttled_seconds=throttled,
    )


def _parse_memory(answer: _Answer) -> Memory:
    machine = answer.table("meminfo")
    total = _kib(machine.get("MemTotal"))
    stat = answer.table("memory.stat")
    if _cgroup_version(answer) == 2:
        limits = [_count(answer.line("memory.max"))]
        usage = _count(answer.line("memory.current"))
        cache = _count(stat.get("inactive_file"))
        kills = _count(answer.table("memory.events").get("oom_kill"))
    else:
        # the second counts the limits of the folders above as well
        limits = [
            _count(answer.line("memory.limit_in_bytes")),
            _count(stat.get("hierarchical_memory_limit")),
        ]
        usage = _count(answer.line("memory.usage_in_bytes"))
        cache = _count(stat.get("total_inactive_file"))
        kills = _count(answer.table("memory.oom_control").get("oom_kill"))
    limit = min((n for n in limits if n is not None), default=_NO_LIMIT_BYTES)
    is_limited = limit < (_NO_LIMIT_BYTES if total is None else total)
    is_machine = usage is None or "memory" in answer.marks.get("top", ())
    available = _kib(machine.get("MemAvailable"))
    if not is_machine and usage is not None:
        used = max(usage - (cache or 0), 0)
    elif total is not None and available is not None:
        used = max(total - available, 0)
    else:
        used = None
    return Memory(
        limit_bytes=limit if is_limited else total,
        used_bytes=used,
        is_limited=is_limited,
        is_machine=is_machine,
        oom_kill_count=kills,
    )


def _parse_disks(answer: _Answer) -> tuple[tuple[Disk, ...], list[ProbeProblem]]:
    """Return each file system once, under the path it is mounted at."""
    found: dict[str, Disk] = {}
    problems = [
        _explain_late_disk(answer, late)
        for late in answer.marks.get("late", ())
        if late.startswith("disks")
    ]
    for section in answer.sections:
        if section.kind != "disk":
            continue
        match = next(filter(None, map(_DF_ROW.fullmatch, section.lines)), None)
        if match is not None:
            row = match.groupdict()
            found[row["path"]] = Disk(
                path=row["path"],
                filesystem=row["filesystem"],
                total_bytes=int(row["total"]) * 1024,
                used_bytes=int(row["used"]) * 1024,
                available_bytes=max(int(row["available"]), 0) * 1024,
            )
        elif section.status is not None:
            reason = f"df of {section.words} failed with status {section.status}"
            problems.append(ProbeProblem(part="disks", reason=reason))
    if not found and not problems:
        problems.append(ProbeProblem(part="disks", reason="the pod tells of no disk"))
    return tuple(found.values()), problems


def _explain_late_disk(answer: _Answer, late: str) -> ProbeProblem:
    asked = [section.words for section in answer.sections if section.kind == "disk"]
    what = asked[-1] if asked else "a disk"
    seconds = late.partition(" ")[2]
    return ProbeProblem(
        part="disks",
        reason=f"{what} did not answer within {seconds} s: its storage may hang",
        is_timeout=True,
    )


def _parse_network(answer: _Answer) -> tuple[NetworkInterface, ...]:
    found = []
    for match in map(_INTERFACE.fullmatch, answer.files.get("net/dev", ())):
        figures = match["figures"].split() if match else []
        if match is None or match["name"] == "lo" or len(figures) < 9:
            continue
        found.append(
            NetworkInterface(
                name=match["name"],
                received_bytes=int(figures[0]),
                sent_bytes=int(figures[8]),
            )
        )
    return tuple(found)


def _explain_basics(
    cpu: CPU, memory: Memory, network: tuple[NetworkInterface, ...], answer: _Answer
) -> Iterable[ProbeProblem]:
    where = "" if _cgroup_version(answer) else ": it shows no cgroup"
    if cpu.used_seconds is None:
        yield ProbeProblem(
            part="cpu", reason=f"the pod does not tell its processor time{where}"
        )
    if memory.used_bytes is None:
        yield ProbeProblem(part="memory", reason="the pod does not tell its memory")
    elif memory.is_machine and _cgroup_version(answer) is None:
        yield ProbeProblem(
            part="memory", reason=f"these are figures of the whole machine{where}"
        )
    if not network:
        yield ProbeProblem(
            part="network", reason="the pod tells of no network interface"
        )


def _cgroup_version(answer: _Answer) -> int | None:
    return _count(next(iter(answer.marks.get("cgroup", ())), ""))


def _number(text: str | None) -> float | None:
    """Return the number a text starts with; None for none, or one below zero."""
    words = (text or "").split()
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _count(text: str | None) -> int | None:
    """Return a whole number exactly; a float would lose bytes of a large one."""
    words = (text or "").split()
    return int(words[0]) if words and re.fullmatch(r"[0-9]{1,20}", words[0]) else None


def _scaled(text: str | None, factor: float) -> float | None:
    value = _count(text)
    return None if value is None else value * factor


def _kib(text: str | None) -> int | None:
    value = _count(text)
    return None if value is None else value * 1024


def _ratio(quota: str, period: str) -> float | None:
    above, below = _count(quota), _count(period)
    return above / below if above and below else None


def _count_list(text: str | None) -> int | None:
    """Return how many numbers a list like `0-3,8` names."""
    total = 0
    for part in (text or "").strip().split(","):
        first, _, last = part.partition("-")
        low, high = _count(first), _count(last or first)
        if low is None or high is None or high < low:
            return None
        total += high - low + 1
    return total
