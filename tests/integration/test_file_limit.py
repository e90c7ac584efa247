#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A limit on file sizes (ulimit -f) below what is written: an error with one line in every program, and nothing half
written is left. Without care the kernel ends the process with SIGXFSZ."""
import os
import resource
import subprocess
import unittest

from wsltest import Case, main, program
from wsltest.pictures import make_folder

LABELS = ["red", "green", "blue"]
WORDNET = "/usr/share/wordnet"


class FileLimit(Case):
    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def data_set(self):
        make_folder(self.path("source"), LABELS, 24)
        done = self.cluster.wslctl("data", "import", "--folder", self.path("source"), "--into", self.path("data"))
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path("data")

    def checkpoint(self):
        subprocess.run([program("model_tool"), "checkpoint", self.path("checkpoints"), "--depths", "1", "--classes", "5"],
                       check=True, capture_output=True)
        return self.path("checkpoints")

    def limited(self, size, *words):
        """wslctl fails with one line that names the limit, and leaves no new entry in out/ but those named."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        os.makedirs(self.path("out"), exist_ok=True)
        before = set(os.listdir(self.path("out")))
        done = self.cluster.wslctl(*words, preexec_fn=limit)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assert_one_line(done.stderr, "limit")
        print(f"# {' '.join(words[:2])}: {done.stderr.strip()}")
        return sorted(set(os.listdir(self.path("out"))) - before)

    def test_wslctl(self):
        data, checkpoints = self.data_set(), self.checkpoint()
        for words, target in [(("model", "export", checkpoints, "--into"), "m.safetensors"),
                              (("data", "export", data, "--to"), "folder"),
                              (("data", "export", data, "--split", "train", "--to"), "a.tar"),
                              (("data", "sample", data, "--into"), "sheet.html"),
                              (("data", "split", data, "--share", "0.5", "--into"), "half")]:
            with self.subTest(words=words[:2]):
                self.assertEqual(self.limited(256, *words, self.path("out", target)), [])

    def test_an_import_goes_on_without_the_limit(self):
        make_folder(self.path("source"), LABELS, 24)
        command = ("data", "import", "-q", "--folder", self.path("source"), "--into", self.path("out", "data"))
        self.assertEqual(self.limited(20000, *command), ["data.partial"])
        done = self.cluster.wslctl(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(self.path("out")), ["data"])

    @unittest.skipUnless(os.path.isdir(WORDNET), "wordnet is not installed")
    def test_a_vocabulary(self):
        data = self.data_set()
        self.assertEqual(self.limited(8, "tags", "vocabulary", data, "--wordnet", WORDNET, "--into",
                                      self.path("out", "v.tsv")), [])


main()
