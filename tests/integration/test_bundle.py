#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tarball of deploy/bundle on a machine without our libraries: they are hidden from its programs in a mount namespace
(root only), and nothing in the environment helps."""
import os
import re
import shutil
import subprocess
import sys

from wsltest import Case, main, program
from wsltest.namespaces import no_mounts

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# Arguments: files to hide, "--", a command. Our programs and glibc are all that has to work afterwards.
HIDE = """while [ "$1" != -- ]; do mount --bind /dev/null "$1" || exit 99; shift; done; shift; exec env -i PATH=/usr/bin:/bin "$@" """


class Bundle(Case):
    def setUp(self):
        tarball = os.path.join(self.folder, "wsl.tar.gz")
        done = subprocess.run([os.path.join(ROOT, "deploy", "bundle"), "--build", os.environ["WSL_BUILD"], "--output", tarball],
                              text=True, capture_output=True, check=False, timeout=250)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertLess(os.path.getsize(tarball), 60e6)
        subprocess.run(["tar", "-xzf", tarball, "-C", self.folder], check=True)
        self.top, = [os.path.join(self.folder, n) for n in os.listdir(self.folder)
                     if os.path.isdir(os.path.join(self.folder, n)) and n.startswith("wsl-")]
        names = os.listdir(os.path.join(self.top, "lib"))
        self.hidden = sorted({os.path.realpath(os.path.join(folder, name)) for name in names
                              for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib")
                              if os.path.exists(os.path.join(folder, name))})
        if no_mounts():
            print(f"the system's own libraries stay visible ({no_mounts()})")
            self.hidden = []

    def alone(self, *words):
        """A command of the bundle, without the system's copies of its libraries."""
        command = [os.path.join(self.top, words[0]), *map(str, words[1:])]
        if not self.hidden:
            return ["env", "-i", "PATH=/usr/bin:/bin", *command]
        return ["unshare", "-m", "sh", "-c", HIDE, "sh", *self.hidden, "--", *command]

    def run_ok(self, *words):
        done = subprocess.run(self.alone(*words), text=True, capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_bundle(self):
        if self.hidden:
            self.assertTrue(any("libgrpc" in path for path in self.hidden), self.hidden)
            wrong = subprocess.run(["unshare", "-m", "sh", "-c", HIDE, "sh", *self.hidden, "--", program("wslctl"), "version"],
                                   capture_output=True, check=False)
            self.assertNotEqual(wrong.returncode, 0, "the libraries are not hidden")
        version = re.search(r"wsl-([\d.]+)-x86_64$", self.top)[1]
        self.assertIn(version, self.run_ok("bin/wslctl", "version"))
        for name in ("wsl-coordinator", "wsl-worker", "wsl-trainer"):
            self.assertIn(version, self.run_ok(f"bin/{name}", "--version"))
        self.assertIn("equal bits", self.run_ok("libexec/gpu_train", "--backend", "cpu", "--twice", "--width", 1,
                                                "--image", 32, "--batch", 4, "--steps", 3))
        with open(os.path.join(self.top, "README.md"), encoding="utf-8") as f:
            readme = f.read()
        self.assertNotIn("@", readme)
        self.assertRegex(readme, r"glibc 2\.\d+ or newer")
        self.check_system()

    def check_system(self):
        port = os.path.join(self.folder, "port")
        self.cluster.start("coordinator", self.alone("bin/wsl-coordinator", "--listen", "127.0.0.1:0", "--port-file", port,
                                                     "--state", os.path.join(self.folder, "coordinator")))
        self.wait_for("the coordinator's port", lambda: os.path.exists(port) and os.path.getsize(port) > 0)
        with open(port, encoding="ascii") as f:
            address = "127.0.0.1:" + f.read().strip().rpartition(":")[2]
        self.cluster.start("worker", self.alone("bin/wsl-worker", "--coordinator", address, "--name", "alone", "--state",
                                                os.path.join(self.folder, "worker")))
        self.wait_for("the worker to be ready", lambda: re.search(
            "alone.*ready", self.run_ok("bin/wslctl", "--server", address, "nodes")))


def reason_to_skip():
    for tool in ("patchelf", "objdump", "strip", "unshare"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    linked = subprocess.run(["ldd", program("wslctl")], capture_output=True, text=True, check=True).stdout
    if re.search(r"lib[at]san", linked):
        return "programs with a sanitizer do not go into bundles"
    return None


if reason_to_skip():
    print(f"skipped: {reason_to_skip()}")
    sys.exit(77)
main()
