# SPDX-License-Identifier: Apache-2.0
"""wslctl run: one command from a job file to a checkpoint, through Ctrl-C, kill -9 and changed files, with nothing left
running."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

from wsltest import Case, main, program
from wsltest.pictures import make_folder

JOB = """
name: tiny
kind: pretrain
data: {data}
model: {{depths: [1, 1, 1, 1], groups: 8, width: 2, image_size: 32}}
world: 1
batch: 8
max_steps: {steps}
optimizer: {{learning_rate: 0.02}}
checkpoint: {{every_steps: {every}, keep: 2}}
seed: 1
"""
HIDDEN = ("coordinator", "worker", "daemon")  # what the user of one machine need not know


class Output:
    """A program whose two outputs are read while it runs."""

    def __init__(self, process):
        self.process, self.texts = process, {"stdout": "", "stderr": ""}
        self.threads = [threading.Thread(target=self.read, args=(name,), daemon=True) for name in self.texts]
        for thread in self.threads:
            thread.start()

    def read(self, name):
        for line in getattr(self.process, name):
            self.texts[name] += line

    def end(self, seconds=120):
        """(exit status, stdout, stderr)"""
        status = self.process.wait(seconds)
        for thread in self.threads:
            thread.join(10)
        return status, self.texts["stdout"], self.texts["stderr"]


class Run(Case):
    def setUp(self):
        pictures = os.path.join(self.folder, "pictures")
        make_folder(pictures, ["red", "green", "blue"], 16)
        done = self.cluster.wslctl("data", "import", "--folder", pictures, "--into", "data", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.write_job(10)

    def write_job(self, steps, every=4, data="data", name="job.yaml"):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as f:
            f.write(JOB.format(steps=steps, every=every, data=data))

    def start(self, *words, hangup=signal.SIG_DFL, **environment):
        def set_signals():  # whatever this test was started with
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, hangup)
        process = subprocess.Popen([program("wslctl"), "run", *words], cwd=self.folder, stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=set_signals,
                                   env={**os.environ, **environment})
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Output(process)

    def run_job(self, *words, status=0, **environment):
        ended, out, err = self.start(*words, **environment).end()
        self.assertEqual(ended, status, out + err + self.logs())
        return out, err

    def logs(self):
        found = ""
        for directory, _, names in os.walk(self.folder):
            for name in names:
                if name.endswith(".log"):
                    with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as f:
                        found += f"---- {directory}/{name}\n" + "".join(f.readlines()[-15:])
        return found

    def assert_nothing_runs(self):
        self.assertEqual(self.cluster.processes(), {})

    def start_and_reach_a_checkpoint(self, *words, **options):
        run = self.start(*words, **options)
        self.wait_for("a checkpoint", lambda: "checkpoint at step" in run.texts["stdout"] or run.process.poll() is not None, 90)
        self.assertIsNone(run.process.poll(), str(run.texts) + self.logs())
        return run

    def weights(self, directory):
        path = os.path.join(self.folder, directory, "final", "model.safetensors")
        with open(path, "rb") as f:
            return f.read()

    def test_to_the_end(self):
        out, err = self.run_job("job.yaml")
        self.assertRegex(out, r"tiny succeeded after \w+: +step 10/10")
        self.assertRegex(out, r"(?m)^checkpoint: runs/tiny/checkpoints/1-tiny-[0-9a-f]{8}/step-0*10$")
        self.assert_one_line(err, "running tiny in runs/tiny", "Ctrl-C")
        for word in HIDDEN:
            self.assertNotIn(word, out + err)
        self.assert_nothing_runs()
        self.assertEqual(os.stat(os.path.join(self.folder, "runs/tiny/.wsl")).st_mode & 0o777, 0o700)
        first = self.weights("runs/tiny")

        out, err = self.run_job("-f", "job.yaml")
        self.assertRegex(out, r"^tiny has succeeded already; checkpoint: runs/tiny/checkpoints/1-tiny-[0-9a-f]{8}/step-0*10\n$")
        self.assert_one_line(err, "--fresh")

        out, err = self.run_job("-f", "job.yaml", "--fresh", "-q")
        self.assertRegex(out, r"runs/tiny/checkpoints/2-tiny-[0-9a-f]{8}/")
        self.assertEqual(err, "")
        self.assertEqual(self.weights("runs/tiny"), first)
        older, = [n for n in os.listdir(os.path.join(self.folder, "runs/tiny/checkpoints")) if n.startswith("1-tiny-")]
        self.assertTrue(os.listdir(os.path.join(self.folder, "runs/tiny/checkpoints", older)))

    def test_a_stop_and_the_same_command_again(self):
        self.write_job(200, 10)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            run = self.start_and_reach_a_checkpoint("job.yaml")
            run.process.send_signal(number)
            status, out, err = run.end()
            self.assertEqual(status, 130, out + err)
            self.assertIn("stopping after this step and a checkpoint; Ctrl-C again to kill now", err)
            self.assertRegex(err, r"stopped; the same command resumes at step \d+ from runs/tiny/checkpoints/1-tiny-[0-9a-f]{8}/step-")
            self.assertNotIn("a trainer ended", out)
            self.assert_nothing_runs()
        out, err = self.run_job("job.yaml")
        self.assertRegex(err, r"resuming tiny at step [1-9]\d* from runs/tiny/")
        self.assertIn("succeeded", out)
        self.run_job("job.yaml", "--state", "undisturbed")
        self.assertEqual(self.weights("runs/tiny"), self.weights("undisturbed"))

    def test_nohup(self):
        self.write_job(5000, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml", hangup=signal.SIG_IGN)
        run.process.send_signal(signal.SIGHUP)
        seen = run.texts["stdout"].count("checkpoint at step")
        self.wait_for("another checkpoint", lambda: run.texts["stdout"].count("checkpoint at step") > seen)
        self.assertNotIn("stopping", run.texts["stderr"])
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.end()[0], 130)

    def test_a_second_interrupt_kills(self):
        self.write_job(5000, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml")
        trainer, = self.cluster.trainers()
        os.kill(trainer, signal.SIGSTOP)  # it cannot stop by itself
        run.process.send_signal(signal.SIGINT)
        self.wait_for("the first answer", lambda: "stopping after" in run.texts["stderr"])
        run.process.send_signal(signal.SIGINT)
        status, out, err = run.end()
        self.assertEqual(status, 130, out + err)
        self.assertIn("killing the job's processes", err)
        self.assertIn("the same command resumes at step", err)
        self.assert_nothing_runs()

    def test_a_killed_run_leaves_nothing_behind(self):
        self.write_job(100, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml")
        run.process.kill()
        run.process.wait()
        out, err = self.run_job("job.yaml")  # waits for what still stops
        self.assertRegex(err, r"resuming tiny at step [1-9]")
        self.assertIn("succeeded", out)

        self.write_job(5000, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml", "--fresh")
        run.process.kill()
        run.process.wait()
        self.wait_for("the end of everything", lambda: not self.cluster.processes())

    def test_a_killed_daemon_is_started_again(self):
        self.write_job(150, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml")
        for name in ("wsl-worker", "wsl-coordinator"):
            pid, = [pid for pid, line in self.cluster.processes().items() if line.split(" ")[0].endswith(name)]
            os.kill(pid, signal.SIGKILL)
        status, out, err = run.end()
        self.assertEqual(status, 0, out + err + self.logs())
        self.assertIn("tiny succeeded", out)
        self.assert_nothing_runs()

    def test_a_second_instance(self):
        self.write_job(5000, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml")
        out, err = self.run_job("job.yaml", status=1)
        self.assert_one_line(err, "tiny is running already in runs/tiny", "--state")
        self.assertEqual(out, "")
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.end()[0], 130)

    def test_a_changed_job_file(self):
        self.write_job(5000, 10)
        run = self.start_and_reach_a_checkpoint("job.yaml")
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.end()[0], 130)
        out, err = self.run_job("job.yaml", "--set", "seed=2", "--set", "max_steps=7", status=2)
        self.assert_one_line(err, "changed since this run began", "max_steps: 5000 -> 7", "seed: 1 -> 2", "--fresh")
        self.assertEqual(out, "")
        out, err = self.run_job("job.yaml", "--set", "seed=2", "--set", "max_steps=7", "--fresh")
        self.assertIn("step 7/7", out)
        self.assert_nothing_runs()

    def test_a_job_that_fails(self):
        for _ in range(2):  # and again, without being told to
            out, err = self.run_job("job.yaml", "--set", "optimizer.learning_rate=1000", "--set", "max_steps=200", status=1)
            self.assertRegex(out, r"(?m)^tiny failed after ")
            self.assertRegex(err, r"not finite|NaN|infinite")
            self.assert_nothing_runs()
        self.assertIn("the last run ended early", err)
        self.run_job("job.yaml")

    def test_what_is_wrong_at_once(self):
        self.write_job(10, data="nowhere", name="nowhere.yaml")
        with open(os.path.join(self.folder, "bad.yaml"), "w", encoding="ascii") as f:
            f.write("name: bad\nfrob: 1\n")
        for words, texts in [(["bad.yaml"], ["frob"]), (["nowhere.yaml"], ["data: ", "nowhere is not a data set", "import"]),
                             (["missing.yaml"], ["missing.yaml"]), ([], ["run needs a job file"]),
                             (["-f", "job.yaml", "job.yaml"], ["two job files"]),
                             (["job.yaml", "--set", "kind=transfer", "--set", "init=job:other"], ["no run 'other'"]),
                             (["job.yaml", "--set", "kind=transfer", "--set", "init=/no/such"], ["/no/such does not exist"]),
                             (["job.yaml", "--set", "world=300", "--set", "batch=1200"], ["300", "one machine"])]:
            with self.subTest(words=words):
                out, err = self.run_job(*words, status=2)
                for text in texts:
                    self.assertIn(text, err)
                self.assertEqual(out, "")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "runs")))

    def test_a_daemon_that_does_not_start(self):
        for name in ("worker", "coordinator"):
            os.makedirs(os.path.join(self.folder, f"no-{name}/.wsl"))
            with open(os.path.join(self.folder, f"no-{name}/.wsl", name), "w", encoding="ascii"):
                pass  # where its state directory should be
            _, err = self.run_job("-q", "job.yaml", "--state", f"no-{name}", status=1)
            self.assert_one_line(err, f"{name} exists and is not a", "status 1", f"no-{name}/.wsl/{name}.log")
            self.assertNotIn("reason=", err)
            self.assert_nothing_runs()

    def test_gpus_are_for_jobs_that_use_them(self):
        two = ("--set", "world=2", "--set", "batch=16")
        out, _ = self.run_job("job.yaml", "--set", "backend=cpu", *two, CUDA_VISIBLE_DEVICES="0")
        self.assertIn("tiny succeeded", out)
        _, err = self.run_job("job.yaml", "--set", "name=many", "--set", "backend=cuda", *two, status=2, CUDA_VISIBLE_DEVICES="0")
        self.assertIn("world: the job asks for 2 trainers, this machine has 1 GPU; --set world=1 fits", err)
        self.assert_nothing_runs()

    def test_transfer_from_another_run(self):
        self.run_job("job.yaml")
        out, _ = self.run_job("job.yaml", "--set", "name=next", "--set", "kind=transfer", "--set", "init=job:tiny")
        self.assertIn("next succeeded", out)

    def test_on_a_terminal(self):
        """The live line, and Ctrl-C as the terminal sends it: to all processes of the foreground."""
        self.write_job(5000, 10)
        pid, terminal = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.chdir(self.folder)
            os.execve(program("wslctl"), ["wslctl", "run", "job.yaml"], {**os.environ, "TERM": "xterm"})
        output, interrupted = "", False
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the terminal's end
                break
            if not part:
                break
            output += part.decode(errors="replace")
            if not interrupted and "checkpoint at step" in output:
                os.write(terminal, b"\x03")
                interrupted = True
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 130, output)
        self.assertRegex(output, r"\r\x1b\[K.*running.*\[#* *\].*step \d+/5000")
        self.assertRegex(output, r"stopped; the same command resumes at step \d+")
        self.assertFalse(re.search(r"a trainer ended", output), output)
        self.assert_nothing_runs()


main()
