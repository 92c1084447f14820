"""Readings of pods as documents for programs and as sheets for people. Pure."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runpod_ssh.probe import Reading
from runpod_ssh.probe_records import GPU, Disk, Memory, Probe

_BAR_CELLS = 10
_PARTS = " ▏▎▍▌▋▊▉"
_GIB = 1024**3
_HOT_CELSIUS = 85
_SHOWN_PROCESSES = 10
_FULL, _FILLING = 0.9, 0.75
_HEADINGS = (
    "POD",
    "UP",
    "CPU",
    "MEMORY",
    "DISK",
    "GPU",
    "GPU MEMORY",
    "TEMP",
    "  POWER",
    "IN/OUT MB/s",
)


def reading_document(reading: Reading) -> dict[str, Any]:
    """Return a reading for programs; the keys are stable, what is not told is None."""
    pod, probe, error = reading.pod, reading.probe, reading.error
    document: dict[str, Any] = {
        "pod_id": pod.pod_id if pod else None,
        "name": pod.name if pod else reading.selector,
        "error": None,
    }
    if error is not None:
        document["error"] = {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
        }
    if probe is not None:
        document |= dataclasses.asdict(probe)
        document["cpu"]["cores"] = probe.cpu.cores
    document["rates"] = dataclasses.asdict(reading.rates) if reading.rates else None
    document["has_restarted"] = reading.has_restarted
    return document


def render_pod(reading: Reading) -> RenderableType:
    """Return one pod's reading as a sheet with a line for each thing."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for label, text in _pod_lines(reading):
        grid.add_row(label, text)
    return grid


def render_pods(readings: Sequence[Reading]) -> RenderableType:
    """Return the readings of several pods side by side, a row each."""
    heading = [Text(word, style="bold") for word in _HEADINGS]
    rows = [_row(reading) for reading in readings]
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    lines = [_join(heading, widths)]
    for reading, row in zip(readings, rows, strict=True):
        if reading.probe is None:
            lines.append(_join(row[:1], widths) + Text("  ") + _reason(reading))
            continue
        lines.append(_join(row, widths))
        lines.extend(Text(f"  {note}", style="yellow") for note in _notes(reading))
    return Group(*lines)


def _join(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """Return cells in columns; figures stand to the right, bars to the left."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for cell, width in zip(cells, widths, strict=False):
        line.append_text(Text("  " if line else ""))
        padded = cell.copy()
        padded.pad_right(width - len(cell))
        line.append_text(padded)
    if len(cells) == len(widths):
        line.rstrip()
    return line


def _pod_lines(reading: Reading) -> Iterable[tuple[str, Text]]:
    name = _name(reading)
    if reading.probe is None:
        yield "pod", Text(name, style="bold")
        yield "problem", _reason(reading)
        return
    probe = reading.probe
    up = _duration(probe.uptime_seconds)
    facts = f"  up {up}, asked in {probe.elapsed_seconds * 1000:.0f} ms"
    restarted = Text("  restarted", style="yellow") if reading.has_restarted else ""
    yield "pod", Text.assemble((name, "bold"), (facts, "dim"), restarted)
    yield "CPU", _cpu(reading)
    yield "memory", _memory(probe.memory)
    for disk in probe.disks:
        yield f"disk {disk.path}", _disk(disk)
    yield "network", _network(reading)
    if probe.load is not None:
        load = probe.load
        averages = f"{load.one_minute:g} {load.five_minutes:g} {load.fifteen_minutes:g}"
        yield "load", Text(f"{averages} on the whole machine")
    yield from _gpu_lines(probe)
    for problem in probe.problems:
        part = problem.part.replace("_", " ")
        yield "problem", Text(f"{part}: {problem.reason}", style="yellow")


def _gpu_lines(probe: Probe) -> Iterable[tuple[str, Text]]:
    if probe.gpus is None:
        yield "GPU", Text("not known", style="dim")
        return
    if not probe.gpus:
        yield "GPU", Text("none", style="dim")
    for gpu in probe.gpus:
        yield f"GPU {'?' if gpu.index is None else gpu.index}", _gpu(gpu)
        for part in gpu.slices:
            used = _sizes(_bytes(part.memory_used_mib), _bytes(part.memory_total_mib))
            share = _share(part.memory_used_mib, part.memory_total_mib)
            name = part.profile or f"slice {part.index}"
            yield "", Text.assemble(f"  MIG {name:<10} ", _bar(share), f" {used}")
    processes = probe.gpu_processes or ()
    for process in processes[:_SHOWN_PROCESSES]:
        facts = [
            process.name or "a process that may not be looked at",
            "" if process.pid is None else f"pid {process.pid} of the machine",
            _size(_bytes(process.memory_used_mib)) if process.memory_used_mib else "",
        ]
        yield "process", Text(", ".join(filter(None, facts)))
    if len(processes) > _SHOWN_PROCESSES:
        yield "", Text(f"and {len(processes) - _SHOWN_PROCESSES} more", style="dim")


def _row(reading: Reading) -> list[Text]:
    name = Text(_name(reading), style="bold")
    probe = reading.probe
    if probe is None:
        return [name, *[Text()] * (len(_HEADINGS) - 1)]
    memory = _share(probe.memory.used_bytes, probe.memory.limit_bytes)
    return [
        name,
        Text(_duration(probe.uptime_seconds)),
        Text(_cores(reading), style=_style(_cpu_share(reading))),
        _percent(memory),
        _percent(_fullest(probe.disks)),
        *_gpu_cells(probe.gpus or ()),
        _traffic(reading),
    ]


def _notes(reading: Reading) -> list[str]:
    probe = reading.probe
    problems = probe.problems if probe else ()
    told = [f"{p.part.replace('_', ' ')}: {p.reason}" for p in problems]
    return ["restarted"] * reading.has_restarted + told


def _gpu_cells(gpus: Sequence[GPU]) -> list[Text]:
    """Return use, memory, temperature and power over all GPUs of a pod."""
    if not gpus:
        return [Text("-", style="dim")] * 4
    busy = [g.utilization_percent for g in gpus if g.utilization_percent is not None]
    mean = sum(busy) / len(busy) / 100 if busy else None
    count = f" {len(gpus)}\N{MULTIPLICATION SIGN}" * (len(gpus) > 1)
    broken = sum(bool(gpu.problem) for gpu in gpus)
    memory = [_gpu_memory(gpu) for gpu in gpus if not gpu.problem]
    used, whole = _total(m[0] for m in memory), _total(m[1] for m in memory)
    heat = [g.temperature_celsius for g in gpus if g.temperature_celsius is not None]
    power = [g.power_draw_watts for g in gpus if g.power_draw_watts is not None]
    return [
        Text.assemble(
            _percent_bar(mean), count, (f" {broken} ill" * bool(broken), "bold red")
        ),
        _percent(_share(used, whole)),
        _temperature(max(heat, default=None)),
        Text(f"{sum(power):5.0f} W" if power else "      -"),
    ]


def _gpu_memory(gpu: GPU) -> tuple[int | None, int | None]:
    """Return used and total MiB; where slices alone may be asked, theirs."""
    if gpu.memory_used_mib is not None or not gpu.slices:
        return gpu.memory_used_mib, gpu.memory_total_mib
    return (
        _total(part.memory_used_mib for part in gpu.slices),
        _total(part.memory_total_mib for part in gpu.slices),
    )


def _gpu(gpu: GPU) -> Text:
    if gpu.problem:
        where = gpu.name or gpu.bus_id or ""
        return Text.assemble((gpu.problem, "bold red"), f"  {where}")
    busy = gpu.utilization_percent
    power = _share(gpu.power_draw_watts, gpu.power_limit_watts)
    watts = f"{_watts(gpu.power_draw_watts)} of {_watts(gpu.power_limit_watts)} W"
    used, total = _gpu_memory(gpu)
    return Text.assemble(
        _percent_bar(None if busy is None else busy / 100),
        "  ",
        _bar(_share(used, total)),
        f" {_sizes(_bytes(used), _bytes(total)):<17}",
        _temperature(gpu.temperature_celsius),
        "  ",
        _bar(power, 5),
        f" {watts:<12} ",
        (gpu.name or "", "dim"),
        (" MIG" if gpu.is_mig_enabled else "", "cyan"),
    )


def _cpu(reading: Reading) -> Text:
    probe, rates = reading.probe, reading.rates
    text = Text.assemble(_bar(_cpu_share(reading)), f" {_cores(reading)} cores")
    if rates and rates.throttled_cores:
        text.append(f"  held back {rates.throttled_cores:.2f} by its quota", "yellow")
    elif rates is None and probe is not None and probe.cpu.used_seconds is not None:
        text.append(f"  {_duration(probe.cpu.used_seconds)} used in all", "dim")
    return text


def _cores(reading: Reading) -> str:
    used = reading.rates.cpu_cores if reading.rates else None
    cores = reading.probe.cpu.cores if reading.probe else None
    have = "-" if cores is None else f"{cores:g}"
    return f"{'-' if used is None else f'{used:.2f}'} of {have}"


def _cpu_share(reading: Reading) -> float | None:
    used = reading.rates.cpu_cores if reading.rates else None
    return _share(used, reading.probe.cpu.cores if reading.probe else None)


def _memory(memory: Memory) -> Text:
    share = _share(memory.used_bytes, memory.limit_bytes)
    sizes = _sizes(memory.used_bytes, memory.limit_bytes)
    text = Text.assemble(_bar(share), f" {sizes}")
    if memory.is_machine:
        text.append("  of the whole machine", "dim")
    if memory.oom_kill_count:
        kills = memory.oom_kill_count
        text.append(
            f"  {kills} process{'es' * (kills > 1)} killed for want of it", "red"
        )
    return text


def _disk(disk: Disk) -> Text:
    share = _share(disk.used_bytes, disk.used_bytes + disk.available_bytes)
    sizes = _sizes(disk.used_bytes, disk.total_bytes)
    free = f"  {_size(disk.available_bytes)} free"
    return Text.assemble(_bar(share), f" {sizes}", (free, "dim"))


def _fullest(disks: Iterable[Disk]) -> float | None:
    shares = (_share(d.used_bytes, d.used_bytes + d.available_bytes) for d in disks)
    return max((share for share in shares if share is not None), default=None)


def _network(reading: Reading) -> Text:
    if reading.rates is None:
        network = reading.probe.network if reading.probe else ()
        if not network:
            return Text("-", style="dim")
        got = sum(interface.received_bytes for interface in network)
        sent = sum(interface.sent_bytes for interface in network)
        return Text(f"in {got / 1e9:.2f} GB  out {sent / 1e9:.2f} GB")
    got_rate = _rate(reading.rates.received_bytes_per_second)
    sent_rate = _rate(reading.rates.sent_bytes_per_second)
    return Text(f"in {got_rate}  out {sent_rate}")


def _traffic(reading: Reading) -> Text:
    if reading.rates is None:
        return Text("-", style="dim")
    rates = (
        reading.rates.received_bytes_per_second,
        reading.rates.sent_bytes_per_second,
    )
    texts = ("-" if rate is None else f"{rate / 1e6:.2f}" for rate in rates)
    return Text("/".join(texts))


def _rate(bytes_per_second: float | None) -> str:
    return "-" if bytes_per_second is None else f"{bytes_per_second / 1e6:.2f} MB/s"


def _temperature(celsius: float | None) -> Text:
    if celsius is None:
        return Text("    -", style="dim")
    return Text(f"{celsius:2.0f} °C", style="red" if celsius >= _HOT_CELSIUS else "")


def _percent_bar(share: float | None) -> Text:
    return Text.assemble(_bar(share, 5), " ", _percent(share))


def _percent(share: float | None) -> Text:
    if share is None:
        return Text("   -", style="dim")
    return Text(f"{share * 100:3.0f}%", style=_style(share))


def _style(share: float | None) -> str:
    """Return the colour of a share in use."""
    if share is None or share < _FILLING:
        return "green"
    return "red" if share >= _FULL else "yellow"


def _bar(share: float | None, cells: int = _BAR_CELLS) -> Text:
    """Return a bar; nothing known is shown as dots, not as an empty one."""
    if share is None:
        return Text("·" * cells, style="dim")
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (_PARTS[part] if part else "")
    return Text.assemble(
        (filled, _style(share)), ("░" * (cells - len(filled)), "bright_black")
    )


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _total(values: Iterable[int | None]) -> int | None:
    """Return the sum; None where one is missing, for a part is not the whole."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if found and len(known) == len(found) else None


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * 1024**2


def _size(size_bytes: int | None, unit: str = "") -> str:
    """Return a size in GiB, or in TiB from one on."""
    if size_bytes is None:
        return "-"
    name = unit or _unit(size_bytes)
    amount = size_bytes / (_GIB * 1024 if name == "TiB" else _GIB)
    return f"{amount:.1f}" + ("" if unit else f" {name}")


def _sizes(part: int | None, whole: int | None) -> str:
    unit = _unit(whole or 0)
    return f"{_size(part, unit)} of {_size(whole, unit)} {unit}"


def _unit(size_bytes: int) -> str:
    return "TiB" if size_bytes >= _GIB * 1024 else "GiB"


def _watts(watts: float | None) -> str:
    return "-" if watts is None else f"{watts:.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def _name(reading: Reading) -> str:
    return reading.pod.name if reading.pod else reading.selector


def _reason(reading: Reading) -> Text:
    if reading.error is None:
        return Text("asking", style="dim")
    return Text(reading.error.message, style="red")
