#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/gpu/run and its programs, tried on the CPU: they must work when a machine with a GPU is there at last."""
import json
import os
import subprocess
import sys

from wsltest import Case, main

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "gpu", "run")


class GpuPrograms(Case):
    def run_gpu(self, *words, **environment):
        return subprocess.run([sys.executable, RUN, *words], text=True, capture_output=True, cwd=self.folder, check=False,
                              timeout=250, env={**os.environ, **environment})

    def test_all_steps_on_the_cpu(self):
        build = os.environ["WSL_BUILD"]
        done = self.run_gpu("--backend", "cpu", "--quick", "--programs", f"{build}/tests", "--programs",
                            f"{build}/kernels/model", "--output", "out")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.splitlines()[-1], "6 passed, 0 failed, 3 skipped", done.stdout)
        for step in ("ops", "curves", "bits", "ranks", "ranks-bf16", "speed 32x4d"):
            self.assertIn(f"PASSED  {step} (", done.stdout)
        self.assertIn("SKIPPED plans (0 s): only the backend cuda has plans", done.stdout)
        with open(os.path.join(self.folder, "out", "results.json"), encoding="utf-8") as f:
            self.assertGreater(json.load(f)["models"]["32x4d"]["ours"]["images_per_second"], 0)

    def test_a_failing_step_is_counted(self):
        self.script("bad", "gpu_ops", "echo 'y is off by 3'\nexit 1")
        done = self.run_gpu("--backend", "cpu", "--only", "ops,bits", "--programs", "bad")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("status 1: y is off by 3", done.stdout)
        self.assertIn("SKIPPED bits (0 s): gpu_train is not built", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 1 failed, 1 skipped")

    def test_what_hangs_or_breaks_stops_nothing(self):
        self.script("bad", "gpu_ops", "echo begun; sleep 1000")
        self.script("bad", "gpu_train", "kill -SEGV $$")
        os.makedirs(os.path.join(self.folder, "out", "bits.log"))  # not to be written
        done = self.run_gpu("--backend", "cpu", "--only", "curves,bits,ops,ranks", "--programs", "bad", "--output", "out",
                            "--seconds", "15")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("FAILED  curves (0 s): status -11: no output", done.stdout)
        self.assertIn("FAILED  bits (0 s): IsADirectoryError: ", done.stdout)
        self.assertIn("SKIPPED ops (15 s): no time left", done.stdout)
        self.assertIn("SKIPPED ranks (0 s): gpu_ranks is not built", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 2 failed, 2 skipped")
        with open(os.path.join(self.folder, "out", "ops.log"), encoding="utf-8") as f:
            self.assertEqual(f.read().splitlines()[1:], ["begun", "", "killed after 15 s: out of time"])
        with open(os.path.join(self.folder, "out", "table.txt"), encoding="utf-8") as f:
            self.assertEqual(len(f.read().splitlines()), 5)

    def script(self, folder, name, text):
        os.makedirs(os.path.join(self.folder, folder), exist_ok=True)
        path = os.path.join(self.folder, folder, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)

    def test_all_steps_of_a_gpu(self):
        """What this script makes of the programs' answers on a machine with an H200: they are faked."""
        self.script("smi", "nvidia-smi", "echo 'NVIDIA H200, 143771'")
        self.script("faked", "gpu_ops", "echo fine")
        self.script("faked", "gpu_train", """
            case "$*" in *--cuda-graphs*) graphs=1;; *) graphs=0;; esac
            echo "equal bits, checksum of weights and momentum 1234abc$graphs"
            """)
        self.script("faked", "gpu_ranks", "echo \"$*\"")
        self.script("faked", "gpu_deviceprop", "echo 'a warning'; echo '{\"maxGridSize\": [1, 2]}'")
        self.script("faked", "train_step", """
            while [ "$1" != --batch ]; do shift; done
            if [ "$2" -gt 256 ]; then
                echo "train_step: the activations need 150.00 GiB, and 140.00 GiB of the GPU's 140.40 GiB are free"
                exit 1
            fi
            echo "batch=$2 images_per_second=2000.5 best=2100.0"
            """)
        path = os.path.join(self.folder, "smi") + ":" + os.environ["PATH"]
        done = self.run_gpu("--programs", "faked", "--output", "out", "--torch", "none", PATH=path)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[-1], "11 passed, 1 failed, 0 skipped", done.stdout + done.stderr)
        self.assertIn("--backend cuda --world 2 --gpus 1 --gradient-dtype bf16", lines)
        self.assertIn("PASSED  speed 32x4d (0 s): 2000 images/s, batch 256", done.stdout)
        self.assertIn("FAILED  graphs (0 s): other bits with graphs: checksums 1234abc0 and 1234abc1", done.stdout)
        self.assertIn("device.json, 0 plan files", done.stdout)
        self.assertTrue(any(l.startswith("32x48d ") and " 343.1% " in l for l in lines), done.stdout)
        with open(os.path.join(self.folder, "out", "device.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f), {"maxGridSize": [1, 2]})
        with open(os.path.join(self.folder, "out", "results.json"), encoding="utf-8") as f:
            results = json.load(f)
        self.assertEqual(results["device"], "NVIDIA H200")
        self.assertEqual(results["models"]["32x8d"]["ours"]["batch"], 256)
        self.assertEqual(results["graphs"], {"batch": 16, "with": 2000.5, "without": 2000.5})

    def test_an_old_driver_is_named(self):
        self.script("smi", "nvidia-smi", "echo 'NVIDIA A100, 81920'")
        path = os.path.join(self.folder, "smi") + ":" + os.environ["PATH"]
        for said, words in (("cuda 13.0 driver 12.4", ["supports CUDA 12.4", "built for CUDA 13.0", "580.65.06 or newer"]),
                            ("cuda 13.0 driver 0.0", ["cannot be loaded", "580.65.06 or newer"]),
                            ("cuda 14.1 driver 13.3", ["supports CUDA 13.3", "for CUDA 14"])):
            self.script("fake", "gpu_deviceprop", f"echo '{said}'")
            done = self.run_gpu("--programs", "fake", PATH=path)
            self.assertEqual(done.returncode, 77, done.stdout + done.stderr)
            self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 0 failed, 0 skipped")
            self.assert_one_line(done.stdout.splitlines()[0], "no device:", *words)
        self.script("fake", "gpu_deviceprop", "echo 'cuda 13.0 driver 13.1'")
        done = self.run_gpu("--programs", "fake", "--only", "bits,ranks", PATH=path)
        self.assertEqual(done.returncode, 77, "nothing ran: " + done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 0 failed, 2 skipped")

    def test_no_device(self):
        done = self.run_gpu(PATH="/nowhere")
        self.assertEqual(done.returncode, 77, done.stdout + done.stderr)
        self.assertIn("no device: nvidia-smi is not there", done.stdout)


main()
