"""What pods answered, as files beside this one, and what must be read out of each."""

import dataclasses
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh.errors import ProbeError
from runpod_ssh.probe_records import Probe
from runpod_ssh.probe_wire import parse_probe

OUTPUTS = Path(__file__).parent / "probe_outputs"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
GIB = 1024**3
H100 = "NVIDIA H100 80GB HBM3"
A100 = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"
LOST = "the GPU is lost; only a restart of the machine brings it back"
MACHINE_USED = (1056669056 - 956669056) * 1024
NO_PERMISSION = "[Insufficient Permissions]"

# file -> where in the probe -> what stands there; a list's length is at `.count`
EXPECTED: dict[str, dict[str, Any]] = {
    "v2-container": {
        "hostname": "9f2c1d0e7a55",
        "uptime_seconds": 3600.0,
        "machine_uptime_seconds": 864000.0,
        "load.one_minute": 3.1,
        "load.fifteen_minutes": 1.05,
        "cpu.limit_cores": 8.0,
        "cpu.processor_count": 16,
        "cpu.cores": 8.0,
        "cpu.used_seconds": 360.0,
        "cpu.throttled_seconds": 1.5,
        "memory.limit_bytes": 60 * GIB,
        "memory.used_bytes": 10 * GIB,
        "memory.is_limited": True,
        "memory.is_machine": False,
        "memory.oom_kill_count": 2,
        "process_count": 41,
        "process_limit": None,
        "disks.count": 3,
        "disks.1.path": "/workspace",
        "disks.1.filesystem": "mfs#eu-ro-1.runpod.net:9421",
        "disks.1.total_bytes": 1024 * 1024 * GIB,
        "disks.2.used_bytes": 4096,
        "network.count": 1,
        "network.0.name": "eth0",
        "network.0.received_bytes": 9876543210,
        "network.0.sent_bytes": 123456789,
        "gpus": (),
        "gpu_processes": (),
        "problems": (),
    },
    "v1-container": {
        "cpu.limit_cores": 6.5,
        "cpu.used_seconds": 7200.5,
        "cpu.throttled_seconds": 2.5,
        "memory.limit_bytes": 31 * GIB,
        "memory.used_bytes": 8 * GIB,
        "memory.oom_kill_count": 0,
        "process_limit": 4096,
        "problems": (),
    },
    "v2-no-limits": {
        "cpu.limit_cores": None,
        "cpu.cores": 16,
        "memory.limit_bytes": 1056669056 * 1024,
        "memory.is_limited": False,
        "memory.used_bytes": 10 * GIB,
        "problems": (),
    },
    "v1-no-limits": {
        "cpu.limit_cores": None,
        "memory.limit_bytes": 1056669056 * 1024,
        "memory.is_limited": False,
        "memory.is_machine": False,
    },
    "v1-limit-of-a-folder-above": {
        "memory.limit_bytes": 31 * GIB,
        "memory.is_limited": True,
    },
    "v2-top-of-a-virtual-machine": {
        "cpu.used_seconds": 5.0,
        "cpu.throttled_seconds": None,
        "memory.used_bytes": MACHINE_USED,
        "memory.is_machine": True,
        "memory.oom_kill_count": None,
        "process_count": None,
        "problems": (),
    },
    "v1-top-of-a-virtual-machine": {
        "memory.used_bytes": MACHINE_USED,
        "memory.is_machine": True,
        "problems": (),
    },
    "no-cgroup": {
        "cpu.used_seconds": None,
        "cpu.cores": 16,
        "memory.used_bytes": MACHINE_USED,
        "memory.is_machine": True,
        "problems.count": 2,
        "problems.0.part": "cpu",
        "problems.0.reason": "the pod does not tell its processor time: "
        "it shows no cgroup",
        "problems.1.part": "memory",
    },
    "cgroup-files-unreadable": {
        "cpu.limit_cores": None,
        "cpu.used_seconds": None,
        "memory.used_bytes": MACHINE_USED,
        "memory.is_machine": True,
        "problems.0.part": "cpu",
    },
    "v2-usage-without-statistics": {
        "cpu.limit_cores": 1.5,
        "memory.used_bytes": GIB // 2,
        "memory.limit_bytes": GIB,
    },
    "kernel-without-available-memory": {
        "memory.used_bytes": None,
        "memory.limit_bytes": 1056669056 * 1024,
        "problems.1.reason": "the pod does not tell its memory",
    },
    "cpuset-in-pieces": {"cpu.processor_count": 7, "cpu.cores": 7},
    "name-of-first-process-with-brackets": {"uptime_seconds": 3600.0},
    "first-process-hidden": {
        "uptime_seconds": None,
        "machine_uptime_seconds": 864000.0,
    },
    "proc-empty": {
        "hostname": None,
        "uptime_seconds": None,
        "machine_uptime_seconds": None,
        "load": None,
        "cpu.processor_count": None,
        "cpu.cores": None,
        "memory.limit_bytes": None,
        "memory.used_bytes": None,
        "disks": (),
        "network": (),
        "problems.count": 4,
    },
    "many-interfaces": {
        "network.count": 3,
        "network.1.received_bytes": 1000,
        "network.2.name": "wg-a.7",
        "network.2.sent_bytes": 8,
    },
    "loopback-only": {"network": (), "problems.0.part": "network"},
    "usage-below-cache": {"memory.used_bytes": 0},
    "disk-without-a-volume": {"disks.count": 1, "disks.0.path": "/"},
    "disk-hangs": {
        "disks.count": 1,
        "problems.0.part": "disks",
        "problems.0.reason": "/workspace did not answer within 3 s: "
        "its storage may hang",
    },
    "disk-refused": {
        "disks.count": 2,
        "problems.0.reason": "df of /dev/shm failed with status 1",
    },
    "disk-over-full": {
        "disks.0.filesystem": "/dev/mapper/my disk",
        "disks.0.available_bytes": 0,
        "disks.0.used_bytes": 10 * GIB,
        "problems": (),
    },
    "no-df": {"disks": (), "problems.0.reason": "df of / failed with status 127"},
    "gpu-h100-x8": {
        "gpus.count": 8,
        "gpus.0.index": 0,
        "gpus.0.uuid": "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd",
        "gpus.0.bus_id": "00000000:19:00.0",
        "gpus.0.name": H100,
        "gpus.0.driver_version": "550.54.15",
        "gpus.0.utilization_percent": 0.0,
        "gpus.7.utilization_percent": 84.0,
        "gpus.7.memory_utilization_percent": 41.0,
        "gpus.7.memory_used_mib": 71234,
        "gpus.7.memory_total_mib": 81559,
        "gpus.7.temperature_celsius": 47.0,
        "gpus.7.power_draw_watts": 612.4,
        "gpus.7.power_limit_watts": 700.0,
        "gpus.7.is_mig_enabled": False,
        "gpus.7.problem": "",
        "gpu_processes.count": 2,
        "gpu_processes.0.pid": 4242,
        "gpu_processes.0.memory_used_mib": 71010,
        "gpu_processes.1.name": "/opt/my app/run, one",
        "problems": (),
    },
    "gpu-idle-zeroes-are-figures": {
        "gpus.0.utilization_percent": 0.0,
        "gpus.0.memory_used_mib": 0,
        "gpus.0.is_mig_enabled": None,
        "gpu_processes": (),
    },
    "gpu-not-supported": {
        "gpus.0.utilization_percent": None,
        "gpus.0.memory_used_mib": 3,
        "gpus.0.temperature_celsius": None,
        "gpus.0.power_draw_watts": None,
        "gpus.0.power_limit_watts": None,
        "gpus.0.problem": "",
        "gpu_processes.0.pid": None,
        "gpu_processes.0.name": None,
        "problems": (),
    },
    "gpu-unknown-error-in-a-field": {
        "gpus.0.utilization_percent": 97.0,
        "gpus.0.power_draw_watts": None,
        "gpus.0.problem": "the driver answers: Unknown Error",
    },
    "gpu-err-in-a-field": {
        "gpus.0.temperature_celsius": None,
        "gpus.0.problem": "the driver answers: ERR!",
    },
    "gpu-lost-in-its-row": {
        "gpus.count": 2,
        "gpus.0.problem": "",
        "gpus.1.index": 1,
        "gpus.1.uuid": None,
        "gpus.1.memory_used_mib": None,
        "gpus.1.problem": LOST,
    },
    "gpu-lost-fails-the-query": {
        "gpus.count": 3,
        "gpus.0.index": 0,
        "gpus.1.index": 2,
        "gpus.2.index": None,
        "gpus.2.bus_id": "0000:29:00.0",
        "gpus.2.problem": LOST,
        "gpu_processes": None,
        "problems.count": 1,
        "problems.0.part": "gpu_processes",
    },
    "gpu-handle-unknown-error": {
        "gpus.count": 1,
        "gpus.0.bus_id": "0000:65:00.0",
        "gpus.0.problem": "the driver answers: Unknown Error",
    },
    "gpu-old-driver": {
        "gpus.count": 1,
        "gpus.0.name": "Tesla V100-SXM2-16GB",
        "gpus.0.utilization_percent": 33.0,
        "gpus.0.memory_used_mib": 1024,
        "gpus.0.power_draw_watts": None,
        "gpus.0.driver_version": None,
        "gpus.0.is_mig_enabled": None,
        "problems": (),
    },
    "mig-two-slices": {
        "gpus.0.is_mig_enabled": True,
        "gpus.0.utilization_percent": None,
        "gpus.0.slices.count": 2,
        "gpus.0.slices.0.profile": "3g.20gb",
        "gpus.0.slices.0.uuid": "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "gpus.0.slices.0.memory_used_mib": 1234,
        "gpus.0.slices.0.memory_total_mib": 19968,
        "gpus.0.slices.1.index": 1,
        "gpus.0.slices.1.memory_used_mib": 3,
        "gpu_processes.0.gpu_uuid": "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "problems": (),
    },
    "mig-without-permission": {
        "gpus.0.memory_used_mib": None,
        "gpus.0.memory_total_mib": None,
        "gpus.0.problem": "",
        "gpus.0.slices.count": 2,
        "gpus.0.slices.0.memory_used_mib": None,
        "gpu_processes.0.memory_used_mib": None,
    },
    "mig-listing-hangs": {
        "gpus.count": 1,
        "gpus.0.slices": (),
        "problems.0.reason": "nvidia-smi did not answer within 10 s: "
        "the driver may hang",
    },
    "mig-old-names": {
        "gpus.0.slices.0.uuid": f"MIG-{A100}/7/0",
        "gpus.0.slices.0.profile": "1g.5gb",
        "gpus.0.slices.0.memory_total_mib": None,
    },
    "smi-hangs": {
        "hostname": "9f2c1d0e7a55",
        "gpus": None,
        "gpu_processes": None,
        "problems.count": 1,
        "problems.0.part": "gpus",
        "problems.0.reason": "nvidia-smi did not answer within 10 s: "
        "the driver may hang",
    },
    "smi-missing-with-devices": {
        "gpus": None,
        "gpu_processes": None,
        "problems.0.reason": "the pod shows 2 GPU devices and has no nvidia-smi: "
        "its image or the driver's mount is broken",
    },
    "smi-driver-not-loaded": {
        "gpus": None,
        "problems.count": 1,
        "problems.0.reason": "the NVIDIA driver is not loaded: NVIDIA-SMI has failed "
        "because it couldn't communicate with the NVIDIA driver. Make sure that the "
        "latest NVIDIA driver is installed and running",
    },
    "smi-lost-its-devices": {
        "gpus": None,
        "problems.0.reason": "Failed to initialize NVML: Unknown Error; "
        "a restart of the pod helps when its container lost the device",
    },
    "smi-version-mismatch": {
        "gpus": None,
        "problems.0.reason": "Failed to initialize NVML: Driver/library version mismatch",
    },
    "smi-no-devices": {
        "gpus": (),
        "gpu_processes": None,
        "problems.count": 1,
        "problems.0.reason": "no GPU was found: No devices were found",
    },
    "smi-without-library": {"gpus": None, "problems.count": 1},
    "smi-row-cut": {
        "gpus.count": 1,
        "problems.0.part": "gpus",
        "problems.0.reason": "a line of nvidia-smi could not be read: "
        "1, GPU-00000001-aaaa-bbbb-cccc-dddddddddddd, 00000000:29:00",
    },
    "smi-silent": {
        "gpus": None,
        "problems.0.reason": "nvidia-smi failed with status 1",
    },
    "noise-before": {"hostname": "9f2c1d0e7a55", "problems": ()},
    "windows-line-ends": {
        "hostname": "9f2c1d0e7a55",
        "gpus.0.name": H100,
        "gpus.0.is_mig_enabled": False,
        "problems": (),
    },
    "recorded-virtual-machine": {
        "hostname": "vm",
        "cpu.processor_count": 2,
        "memory.is_machine": True,
        "memory.limit_bytes": 24684084 * 1024,
        "network.count": 3,
        "disks.count": 2,
        "gpus": (),
        "problems": (),
    },
    "recorded-busybox": {
        "hostname": "vm",
        "memory.limit_bytes": 24684084 * 1024,
        "disks.0.filesystem": "/dev/vda",
        "disks.count": 2,
        "problems": (),
    },
}
REFUSED = {
    "cut-in-the-middle": "the pod's figures were cut short",
    "cut-before-the-end": "the pod's figures were cut short",
    "cut-in-the-last-mark": "the pod's figures were cut short",
    "empty": "the pod did not answer with its figures",
    "no-probe-at-all": "the pod did not answer with its figures",
    "form-of-the-future": "the pod's figures have an unknown form: '2'",
}


def read(name: str) -> str:
    # bytes, not text: line ends are part of what is tested
    return (OUTPUTS / f"{name}.txt").read_bytes().decode()


def parse(text: str) -> Probe:
    return parse_probe(text, taken_at=NOW)


def find(value: Any, path: str) -> Any:
    """Return what stands at a dotted path of records and tuples."""
    for name in path.split("."):
        if name == "count":
            value = len(value)
        elif name.isdigit():
            value = value[int(name)]
        else:
            value = getattr(value, name)
    return value


def test_every_recorded_output_is_expected_to_mean_something() -> None:
    names = {path.stem for path in OUTPUTS.glob("*.txt")}

    assert names == set(EXPECTED) | set(REFUSED)
    assert len(EXPECTED) >= 30


@pytest.mark.parametrize("name", EXPECTED)
def test_output_is_read_as_it_was_meant(name: str) -> None:
    probe = parse(read(name))

    assert {path: find(probe, path) for path in EXPECTED[name]} == EXPECTED[name]


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_answer_that_is_not_whole_is_refused_with_the_reason(
    name: str, reason: str
) -> None:
    with pytest.raises(ProbeError) as caught:
        parse(read(name))

    assert caught.value.message == reason
    assert caught.value.hint or name == "form-of-the-future"


def test_moment_and_duration_are_the_callers() -> None:
    probe = parse_probe(read("v2-container"), taken_at=NOW, elapsed_seconds=0.25)

    assert (probe.taken_at, probe.elapsed_seconds) == (NOW, 0.25)


@pytest.mark.parametrize(
    "nothing",
    ["[N/A]", "N/A", "[Not Supported]", NO_PERMISSION, "[Unknown Error]",
     "[GPU is lost]", "ERR!", "[Not Found]", "", "-5", "nan", "inf", "1e999"],
)  # fmt: skip
def test_what_the_driver_does_not_tell_is_none_and_never_zero(nothing: str) -> None:
    figures = ["97", "41", "71234", "81559", "66", "612.40", "700.00"]
    lines = read("gpu-h100-x8").split("\n")
    told = [
        line.replace(", ".join(["12", *figures[1:4]]), ", ".join([nothing] * 4))
        .replace(", 41, 612.40, 700.00, Disabled", f", {', '.join([nothing] * 4)}")
        for line in lines
    ]  # fmt: skip

    gpus = parse("\n".join(told)).gpus

    assert gpus is not None
    told_of_second = dataclasses.asdict(gpus[1])
    kept = {"index", "uuid", "bus_id", "name", "driver_version", "slices", "problem"}
    assert {told_of_second[key] for key in told_of_second.keys() - kept} == {None}


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


LINES = sorted({line for name in EXPECTED for line in read(name).splitlines()})
JUNK = st.text(alphabet=string.printable + "é\0\u0663", max_size=40)
ANY_LINE = st.sampled_from(LINES) | JUNK


@given(lines=st.lists(ANY_LINE, max_size=60))
def test_reordered_and_broken_answers_never_raise_another_error(
    lines: list[str],
) -> None:
    probe = parse("\n".join(["#probe 1", *lines, "#end"]))

    # nothing came from nowhere: every figure but a sum or a difference is finite
    numbers = [x for x in leaves(dataclasses.asdict(probe)) if isinstance(x, float)]
    assert all(0 <= number < float("inf") for number in numbers)


@given(name=st.sampled_from(sorted(EXPECTED)), share=st.floats(0, 1))
def test_answer_cut_anywhere_is_refused(name: str, share: float) -> None:
    text = read(name)
    whole = text.rstrip("\r\n")

    with pytest.raises(ProbeError):
        parse(whole[: int(share * (len(whole) - 1))])


@given(text=st.text(max_size=200))
def test_garbage_is_a_probe_error(text: str) -> None:
    with pytest.raises(ProbeError):
        parse(text)


@given(st.lists(st.sampled_from(read("v2-container").splitlines()), max_size=30))
def test_lines_left_out_leave_none_and_not_zero(dropped: list[str]) -> None:
    kept = [line for line in read("v2-container").splitlines() if line not in dropped]
    text = "\n".join(kept if kept[:1] == ["#probe 1"] else ["#probe 1", *kept])

    probe = parse(text.removesuffix("#end") + "\n#end\n")

    whole = parse(read("v2-container"))
    assert probe.cpu.used_seconds in {None, whole.cpu.used_seconds}
    assert probe.cpu.limit_cores in {None, 8.0}
    assert probe.memory.used_bytes != 0
    assert probe.uptime_seconds in {None, 3600.0}
    assert all(i.received_bytes > 0 for i in probe.network)
