# SPDX-License-Identifier: Apache-2.0
"""Starts and ends the daemons of one test."""
import glob
import os
import signal
import subprocess

from .wait import wait_for

TAIL_LINES = 40


def build_folder():
    folder = os.environ.get("WSL_BUILD")
    if not folder:
        raise RuntimeError("WSL_BUILD is not set: give it the build folder, for example build/check")
    return os.path.abspath(folder)


def program(name):
    """The path of one of our programs in the build folder."""
    found = glob.glob(os.path.join(build_folder(), "*", "*", name))
    if not found:
        raise RuntimeError(f"{name} is not built in {build_folder()}")
    return found[0]


def tail(path, lines=TAIL_LINES):
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - 65536))
            return b"\n".join(f.read().splitlines()[-lines:]).decode(errors="replace")
    except OSError as error:
        return f"({error})"


class Daemon:
    """A program that runs until it is told to end. Its output goes to `log`."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.command, self.log = name, [str(word) for word in command], log
        with open(log, "ab") as out:
            # It dies with this test, whatever happens to that.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            env={**os.environ, **(environment or {})})
        self.expected = True  # to be running

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.expected = False
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=20):
        """SIGTERM; its exit status. Fails when it takes longer than `seconds`."""
        self.expected = False
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {seconds} s of SIGTERM") from None


class Cluster:
    """A coordinator and workers on loopback, all their files below `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        self.coordinator = None
        self.port = 0
        self.workers = {}

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @staticmethod
    def program(name):
        return program(name)

    def start(self, name, command, environment=None):
        """Any program as a daemon of this test."""
        daemon = Daemon(name, command, self.path(f"{name}.log"), environment)
        self.daemons.append(daemon)
        return daemon

    def start_coordinator(self, *more, seconds=60):
        """On a free port, and again on the same one after an end. Returns when it serves."""
        port_file = self.path("port")
        if os.path.exists(port_file):
            os.unlink(port_file)
        self.coordinator = self.start("coordinator", [
            program("wsl-coordinator"), "--listen", self.address, "--state", self.path("coordinator"),
            "--port-file", port_file, *more])
        self.wait_for("the coordinator's port", lambda: os.path.exists(port_file), seconds)
        with open(port_file, encoding="ascii") as f:
            self.port = int(f.read().strip().rpartition(":")[2])
        return self.coordinator

    def start_worker(self, name, *more, slots=1):
        """A worker; a second start of a name goes on with the state of the first. Does not wait for it."""
        self.workers[name] = self.start(f"worker-{name}", [
            program("wsl-worker"), "--coordinator", self.address, "--state", self.path(f"worker-{name}"),
            "--name", name, "--slots", slots, "--trainer", program("wsl-trainer"),
            "--checkpoints", self.path("checkpoints"), *more])
        return self.workers[name]

    def wslctl(self, *words, seconds=60, **options):
        """Runs wslctl against the coordinator; the finished process with text stdout and stderr."""
        return subprocess.run([program("wslctl"), *[str(w) for w in words]], text=True, capture_output=True,
                              timeout=seconds, env={**os.environ, "WSL_SERVER": self.address}, check=False, **options)

    def check_alive(self):
        for daemon in self.daemons:
            if daemon.expected and not daemon.alive():
                raise AssertionError(f"{daemon.name} has ended with status {daemon.process.returncode}")

    def wait_for(self, what, condition, seconds=60):
        """As wsltest.wait_for, and fails at once when a daemon ends that nobody ended."""
        return wait_for(what, condition, seconds, self.check_alive)

    def trainers(self):
        """{pid: command line} of the trainers that run for this test."""
        return {pid: line for pid, line in self.processes().items() if "wsl-trainer" in line.split(" ")[0]}

    def processes(self):
        """{pid: command line} of all processes that were started with this test's folder as an argument."""
        mine = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    line = f.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.folder in line:
                mine[int(entry)] = line
        return mine

    def kill_all(self):
        """Nothing of this test runs afterwards, trainers in sessions of their own included."""
        for daemon in self.daemons:
            daemon.kill()

        def gone():
            left = self.processes()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not left
        wait_for("the end of this test's processes", gone, 20)

    def tails(self):
        """The last lines of every log, for the text of a failure."""
        logs = sorted(glob.glob(self.path("*.log"))) + sorted(glob.glob(self.path("worker-*", "trainers", "*", "log")))
        return "\n".join(f"---- {os.path.relpath(log, self.folder)} ----\n{tail(log)}" for log in logs)
