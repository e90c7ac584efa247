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
        self.assertEqual(done.stdout.splitlines()[-1], "5 passed, 0 failed, 3 skipped", done.stdout)
        for step in ("ops", "curves", "bits", "ranks", "speed 32x4d"):
            self.assertIn(f"PASSED  {step} (", done.stdout)
        self.assertIn("SKIPPED plans (0 s): only the backend cuda has plans", done.stdout)
        with open(os.path.join(self.folder, "out", "results.json"), encoding="utf-8") as f:
            self.assertGreater(json.load(f)["models"]["32x4d"]["ours"]["images_per_second"], 0)

    def test_a_failing_step_is_counted(self):
        os.mkdir(os.path.join(self.folder, "bad"))
        program = os.path.join(self.folder, "bad", "gpu_ops")
        with open(program, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\necho 'y is off by 3'\nexit 1\n")
        os.chmod(program, 0o755)
        done = self.run_gpu("--backend", "cpu", "--only", "ops,bits", "--programs", "bad")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("status 1: y is off by 3", done.stdout)
        self.assertIn("SKIPPED bits (0 s): gpu_train is not built", done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 1 failed, 1 skipped")

    def test_no_device(self):
        done = self.run_gpu(PATH="/nowhere")
        self.assertEqual(done.returncode, 77, done.stdout + done.stderr)
        self.assertIn("no device: nvidia-smi is not there", done.stdout)


main()
