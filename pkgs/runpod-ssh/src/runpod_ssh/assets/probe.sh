#!/bin/sh
# Tell what this pod has and uses, as raw figures; nothing is computed here.
#
#   probe.sh GPU_SECONDS DISK_SECONDS PATH...
#
# Answers lines of two kinds: `FILE:TEXT`, a line of a file of /proc or of the cgroup,
# and `#WORD ...`, a mark; what follows some marks is the output of df or nvidia-smi.
# `#end` closes a complete answer. What can hang is given a time limit, and is then left
# behind: a process stuck in the kernel cannot even be killed. A limit of 0 leaves that
# part out. Nothing is written to disk.
#
# RUNPOD_PROBE_PROC, _CGROUP and _DEV stand in for /proc, /sys/fs/cgroup and /dev.
set -u
gpu_seconds=$1 disk_seconds=$2
shift 2
# nothing is said there, and what is left behind must not keep it open: sshd would wait
exec 2>/dev/null
PATH=$PATH:/usr/sbin:/sbin:/usr/local/nvidia/bin
LC_ALL=C
export PATH LC_ALL
proc=${RUNPOD_PROBE_PROC:-/proc}
cgroup=${RUNPOD_PROBE_CGROUP:-/sys/fs/cgroup}
dev=${RUNPOD_PROBE_DEV:-/dev}
gpu_fields=index,uuid,pci.bus_id,name,driver_version,utilization.gpu,utilization.memory,memory.used,memory.total,temperature.gpu,power.draw,power.limit,mig.mode.current
# what every driver of the last ten years knows: one unknown name fails the whole query
old_gpu_fields=index,uuid,pci.bus_id,name,utilization.gpu,memory.used,memory.total,temperature.gpu

# Print the lines of files, each line with its file's name.
show() {
    if [ "$has_grep" ]; then
        grep '' "$@" /dev/null
        return
    fi
    for file; do
        [ -r "$file" ] || continue
        while IFS= read -r line || [ "$line" ]; do
            printf '%s:%s\n' "$file" "$line"
        done <"$file"
    done
}

# The folder of a controller: the one of this container where others show as well.
find_folder() {
    folder=$cgroup/$1
    while IFS=: read -r _ controllers path; do
        case ,$controllers, in
        *",${1:-},"*)
            case $path in
            / | /init.scope) ;;
            *) [ ! -d "$folder$path" ] || folder=$folder$path ;;
            esac
            ;;
        esac
    done <"$proc/1/cgroup"
}

tell_basics() {
    if command -v grep >/dev/null; then has_grep=yes; else has_grep=; fi
    cd "$proc" && show uptime loadavg meminfo net/dev self/status 1/stat \
        sys/kernel/hostname
    if [ -e "$cgroup/cgroup.controllers" ]; then
        printf '#cgroup 2\n'
        folder=$cgroup
        # only a container's own folder has a limit; the machine's top folder has none
        [ -e "$folder/memory.max" ] || find_folder ''
        cd "$folder" && show cpu.max cpu.stat memory.max memory.current memory.stat \
            memory.events pids.current pids.max
    elif [ -d "$cgroup/memory" ] || [ -d "$cgroup/cpu" ]; then
        printf '#cgroup 1\n'
        # this file stands in the machine's top folder alone: it counts no kernel memory
        [ ! -e "$cgroup/memory/release_agent" ] || printf '#top memory\n'
        find_folder memory && cd "$folder" && show memory.limit_in_bytes \
            memory.usage_in_bytes memory.stat memory.oom_control
        find_folder cpu && cd "$folder" && show cpu.cfs_quota_us cpu.cfs_period_us \
            cpu.stat
        find_folder cpuacct && cd "$folder" && show cpuacct.usage
        find_folder pids && cd "$folder" && show pids.current pids.max
    else
        printf '#cgroup none\n'
    fi
}

# Print what a function prints, until it is done or the time is over: `#late`.
bounded() {
    seconds=$1 name=$2
    shift 2
    if [ "$seconds" -eq 0 ]; then
        printf '#skipped %s\n' "$name"
        return
    fi
    {
        (
            nap=
            trap '[ -z "$nap" ] || kill "$nap"; exit' TERM
            sleep "$seconds" &
            nap=$!
            wait "$nap"
            printf '#late %s %s\n' "$name" "$seconds"
        ) &
        printf '#worker %s\n' "$!"
        (
            "$@"
            printf '#done\n'
        ) &
        printf '#worker %s\n' "$!"
    } | {
        workers=
        while IFS= read -r line; do
            case $line in
            '#worker '*) workers="$workers ${line#* }" ;;
            '#done') break ;;
            '#late '*)
                printf '%s\n' "$line"
                break
                ;;
            *) printf '%s\n' "$line" ;;
            esac
        done
        # shellcheck disable=SC2086  # a list of numbers
        kill $workers
    }
}

# Run a program that may hang; killed a second after nobody waits for it any more.
limited() {
    limit=$(($1 + 1))
    shift
    if ! command -v timeout >/dev/null; then
        "$@"
    elif timeout 9 true; then
        timeout -s KILL "$limit" "$@"
    else
        # as busybox had it before 1.30
        timeout -t "$limit" -s KILL "$@"
    fi
}

tell_disks() {
    for path; do
        [ -d "$path" ] || continue
        printf '#disk %s\n' "$path"
        limited "$disk_seconds" df -Pk "$path"
        printf '#status disk %s\n' "$?"
    done
}

# Ask for fields of every GPU, or of one; nvidia-smi tells its errors on stdout.
query_gpus() {
    fields=$1
    shift
    printf '#gpus %s\n' "$fields"
    answer=$(limited "$gpu_seconds" nvidia-smi "--query-gpu=$fields" \
        --format=csv,noheader,nounits "$@" 2>&1)
    status=$?
    printf '%s\n#status gpus %s\n' "$answer" "$status"
}

tell_gpus() {
    for device in "$dev"/nvidia[0-9]*; do
        [ ! -e "$device" ] || printf '#device %s\n' "${device##*/}"
    done
    if ! command -v nvidia-smi >/dev/null; then
        printf '#missing nvidia-smi\n'
        return
    fi
    query_gpus "$gpu_fields"
    case $status in
    0 | 9 | 12) ;;
    2) query_gpus "$old_gpu_fields" ;;
    *)
        # one GPU that is lost fails the query for all: ask for each
        for gpu in "$proc"/driver/nvidia/gpus/*; do
            [ ! -d "$gpu" ] || query_gpus "$gpu_fields" -i "${gpu##*/}"
        done
        ;;
    esac
    case $answer in
    *', Enabled'*)
        printf '#slices\n'
        limited "$gpu_seconds" nvidia-smi -L 2>&1
        limited "$gpu_seconds" nvidia-smi -q -x |
            sed -n '/<gpu id=/p; /<uuid>/p; /<mig_device>/,/<\/mig_device>/p'
        printf '#status slices 0\n'
        ;;
    esac
}

tell_gpu_processes() {
    command -v nvidia-smi >/dev/null || return 0
    printf '#gpu_processes\n'
    limited "$gpu_seconds" nvidia-smi \
        --query-compute-apps=gpu_uuid,pid,process_name,used_memory \
        --format=csv,noheader,nounits 2>&1
    printf '#status gpu_processes %s\n' "$?"
}

printf '#probe 1\n'
# all at the same time; what each writes waits in its pipe for its turn
bounded "$gpu_seconds" gpus tell_gpus </dev/null | {
    bounded "$gpu_seconds" gpu_processes tell_gpu_processes </dev/null | {
        bounded "$disk_seconds" disks tell_disks "$@" </dev/null | {
            tell_basics </dev/null
            cat
        }
        cat
    }
    cat
}
printf '#end\n'
