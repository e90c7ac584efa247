#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Where a whole cluster keeps its checkpoints: two clusters in one place, a disk that is read-only or full, a limit on file
sizes."""
import json
import os
import unittest

from wsltest import Case, Cluster, main, program
from wsltest.namespaces import no_mounts
from wsltest.pictures import make_folder

JOB = """name: same
kind: pretrain
data: {data}
model: {{depths: [1], groups: 4, width: 2, image_size: 32}}
batch: 8
max_steps: {steps}
evaluate_every_epochs: 1000
checkpoint: {{every_steps: {every}}}
seed: {seed}
"""


class Checkpoints(Case):
    def data_set(self):
        make_folder(os.path.join(self.folder, "source"), ["red", "green", "blue"], 12)
        done = self.cluster.wslctl("data", "import", "-q", "--folder", os.path.join(self.folder, "source"), "--into",
                                   os.path.join(self.folder, "data"))
        self.assertEqual(done.returncode, 0, done.stderr)
        return os.path.join(self.folder, "data")

    def start(self, cluster, *prefix):
        """A coordinator, and a worker that keeps its checkpoints in self.folder/shared."""
        cluster.start_coordinator("--backoff-ms", "50")
        cluster.start("worker-a", [*prefix, program("wsl-worker"), "--coordinator", cluster.address, "--state",
                                   cluster.path("worker-a"), "--name", "a", "--slots", "1", "--trainer",
                                   program("wsl-trainer"), "--checkpoints", os.path.join(self.folder, "shared")])

    def submit(self, cluster, **values):
        path = cluster.path("job.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(JOB.format(**{"data": self.data, "steps": 6, "every": 2, "seed": 1, **values}) + values.get("more", ""))
        done = cluster.wslctl("submit", "-q", "-f", path)
        self.assertEqual(done.returncode, 0, done.stderr)

    def job(self, cluster):
        document = json.loads(cluster.wslctl("get", "1", "-o", "json").stdout)
        return document["jobs"][0] if "jobs" in document else document["job"]

    def end(self, cluster, seconds=120):
        cluster.wait_for("the job's end", lambda: self.job(cluster)["state"] in ("succeeded", "failed", "cancelled"), seconds)
        return self.job(cluster)

    def test_two_clusters_in_one_place(self):
        """Each has a job 1 of the same name: neither touches the other's checkpoints."""
        self.data = self.data_set()
        os.makedirs(os.path.join(self.folder, "other"))
        other = Cluster(os.path.join(self.folder, "other"))
        self.start(self.cluster)
        self.submit(self.cluster)
        first = self.end(self.cluster)
        self.assertEqual(first["state"], "succeeded")
        before = {name: os.stat(os.path.join(first["checkpoint"], name)).st_mtime_ns for name in os.listdir(first["checkpoint"])}
        try:
            self.start(other)
            self.submit(other, steps=9, every=3, seed=9)
            second = self.end(other)
        finally:
            other.kill_all()
        self.assertEqual(second["state"], "succeeded")
        self.assertEqual((first["id"], first["spec"]["name"]), (second["id"], second["spec"]["name"]))
        self.assertNotEqual(first["uid"], second["uid"])
        for job, steps in ((first, ["000000000004", "000000000006"]), (second, ["000000000006", "000000000009"])):
            folder = os.path.dirname(job["checkpoint"])
            self.assertEqual(os.path.basename(folder), f"1-same-{job['uid'][:8]}")
            self.assertEqual(sorted(os.listdir(folder)), ["step-" + step for step in steps])
            with open(os.path.join(job["checkpoint"], "manifest.json"), encoding="utf-8") as f:
                self.assertEqual(json.load(f)["job_uid"], job["uid"])
        self.assertEqual(before, {name: os.stat(os.path.join(first["checkpoint"], name)).st_mtime_ns for name in before})

    def fails_before_the_first_step(self, prefix, *words):
        """One error after the other, none of which costs a step."""
        self.data = self.data_set()
        os.makedirs(os.path.join(self.folder, "shared"))
        self.start(self.cluster, *prefix)
        self.submit(self.cluster, more="restart: {max_machine_errors: 1}\n")
        job = self.end(self.cluster)
        self.assertEqual((job["state"], job["restarts"]), ("failed", 1))
        self.assertIsNone(job.get("progress"))
        self.assert_one_line(job["reason"], "no checkpoint could be written: ")
        self.assert_one_line(job["detail"], "no checkpoint could be written: ", *words)
        print(f"# {job['detail']}")

    def mounted(self, options):
        """What runs a program with a small disk in the place of the checkpoints, where only it sees it."""
        return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs "$1" && shift && exec "$@"', "sh",
                os.path.join(self.folder, "shared"))

    @unittest.skipIf(no_mounts(), no_mounts())
    def test_a_disk_that_is_read_only(self):
        self.fails_before_the_first_step(self.mounted("size=2m,ro"), os.path.join(self.folder, "shared"),
                                         "Read-only file system")

    @unittest.skipIf(no_mounts(), no_mounts())
    def test_a_disk_that_is_full(self):
        self.fails_before_the_first_step(self.mounted("size=100k"), os.path.join(self.folder, "shared"),
                                         "a checkpoint takes ", " MB are free")

    def test_a_limit_on_file_sizes(self):
        """The trainer is a child of the worker's, and the limit is its too."""
        self.fails_before_the_first_step(("prlimit", "--fsize=70000:70000"), "the limit on file sizes (ulimit -f) is 0.07 MB")
        self.assertNotIn("XFSZ", self.cluster.wslctl("describe", "1").stdout)


main()
