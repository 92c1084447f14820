"""The script that runs on the pod, under the shells of pods, beside stand-ins for
nvidia-smi, a cgroup and /proc; what it tells of this machine is compared with /proc.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from runpod_ssh.probe_records import Probe
from runpod_ssh.probe_wire import parse_probe
from support.busybox import busybox_path, path_of
from support.sshd import find_program
from support.waiting import wait_for

SCRIPT = files("runpod_ssh").joinpath("assets", "probe.sh").read_text()
NEEDED = ("sh", "cat", "sleep")
USUAL = (*NEEDED, "grep", "sed", "df", "timeout", "true")
ROW = "GPU-{0}, 00000000:0{0}:00.0, NVIDIA H100, 550.1, 5, 1, 9, 81559, 30, 70, 700"
LOST = (
    "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost. "
    "Reboot the system to recover this GPU"
)


def run(
    path: str,
    *,
    paths: Iterable[str] = ("/",),
    gpu_seconds: int = 5,
    environ: Mapping[str, str] | None = None,
    shell: str = "sh",
) -> Probe:
    """Run the script with this PATH alone and return what is read out of it."""
    found = next(
        str(place)
        for folder in path.split(":")
        if (place := Path(folder, shell)).exists()
    )
    # sbin is added by the script itself: nothing there must help it along
    done = subprocess.run(
        [found, "-c", SCRIPT, "probe.sh", str(gpu_seconds), "2", *paths],
        # without this machine's own GPUs, should it have any
        env={"PATH": path, "RUNPOD_PROBE_DEV": os.devnull, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=30,
    )
    return parse_probe(done.stdout.decode(), taken_at=datetime.now(UTC))


@pytest.fixture
def usual(tmp_path: Path) -> str:
    """A PATH of the usual programs, to be put behind a stand-in for nvidia-smi."""
    return path_of(tmp_path / "bin", USUAL)


def with_nvidia_smi(tmp_path: Path, usual: str, script: str) -> str:
    """Return a PATH whose nvidia-smi is this shell text."""
    program = tmp_path / "nvidia" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!{find_program('sh')}\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}:{usual}"


def test_figures_are_those_of_this_machine(usual: str) -> None:
    before = float(Path("/proc/uptime").read_text().split()[0])

    probe = run(usual)

    after = float(Path("/proc/uptime").read_text().split()[0])
    stat = os.statvfs("/")
    meminfo = Path("/proc/meminfo").read_text().split()
    total = int(meminfo[meminfo.index("MemTotal:") + 1]) * 1024
    assert probe.machine_uptime_seconds is not None
    assert before <= probe.machine_uptime_seconds <= after
    assert probe.hostname == os.uname().nodename
    assert probe.cpu.processor_count == len(os.sched_getaffinity(0))
    assert probe.memory.limit_bytes is not None
    assert 0 < probe.memory.limit_bytes <= total
    assert probe.memory.used_bytes is not None
    assert 0 < probe.memory.used_bytes < total
    assert probe.disks[0].total_bytes == pytest.approx(stat.f_blocks * stat.f_frsize)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shells_agree(shell: str, tmp_path: Path) -> None:
    path = path_of(tmp_path / "bin", (*USUAL, "bash"))

    probe = run(path, shell=shell)

    assert probe.machine_uptime_seconds is not None
    assert [disk.path for disk in probe.disks] == ["/"]
    assert probe.gpus == ()


def test_busybox_alone_is_enough(tmp_path: Path) -> None:
    probe = run(busybox_path(tmp_path / "bin"))

    assert probe.machine_uptime_seconds is not None
    assert probe.cpu.processor_count == len(os.sched_getaffinity(0))
    assert [disk.path for disk in probe.disks] == ["/"]
    assert not [p for p in probe.problems if p.part == "disks"]


def test_shell_without_grep_and_timeout_tells_the_same(tmp_path: Path) -> None:
    probe = run(path_of(tmp_path / "bin", (*NEEDED, "df")))

    assert probe.memory.limit_bytes
    assert probe.machine_uptime_seconds is not None
    assert [disk.path for disk in probe.disks] == ["/"]


def test_pod_without_df_tells_the_rest(tmp_path: Path) -> None:
    probe = run(path_of(tmp_path / "bin", (*NEEDED, "grep")))

    assert probe.memory.limit_bytes
    assert probe.disks == ()
    assert [p.part for p in probe.problems if p.part == "disks"] == ["disks"]


def write_tree(folder: Path, contents: Mapping[str, str]) -> str:
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


V2 = {
    "cgroup.controllers": "cpu memory pids\n",
    "cpu.max": "250000 100000\n",
    "cpu.stat": "usage_usec 9000000\nnr_throttled 2\nthrottled_usec 500000\n",
    "memory.max": "2147483648\n",
    "memory.current": "1073741824\n",
    "memory.stat": "anon 5\ninactive_file 73741824\n",
    "memory.events": "oom 1\noom_kill 3\n",
    "pids.current": "7\n",
    "pids.max": "100\n",
}


def test_limits_of_a_cgroup_v2_are_the_pods(usual: str, tmp_path: Path) -> None:
    cgroup = write_tree(tmp_path / "cgroup", V2)

    probe = run(usual, environ={"RUNPOD_PROBE_CGROUP": cgroup})

    assert (probe.cpu.limit_cores, probe.cpu.used_seconds) == (2.5, 9.0)
    assert probe.memory.limit_bytes == 2 * 1024**3
    assert probe.memory.used_bytes == 1_000_000_000
    assert probe.memory.oom_kill_count == 3
    assert (probe.process_count, probe.process_limit) == (7, 100)


def test_own_folder_of_a_cgroup_v2_is_found_below_the_machines(
    usual: str, tmp_path: Path
) -> None:
    below = {f"docker/f00/{name}": text for name, text in V2.items()}
    cgroup = write_tree(
        tmp_path / "cgroup", {**below, "cgroup.controllers": "", "cpu.stat": ""}
    )
    proc = write_tree(tmp_path / "proc", {"1/cgroup": "0::/docker/f00\n"})

    probe = run(
        usual, environ={"RUNPOD_PROBE_CGROUP": cgroup, "RUNPOD_PROBE_PROC": proc}
    )

    assert probe.cpu.limit_cores == 2.5
    assert probe.memory.limit_bytes == 2 * 1024**3


def test_own_folders_of_a_cgroup_v1_are_found_below_the_machines(
    usual: str, tmp_path: Path
) -> None:
    cgroup = write_tree(
        tmp_path / "cgroup",
        {
            "memory/docker/f00/memory.limit_in_bytes": "1073741824\n",
            "memory/docker/f00/memory.usage_in_bytes": "536870912\n",
            "memory/docker/f00/memory.stat": "total_inactive_file 36870912\n",
            "cpu/docker/f00/cpu.cfs_quota_us": "150000\n",
            "cpu/docker/f00/cpu.cfs_period_us": "100000\n",
            "cpuacct/docker/f00/cpuacct.usage": "3000000000\n",
        },
    )
    proc = write_tree(
        tmp_path / "proc",
        {"1/cgroup": "5:memory:/docker/f00\n4:cpu,cpuacct:/docker/f00\n0::/\n"},
    )

    probe = run(
        usual, environ={"RUNPOD_PROBE_CGROUP": cgroup, "RUNPOD_PROBE_PROC": proc}
    )

    assert (probe.cpu.limit_cores, probe.cpu.used_seconds) == (1.5, 3.0)
    assert probe.memory.limit_bytes == 1024**3
    assert probe.memory.used_bytes == 500_000_000
    assert not probe.memory.is_machine


def test_eight_gpus_and_their_processes_are_told(usual: str, tmp_path: Path) -> None:
    rows = "; ".join(f'echo "{i}, {ROW.format(i)}, Disabled"' for i in range(8))
    path = with_nvidia_smi(
        tmp_path,
        usual,
        f"case $1 in --query-gpu=*) {rows};; *) echo 'GPU-3, 77, python, 40';; esac",
    )

    probe = run(path)

    assert probe.gpus is not None
    assert [gpu.uuid for gpu in probe.gpus] == [f"GPU-{i}" for i in range(8)]
    assert probe.gpu_processes is not None
    assert probe.gpu_processes[0].pid == 77
    assert [p for p in probe.problems if "gpu" in p.part] == []


def test_slices_of_a_gpu_are_asked_for_when_mig_is_on(
    usual: str, tmp_path: Path
) -> None:
    path = with_nvidia_smi(
        tmp_path,
        usual,
        f"""case $1 in
        --query-gpu=*) echo "0, {ROW.format(0)}, Enabled" ;;
        -L) echo "GPU 0: NVIDIA H100 (UUID: GPU-0)"
            echo "  MIG 1g.10gb     Device  0: (UUID: MIG-1)" ;;
        -q) printf '<gpu id="1">\\n<uuid>GPU-0</uuid>\\n<fan>1</fan>\\n<mig_device>
            <index>0</index>\\n<fb_memory_usage>\\n<total>9856 MiB</total>
            <used>12 MiB</used>\\n</fb_memory_usage>\\n</mig_device>\\n</gpu>\\n' ;;
        esac""",
    )

    probe = run(path)

    assert probe.gpus is not None
    (part,) = probe.gpus[0].slices
    assert (part.uuid, part.profile) == ("MIG-1", "1g.10gb")
    assert (part.memory_used_mib, part.memory_total_mib) == (12, 9856)


def test_lost_gpu_does_not_hide_the_others(usual: str, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for number in (1, 2, 3):
        (proc / "driver/nvidia/gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    path = with_nvidia_smi(
        tmp_path,
        usual,
        f"""case "$*" in
        *"-i 0000:01"*) echo "0, {ROW.format(1)}, Disabled" ;;
        *"-i 0000:03"*) echo "2, {ROW.format(3)}, Disabled" ;;
        *) echo "{LOST}"; exit 15 ;;
        esac""",
    )

    probe = run(path, environ={"RUNPOD_PROBE_PROC": str(proc)})

    assert probe.gpus is not None
    assert [(gpu.uuid, bool(gpu.problem)) for gpu in probe.gpus] == [
        ("GPU-1", False),
        ("GPU-3", False),
        (None, True),
    ]


def test_driver_that_knows_fewer_fields_is_asked_for_fewer(
    usual: str, tmp_path: Path
) -> None:
    path = with_nvidia_smi(
        tmp_path,
        usual,
        """case $1 in
        *mig.mode*) echo 'Field "mig.mode.current" is not a valid field'; exit 2 ;;
        --query-gpu=*) echo '0, GPU-1, 0:1:0.0, Tesla V100, 33, 1024, 16160, 45' ;;
        esac""",
    )

    probe = run(path)

    assert probe.gpus is not None
    assert probe.gpus[0].utilization_percent == 33.0
    assert [p for p in probe.problems if p.part == "gpus"] == []


def test_driver_that_is_not_loaded_is_the_reason(usual: str, tmp_path: Path) -> None:
    path = with_nvidia_smi(tmp_path, usual, "echo NVIDIA-SMI has failed; exit 9")

    probe = run(path)

    assert probe.gpus is None
    reasons = [p.reason for p in probe.problems if p.part == "gpus"]
    assert reasons == ["the NVIDIA driver is not loaded: NVIDIA-SMI has failed"]


@pytest.mark.parametrize("programs", [USUAL, (*NEEDED, "grep")])
def test_hanging_nvidia_smi_costs_its_time_limit_and_no_more(
    programs: tuple[str, ...], tmp_path: Path
) -> None:
    usual = path_of(tmp_path / "bin", programs)
    # longer than the limit; it ends by itself where there is no `timeout` to end it
    path = with_nvidia_smi(tmp_path, usual, "trap '' TERM; exec sleep 4")
    started = time.monotonic()

    probe = run(path, gpu_seconds=1)

    assert time.monotonic() - started < 3
    assert probe.memory.limit_bytes
    assert probe.gpus is None
    assert [p.reason for p in probe.problems if p.part == "gpus"] == [
        "nvidia-smi did not answer within 1 s: the driver may hang"
    ]


def test_devices_without_nvidia_smi_are_told(usual: str, tmp_path: Path) -> None:
    dev = write_tree(
        tmp_path / "dev", {"nvidia0": "", "nvidia1": "", "nvidiactl": "", "null": ""}
    )

    probe = run(usual, environ={"RUNPOD_PROBE_DEV": dev})

    assert probe.gpus is None
    assert "shows 2 GPU devices and has no nvidia-smi" in probe.problems[-1].reason


def processes_with(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text())
    return found


@pytest.mark.parametrize("nvidia_smi", ["exit 0", "exec sleep 60"])
def test_nothing_of_it_stays_on_the_pod(
    nvidia_smi: str, usual: str, tmp_path: Path
) -> None:
    path = with_nvidia_smi(tmp_path, usual, nvidia_smi)
    mark = str(tmp_path)

    run(path, gpu_seconds=1, environ={"PROBED_BY": mark})

    wait_for(lambda: not processes_with(mark), what="all its processes ended")
