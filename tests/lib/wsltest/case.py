# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import sys
import tempfile
import unittest

from .cluster import Cluster


class Case(unittest.TestCase):
    """A unittest case with self.folder (temporary) and self.cluster."""

    maxDiff = None

    def run(self, result=None):
        result = result if result is not None else self.defaultTestResult()
        before = len(result.failures) + len(result.errors)
        self.folder = tempfile.mkdtemp(prefix="wsl-test-")
        self.cluster = Cluster(self.folder)
        try:
            super().run(result)
            if len(result.failures) + len(result.errors) > before:
                self.explain(result)
        finally:
            self.cluster.kill_all()
            shutil.rmtree(self.folder, ignore_errors=True)
        return result

    def explain(self, result):
        """The daemons' last words belong to the failure."""
        for rows in (result.errors, result.failures):
            if rows and rows[-1][0].id().startswith(self.id()):
                rows[-1] = (rows[-1][0], rows[-1][1] + "\n" + self.cluster.tails() + "\n")
                return

    def wait_for(self, what, condition, seconds=60):
        return self.cluster.wait_for(what, condition, seconds)

    def assert_one_line(self, text, *words):
        """An error message: one line that has these words."""
        self.assertEqual(len(text.strip().splitlines()), 1, f"not one line: {text!r}")
        for word in words:
            self.assertIn(word, text)


def main():
    def interrupted(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, interrupted)  # the end of meson's patience: still clean up
    # Our subprocesses exec at once; gRPC's own fork handling would only get in their way.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
