# SPDX-License-Identifier: Apache-2.0
"""The paper's world: 336 ranks, as on its 42 machines of 8 GPUs, here 42 worker daemons of one machine and a tiny net.
And what ranks must agree on before they train together."""
import json
import os
import signal
import unittest

from wsltest import Case, main
from wsltest.pictures import make_folder
from wsltest.rpc import job_pb2, job_pb2_grpc, open_channel
from wsltest.world import import_tiny, peak_memory, start_workers, tiny_job

RANKS = 336
STEPS = 60  # so many that a test among 336 busy trainers sees the first checkpoint long before the end
MEMORY_EACH = 20 << 20
SECONDS = 600  # of one phase: minutes on a machine that does other things too


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable"))


class WorldCase(Case):
    def connect(self):
        self.channel = open_channel(self.cluster.address)
        self.addCleanup(self.channel.close)
        self.jobs = job_pb2_grpc.JobServiceStub(self.channel)

    def submit(self, spec):
        return self.jobs.Submit(job_pb2.SubmitRequest(spec=spec), timeout=30).job.id

    def get(self, job):
        return self.jobs.Get(job_pb2.GetJobRequest(job=str(job)), timeout=60)

    def wait_job(self, what, job, condition, seconds=SECONDS):
        def look():
            got = self.get(job).job
            if got.state == job_pb2.FAILED:
                raise AssertionError(f"the job failed: {got.detail or got.reason}")
            return condition(got) and got
        return self.wait_for(what, look, seconds)

    def events(self, job, kind):
        return [e.message for e in self.get(job).events if e.kind == kind]


class World(WorldCase):
    def explain(self, result):
        """336 logs say nothing more than the coordinator's and the first worker's."""

    @unittest.skipUnless(memory_available() > RANKS * MEMORY_EACH, f"needs {RANKS * MEMORY_EACH >> 30} GiB of memory")
    def test_336_ranks_train_lose_one_and_train_to_the_end(self):
        self.cluster.start_coordinator("--log-level", "warn")
        data = import_tiny(self.cluster)
        start_workers(self.cluster, RANKS)
        self.connect()
        job = self.submit(tiny_job("paper", data, RANKS, max_steps=STEPS, checkpoint=job_pb2.Checkpointing(every_steps=10, keep=2)))
        before = self.wait_job("a checkpoint", job, lambda j: j.checkpoint_step >= 10)
        self.assertEqual(len(before.ranks), RANKS)
        os.kill(before.ranks[17].pid, signal.SIGKILL)
        after = self.wait_job("the next generation", job, lambda j: j.generation > before.generation)
        self.assertGreaterEqual(after.checkpoint_step, 10)
        text = self.cluster.wslctl("describe", job, seconds=120).stdout
        ended = self.wait_job("the end of the job", job, lambda j: j.state == job_pb2.SUCCEEDED)
        self.assertEqual((ended.progress.step, ended.restarts), (STEPS, 1))
        self.check_events(job)
        self.check_texts(text, job)
        peak = peak_memory(self.cluster.coordinator.pid)
        print(f"coordinator: {peak >> 20} MiB at most", flush=True)
        self.assertLess(peak, 64 << 20)

    def check_events(self, job):
        """Two generations of 336 ranks are two events."""
        ends = self.events(job, "trainers_exited")
        self.assertEqual(len(ends), 2, ends)
        self.assertRegex(ends[0], r"rank 17 of generation 1 on w02 exited: killed by signal 9 \(KILL\).*; 335 more exited ")
        self.assertEqual(ends[1], f"all 336 ranks of generation 2 finished: {STEPS} steps")
        self.assertLess(len(self.get(job).events), 40)

    def check_texts(self, text, job):
        """A line for each worker, not for each rank; every rank when asked for."""
        lines = text.split("Trainers:")[1].split("Settings:")[0].splitlines()
        self.assertIn(" 336, ", lines[0])
        self.assertEqual(len(lines), 2 + 42, text)
        self.assertRegex(lines[2], r"^ +0-7 +w00 ")
        self.assertRegex(lines[43], r"^ +328-335 +w41 ")
        self.assertLess(max(map(len, lines)), 100)
        self.assertIn("336 trainers on 42 workers, w00 to w41", text)
        wide = self.cluster.wslctl("describe", job, "-o", "wide", seconds=120).stdout
        self.assertEqual(len(wide.split("Trainers:")[1].split("Settings:")[0].splitlines()), 2 + RANKS)
        document = json.loads(self.cluster.wslctl("describe", job, "-o", "json", seconds=120).stdout)
        self.assertEqual(len(document["job"]["ranks"]), RANKS)


class Agreement(WorldCase):
    """Workers a and b have something different at the same path, as on two machines with local disks: their trainers see
    the path through mount namespaces of their own."""

    def import_into(self, name, labels, each, seed):
        source, data = os.path.join(self.folder, f"images-{name}"), os.path.join(self.folder, f"data-{name}")
        make_folder(source, labels, each, seed)
        done = self.cluster.wslctl("data", "import", "--folder", source, "--name", name, "--into", data, "--heldout", "0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        return data

    def start(self, **datas):
        """A worker for each, whose trainers find that data set at self.data."""
        self.cluster.start_coordinator()
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.data)
        for name, data in datas.items():
            trainer = os.path.join(self.folder, f"trainer-{name}")
            with open(trainer, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\n"
                        f"exec unshare -m sh -c 'mount --bind {data} {self.data} && exec \"$0\" \"$@\"' "
                        f"{self.cluster.program('wsl-trainer')} \"$@\"\n")
            os.chmod(trainer, 0o755)
            self.cluster.start_worker(name, "--trainer", trainer)
        self.connect()

    def expect_refusal(self, *words, **changes):
        spec = tiny_job("odd", self.data, 2, **changes)
        spec.restart.max_user_errors = 0
        job = self.submit(spec)
        got = self.wait_for("the end of the job", lambda: (j := self.get(job).job).state == job_pb2.FAILED and j, 120)
        print(got.detail or got.reason, flush=True)
        self.assertEqual((got.generation, got.progress.step), (1, 0))
        for word in words:
            self.assertIn(word, got.detail or got.reason)

    def setUp(self):
        if os.geteuid() != 0 or os.system("unshare -m mount --bind /tmp /tmp 2> /dev/null") != 0:
            self.skipTest("needs root and a mount namespace: each worker has its own file at one path")

    def test_data_sets_of_the_same_size_that_differ(self):
        self.start(a=self.import_into("one", ["x", "y"], 20, 1), b=self.import_into("two", ["x", "y"], 20, 2))
        self.expect_refusal("data set differs: fingerprint ", " on a (rank 0), fingerprint ", " on b (rank 1); ",
                            "the same data set at the job's data path")

    def test_data_sets_with_other_classes(self):
        """Ended in an abort of Gloo and restarts without end."""
        self.start(a=self.import_into("one", ["x", "y"], 20, 1), b=self.import_into("three", ["x", "y", "z"], 14, 1))
        self.expect_refusal("data set differs: ", " on a (rank 0)", " on b (rank 1)")


main()
