# SPDX-License-Identifier: Apache-2.0
"""Many ranks on one machine: worker daemons of several slots, and a job of a tiny net that has one thread a rank."""
import os

from .pictures import make_folder
from .specs import job_spec

SLOTS = 8  # of a worker, as in the paper: 42 machines of 8 GPUs


def import_tiny(cluster, images=64):
    """A data set of two classes; its folder."""
    source, data = cluster.path("images"), cluster.path("data")
    make_folder(source, ["a", "b"], images // 2)
    done = cluster.wslctl("data", "import", "--folder", source, "--name", "tiny", "--into", data, "--heldout", "0.1")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return data


def start_workers(cluster, ranks, slots=SLOTS):
    """As many as it takes, and waits until all are there."""
    names = [f"w{i:02d}" for i in range((ranks + slots - 1) // slots)]
    for name in names:
        worker = cluster.start_worker(name, "--log-level", "warn", slots=slots)
        os.setpriority(os.PRIO_PROCESS, worker.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5))  # who watches hundreds of trainers must come to its turn
    return names


def tiny_job(name, data, ranks, **changes):
    from .rpc import job_pb2

    return job_spec(name, data, **{
        "model": job_pb2.Model(depths=[1], groups=1, width=4, image_size=32), "world": ranks, "batch": 2 * ranks,
        "threads": 1, "loader_threads": 1, "epochs": 0, "evaluate_every_epochs": 1000000, "max_steps": 20, **changes})


def own_memory(pid):
    """Bytes that the process alone holds: what one more of it would cost."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return sum(int(line.split()[1]) << 10 for line in f if line.startswith(("Private_Clean:", "Private_Dirty:")))


def peak_memory(pid):
    """The most bytes that were resident."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM:"))


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
