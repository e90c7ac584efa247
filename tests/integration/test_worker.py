#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The real wsl-worker against a coordinator in Python and a scripted trainer."""
import os
import random
import signal
import subprocess
import unittest

from worker_world import Coordinator, WorkerCase, agent_pb2, alive, contents, key, wait
from wsltest import main, program
from wsltest.namespaces import no_mounts

K = key()


class Main(WorkerCase):
    def test_hello_tells_what_the_machine_is(self):
        self.start("--address", "127.0.0.2")
        hello = self.coordinator.session().all("hello")[0]
        self.assertEqual(hello.name, "w1")
        self.assertEqual(hello.facts.slots, 2)
        self.assertEqual(hello.facts.address, "127.0.0.2")
        self.assertEqual(hello.facts.cpus, len(os.sched_getaffinity(0)))
        self.assertEqual(hello.facts.host, os.uname().nodename)
        self.assertEqual(hello.facts.boot_id, contents("/proc/sys/kernel/random/boot_id").decode().strip())
        self.assertGreater(hello.facts.memory_bytes, 1 << 20)
        self.assertTrue(hello.facts.cpu_model and hello.facts.version and hello.instance)
        beats = wait(lambda: len(b := self.coordinator.session().all("heartbeat")) > 2 and b, "heartbeats")
        self.assertEqual([b.sequence for b in beats], list(range(1, len(beats) + 1)))
        self.assertGreater(beats[0].memory_available_bytes, 1 << 20)

    def test_a_trainer_from_start_to_forget(self):
        self.start()
        pid = self.start_trainer(K)
        folder = self.run_folder(K)
        a = agent_pb2.Assignment.FromString(contents(os.path.join(folder, "assignment.pb")))
        self.assertEqual((a.job, a.world, a.run_folder), (1, 2, folder))
        self.assertEqual(a.checkpoint_folder, os.path.join(self.state, "checkpoints", "1-tags"))
        self.assertEqual(os.getsid(pid), pid)
        self.order(K, "phase training", "log hello there", "metric 3", "open")
        wait(lambda: self.coordinator.reports(K)[-1].phase == "training", "the phase")
        wait(lambda: self.coordinator.log_of(K) == b"hello there\n", "the log")
        metrics = os.path.join(folder, "metrics")
        wait(lambda: self.coordinator.stored.get(("metrics", (1, 1, 0))) == contents(metrics) != b"", "metrics")
        # 3 is the listing itself: nothing of the daemon's came along
        self.assertEqual(self.wait_answer(K, "open")[0], "open 0,1,2,3 " + folder)
        names = self.wait_answer(K, "environment")[0].split(" ")[1].split(",")
        self.assertIn("PATH", names)
        self.assertNotIn("OMP_NUM_THREADS", names)
        self.coordinator.record_exits = False
        self.order(K, "end FINISHED all 3 steps done")
        report = self.check_exit(K, "FINISHED", "all 3 steps done")
        self.assertEqual(report.log_bytes, len(b"hello there\n"))
        self.assertEqual(report.metric_bytes, os.path.getsize(metrics))
        # kept until it is recorded and forgotten, in whatever order
        self.coordinator.session().send(forget=agent_pb2.Forget(key=K))
        self.coordinator.start_trainer(K)  # answered by a report: when it comes, the Forget was seen
        count = len(self.coordinator.reports(K))
        wait(lambda: len(self.coordinator.reports(K)) > count, "the answer")
        self.assertTrue(os.path.exists(folder))
        self.coordinator.record_exits = True
        self.coordinator.session().send(ack=self.coordinator.position(K))
        wait(lambda: not os.path.exists(folder), "the run directory is removed")

    def test_exchange_goes_round_and_again_in_a_new_session(self):
        self.start()
        ranks = [key(rank=0), key(rank=1)]
        for k in ranks:
            self.start_trainer(k)
            self.wait_answer(k, "connected")
        self.order(ranks[0], "part 0 a0")
        self.order(ranks[1], "part 0 a1")
        s = self.coordinator.session()
        parts = wait(lambda: len(p := s.all("exchange")) >= 2 and p, "both parts")
        self.assertEqual(sorted((p.key.rank, p.round, p.blob) for p in parts), [(0, 0, b"a0"), (1, 0, b"a1")])
        s.send(exchange=agent_pb2.ExchangeResult(job=1, generation=0, round=0, blob=b"stale"))
        s.send(exchange=agent_pb2.ExchangeResult(job=1, generation=1, round=0, blob=b"a0"))
        for k in ranks:
            self.assertEqual(self.wait_answer(k, "result"), ["result 0 a0"])
        s.end()
        again = self.coordinator.session(1)
        wait(lambda: sorted(p.blob for p in again.all("exchange")) == [b"a0", b"a1"], "both parts again")

    def test_a_trainer_that_breaks_the_framing_is_connected_again(self):
        self.start()
        self.start_trainer(K)
        self.wait_answer(K, "connected")
        self.order(K, "babble")
        wait(lambda: self.answers(K).count("connected") == 2, "a second connection")
        self.order(K, "part 3 x")
        wait(lambda: self.coordinator.session().all("exchange"), "a part")


class Shipping(WorkerCase):
    def test_bytes_arrive_once_over_broken_sessions(self):
        self.start()
        self.start_trainer(K)
        self.coordinator.ack = False  # stored in memory only: what is not acknowledged comes again
        self.order(K, "logbytes 300000", "metric 20000")
        where = ("log", (1, 1, 0))
        wait(lambda: len(self.coordinator.log_of(K)) == 300000, "the log")
        with self.coordinator.lock:
            self.coordinator.stored[where] = self.coordinator.stored[where][:100000]
            self.coordinator.acked[where] = 100000
            self.coordinator.stored.pop(("metrics", (1, 1, 0)), None)
            self.coordinator.ack = True
        self.coordinator.session().end()
        s = self.coordinator.session(1)
        wait(lambda: len(self.coordinator.log_of(K)) == 300000, "the rest of the log")
        self.assertEqual(s.all("log")[0].offset, 100000)
        self.order(K, "logbytes 50000", "end FINISHED done")
        report = self.check_exit(K, "FINISHED", "done")
        self.assertEqual(report.log_bytes, 350000)
        wait(lambda: self.coordinator.log_of(K) == self.log_file(K), "all of the log")
        path = os.path.join(self.run_folder(K), "metrics")
        wait(lambda: self.coordinator.stored[("metrics", (1, 1, 0))] == contents(path), "all metrics")
        self.coordinator.session().send(forget=agent_pb2.Forget(key=K))
        wait(lambda: not os.path.exists(self.run_folder(K)), "the run directory is removed")

    def test_whatever_breaks_nothing_is_lost_or_doubled(self):
        seed = 20180502
        print("seed", seed)
        chance = random.Random(seed)
        self.start()
        pid = self.start_trainer(K)
        where = ("metrics", (1, 1, 0))
        for number, breaks in enumerate(["daemon", "session", "session", "coordinator", "daemon", "session"]):
            self.order(K, "logbytes %d" % chance.randrange(1, 400000), "metric %d" % chance.randrange(1, 9000))
            grown = len(self.coordinator.log_of(K)) + chance.randrange(1, 200000)
            wait(lambda: len(self.coordinator.log_of(K)) >= min(grown, len(self.log_file(K))) > 0, "some of the log")
            if breaks == "daemon":
                self.worker.kill()
                self.start()
            elif breaks == "session":
                self.coordinator.session(number).end()
            else:
                self.coordinator.stop()
                self.coordinator.start()
            self.assertEqual(self.coordinator.session(number + 1).all("hello")[0].trainers[0].pid, pid)
        self.order(K, "end FINISHED whole")
        report = self.check_exit(K, "FINISHED", "whole")
        wait(lambda: len(self.coordinator.log_of(K)) == report.log_bytes, "all of the log")
        wait(lambda: len(self.coordinator.stored[where]) == report.metric_bytes, "all metrics")
        self.assertEqual(self.coordinator.log_of(K), self.log_file(K))
        self.assertEqual(self.coordinator.stored[where], contents(os.path.join(self.run_folder(K), "metrics")))

    def test_what_is_not_acknowledged_is_bounded(self):
        self.start()
        self.start_trainer(K)
        self.coordinator.ack = False
        self.order(K, "logbytes 3000000", "log x", "phase training")
        wait(lambda: self.coordinator.reports(K)[-1].phase == "training", "the phase")
        wait(lambda: len(self.coordinator.log_of(K)) >= 512 << 10, "a window of log")
        beats = len(self.coordinator.session().all("heartbeat"))
        wait(lambda: len(self.coordinator.session().all("heartbeat")) > beats + 5, "more heartbeats")
        self.assertLess(len(self.coordinator.log_of(K)), 600 << 10)
        self.coordinator.ack = True
        self.coordinator.session().send(ack=self.coordinator.position(K))
        wait(lambda: len(self.coordinator.log_of(K)) == 3000002, "all of it")

    def test_chunks_hold_whole_metrics_and_a_torn_one_stays(self):
        self.start()
        self.start_trainer(K)
        self.order(K, "metric 9000", "torn", "exit 3")
        report = self.check_exit(K, "MACHINE_ERROR", "exited with code 3")
        size = os.path.getsize(os.path.join(self.run_folder(K), "metrics"))
        self.assertEqual(report.metric_bytes, size - len(b"\x64half"))
        where = ("metrics", (1, 1, 0))
        wait(lambda: len(self.coordinator.stored.get(where, b"")) == report.metric_bytes, "all whole metrics")
        for chunk in self.coordinator.session().all("metrics"):
            at = 0
            while at < len(chunk.data):
                self.assertLess(chunk.data[at], 0x80)  # these are all short
                at += 1 + chunk.data[at]
            self.assertEqual(at, len(chunk.data))


class Ends(WorkerCase):
    def test_a_killed_trainer(self):
        self.start()
        pid = self.start_trainer(K)
        self.order(K, "log one", "log step 7: loss 0.3")
        wait(lambda: self.coordinator.log_of(K).endswith(b"0.3\n"), "the log")
        os.kill(pid, signal.SIGKILL)
        self.check_exit(K, "MACHINE_ERROR", "killed by signal 9 (KILL); last line of its log: step 7: loss 0.3")

    def test_what_a_trainer_leaves_behind_is_ended_first(self):
        self.start()
        pid = self.start_trainer(K)
        child = self.start_child(K)
        self.assertTrue(alive(child))
        os.kill(pid, signal.SIGKILL)
        self.check_exit(K, "MACHINE_ERROR", "killed by signal 9")
        self.assertFalse(alive(child))

    def test_stops(self):
        self.start()
        self.start_trainer(K)
        self.wait_answer(K, "connected")
        s = self.coordinator.session()
        s.send(stop=agent_pb2.StopTrainer(key=K, mode=agent_pb2.GRACEFUL, reason="cancelled by ann"))
        self.check_exit(K, "STOPPED", "stopped by socket cancelled by ann")
        k = key(job=2)
        pid = self.start_trainer(k)
        s.send(stop=agent_pb2.StopTrainer(key=k, mode=agent_pb2.KILL, reason="rank 1 was lost"))
        self.check_exit(k, "STOPPED", "killed on request: rank 1 was lost")
        self.assertFalse(alive(pid))
        k = key(job=3)
        self.start_trainer(k)
        self.order(k, "ignore-stop", "child")
        self.wait_answer(k, "child")
        s.send(stop=agent_pb2.StopTrainer(key=k, mode=agent_pb2.GRACEFUL, reason="drain"))
        self.check_exit(k, "STOPPED", "killed on request: drain")
        self.assertIn("stop socket drain", self.answers(k))
        k = key(job=9)
        s.send(stop=agent_pb2.StopTrainer(key=k, mode=agent_pb2.KILL))
        self.check_exit(k, "MACHINE_ERROR", "not known")

    def test_starts_that_are_not_made(self):
        self.start()
        first = self.start_trainer(key(job=1, generation=5))
        self.start_trainer(key(job=2))
        self.coordinator.start_trainer(key(job=3))
        self.check_exit(key(job=3), "MACHINE_ERROR", "2 of 2 slots are in use")
        self.coordinator.start_trainer(key(job=1, generation=4))
        self.check_exit(key(job=1, generation=4), "MACHINE_ERROR", "generation 5 is here already")
        count = len(self.coordinator.reports(key(job=1, generation=5)))
        self.coordinator.start_trainer(key(job=1, generation=5))
        again = wait(lambda: self.coordinator.reports(key(job=1, generation=5))[count:], "an answer")
        self.assertEqual((again[0].pid, again[0].state), (first, agent_pb2.TRAINER_STARTED))
        self.order(key(job=2), "end FINISHED x")
        self.check_exit(key(job=2), "FINISHED", "x")
        for job, name in ((10, "../../etc"), (11, ""), (12, "a/b")):
            self.coordinator.start_trainer(key(job=job), name=name)
            self.check_exit(key(job=job), "MACHINE_ERROR", "cannot be part of a path")
        self.coordinator.start_trainer(key(job=13, rank=7), world=2)
        self.check_exit(key(job=13, rank=7), "MACHINE_ERROR", "not of this job, generation and rank")
        self.coordinator.session().send(start=agent_pb2.StartTrainer(key=key(job=14)))
        self.check_exit(key(job=14), "MACHINE_ERROR", "assignment is missing")
        self.assertEqual(sorted(os.listdir(os.path.join(self.state, "trainers"))), ["1-5-0", "2-1-0"])

    @unittest.skipIf(no_mounts(), no_mounts())
    def test_a_full_disk(self):
        os.mkdir(self.state)
        script = 'mount -t tmpfs -o size=64k,mode=755 tmpfs "$0" && head -c 60k /dev/zero > "$0/fill"; exec "$@"'
        self.start("--checkpoints", self.folder, prefix=["unshare", "--mount", "sh", "-c", script, self.state])
        self.coordinator.start_trainer(K)
        self.check_exit(K, "MACHINE_ERROR", "not started: cannot")
        self.assertIn("No space left", self.coordinator.exit_of(K).reason)
        self.assertTrue(self.worker.alive())


class Gpus(WorkerCase):
    """GPUs that nobody has: their names are all that the worker deals in."""

    def setUp(self):
        super().setUp()
        self.ids = [f"GPU-{os.getpid():08x}-{i}" for i in range(2)]

    def command(self):
        words = super().command()
        at = words.index("--slots")
        return words[:at] + words[at + 2:]

    def start(self, *options, visible=None):
        return super().start(*options, prefix=["env", "CUDA_VISIBLE_DEVICES=" + (visible or ",".join(self.ids))])

    def gpu_of(self, pid):
        variables = contents("/proc/%d/environ" % pid).decode().split("\0")
        return [v.partition("=")[2] for v in variables if v.startswith("CUDA_VISIBLE_DEVICES=")]

    def test_each_trainer_has_its_own(self):
        w = self.start()
        facts = self.coordinator.session().all("hello")[0].facts
        self.assertEqual((facts.slots, len(facts.gpus)), (2, 2))
        first, second = (key(job=1, rank=r) for r in range(2))
        self.assertEqual(self.gpu_of(self.start_trainer(first, world=2)), [self.ids[0]])
        pid = self.start_trainer(second, world=2)
        self.assertEqual(self.gpu_of(pid), [self.ids[1]])
        w.kill()
        self.order(first, "end FINISHED well")
        self.start()  # it knows from the run directories who computes where
        self.check_exit(first, "FINISHED", "well")
        self.assertEqual(self.gpu_of(self.start_trainer(key(job=2))), [self.ids[0]])
        self.order(second, "end FINISHED well")
        self.check_exit(second, "FINISHED", "well")
        self.assertEqual(self.gpu_of(self.start_trainer(key(job=3))), [self.ids[1]])

    def test_none_and_some(self):
        w = self.start("--gpus", "none", "--slots", "4")
        self.assertEqual(len(self.coordinator.session().all("hello")[0].facts.gpus), 0)
        self.assertEqual(self.gpu_of(self.start_trainer(K)), [""])
        self.assertEqual(w.stop(), 0)
        self.options = []
        self.start("--gpus", "1", "--slots", "3", "--share-gpus")
        self.assertEqual(self.coordinator.session(1).all("hello")[0].facts.slots, 3)
        self.assertEqual(self.gpu_of(self.start_trainer(key(job=2))), [self.ids[1]])
        self.assertEqual(self.gpu_of(self.start_trainer(key(job=3))), [self.ids[1]])

    def test_cuda_settings_reach_the_trainer(self):
        self.start("--cuda-graphs", "--cuda-no-tuning", "--cuda-plans", os.path.join(self.folder, "a", "plans"),
                   "--cuda-workspace-mib", "512")
        words = contents("/proc/%d/cmdline" % self.start_trainer(K)).decode().split("\0")
        at = words.index("--cuda-graphs")
        self.assertEqual(words[at:at + 6], ["--cuda-graphs", "--cuda-no-tuning", "--cuda-plans",
                                            os.path.realpath(os.path.join(self.folder, "a", "plans")),
                                            "--cuda-workspace-mib", "512"])
        self.assert_one_line(self.refused("--cuda-workspace-mib", "0"), "--cuda-workspace-mib", "outside 1 to 1048576")
        self.assert_one_line(self.refused("--cuda-plans", "/dev/null/plans"), "--cuda-plans", "/dev/null/plans")

    def refused(self, *options, state="other", visible=None):
        done = subprocess.run([*self.command()[:3], "--state", os.path.join(self.folder, state), "--name", "w2", "--trainer",
                               program("wsl-trainer"), *options], text=True, capture_output=True, timeout=60, check=False,
                              env={**os.environ, "CUDA_VISIBLE_DEVICES": visible or ",".join(self.ids)})
        self.assertGreater(done.returncode, 0)
        return done.stderr

    def test_what_cannot_be(self):
        self.start("--gpus", "0")
        self.coordinator.session()
        self.assert_one_line(self.refused(), self.ids[0], "another wsl-worker", "--gpus")
        self.assert_one_line(self.refused("--gpus", "1", "--slots", "2"), "--slots 2", "1 GPU", "--share-gpus")
        self.assert_one_line(self.refused("--gpus", "0,2"), "--gpus 2", "2 are visible")
        self.assert_one_line(self.refused(visible=self.ids[0] + "," + self.ids[0]), "CUDA_VISIBLE_DEVICES", "twice")


class Daemon(WorkerCase):
    def test_killed_and_started_again_it_adopts(self):
        w = self.start()
        pid = self.start_trainer(K)
        self.order(K, "phase training", "log before")
        wait(lambda: self.coordinator.log_of(K) == b"before\n", "the log")
        w.kill()
        self.order(K, "log between")
        wait(lambda: b"between" in self.log_file(K), "it goes on")
        self.start()
        hello = self.coordinator.session(1).all("hello")[0]
        self.assertEqual([(t.pid, t.state) for t in hello.trainers], [(pid, agent_pb2.TRAINER_STARTED)])
        wait(lambda: self.coordinator.log_of(K) == b"before\nbetween\n", "what was written meanwhile")
        wait(lambda: self.coordinator.reports(K)[-1].phase == "training", "the phase, asked for again")
        self.order(K, "log after", "end FINISHED well")
        self.check_exit(K, "FINISHED", "well")
        wait(lambda: self.coordinator.log_of(K) == b"before\nbetween\nafter\n", "all of the log")

    def test_ends_that_nobody_watched(self):
        w = self.start()
        k2 = key(rank=1)
        self.start_trainer(K)
        pid = self.start_trainer(k2)
        w.kill()
        self.order(K, "end USER_ERROR loss is nan")
        child = self.start_child(k2)
        os.kill(pid, signal.SIGKILL)
        wait(lambda: os.path.exists(os.path.join(self.run_folder(K), "outcome.pb")) and not alive(pid), "both are gone")
        w = self.start()
        self.check_exit(K, "USER_ERROR", "loss is nan")
        self.check_exit(k2, "MACHINE_ERROR", "died while nobody watched")
        wait(lambda: not alive(child), "what it left is ended")
        # told the same way by the next daemon
        w.kill()
        self.coordinator.exits.clear()
        self.start()
        self.check_exit(k2, "MACHINE_ERROR", "died while nobody watched")

    def test_an_adopted_trainer_is_killed(self):
        w = self.start()
        pid = self.start_trainer(K)
        w.kill()
        self.start()
        self.coordinator.session(1)
        os.kill(pid, signal.SIGKILL)
        self.check_exit(K, "MACHINE_ERROR", "ended without a last word")

    def test_a_process_that_took_the_number_is_left_alone(self):
        w = self.start()
        pid = self.start_trainer(K)
        w.kill()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: not alive(pid), "it is gone")
        bystander = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        with open(os.path.join(self.run_folder(K), "process"), "w") as f:
            f.write("%d 12345\n" % bystander.pid)
        self.start()
        self.check_exit(K, "MACHINE_ERROR", "died while nobody watched")
        self.assertIsNone(bystander.poll())

    def test_killed_before_it_noted_the_process(self):
        w = self.start()
        pid = self.start_trainer(K)
        w.kill()
        os.unlink(os.path.join(self.run_folder(K), "process"))
        os.mkdir(os.path.join(self.state, "trainers", "1-1-1"))  # and one that was never started
        os.mkdir(os.path.join(self.state, "trainers", "lost+found"))
        self.start()
        self.check_exit(key(rank=1), "MACHINE_ERROR", "never started")
        self.assertEqual([r.pid for r in self.coordinator.session().all("hello")[0].trainers if r.key.rank == 0], [pid])
        os.kill(pid, signal.SIGKILL)
        self.check_exit(K, "MACHINE_ERROR", "ended without a last word")

    def test_sigterm_leaves_trainers_or_stops_them(self):
        w = self.start()
        pid = self.start_trainer(K)
        self.assertEqual(w.stop(), 0)
        self.assertTrue(alive(pid))
        w = self.start("--stop-trainers")
        self.coordinator.session(1)
        self.assertEqual(w.stop(), 0)
        self.assertFalse(alive(pid))
        self.check_exit(K, "STOPPED", "shutting down")

    def test_a_second_sigterm_does_not_wait(self):
        w = self.start("--stop-trainers", "--stop-grace", "1000")
        pid = self.start_trainer(K)
        self.order(K, "ignore-stop")
        self.wait_answer(K, "ignoring")
        self.coordinator.stop()
        os.kill(w.pid, signal.SIGTERM)
        self.wait_answer(K, "stop")
        self.assertTrue(w.alive())
        self.assertEqual(w.stop(), 0)
        self.assertFalse(alive(pid))

    def test_one_daemon_for_a_state_folder(self):
        self.start()
        self.coordinator.session()
        second = subprocess.run(self.command(), capture_output=True, text=True, timeout=30)
        self.assertEqual(second.returncode, 1)
        self.assertRegex(second.stderr, r"^wsl-worker: another wsl-worker runs on the state directory .*\n$")

    def test_its_id_is_kept_in_its_state(self):
        w = self.start()
        first = self.coordinator.session().all("hello")[0]
        w.kill()
        self.start()
        again = self.coordinator.session(1).all("hello")[0]
        self.assertRegex(first.id, "^[0-9a-f]{32}$")
        self.assertEqual((again.id, again.instance != first.instance), (first.id, True))
        self.assertEqual(contents(os.path.join(self.state, "id")).decode(), first.id + "\n")

    def test_an_id_that_is_none_is_named(self):
        os.makedirs(self.state, exist_ok=True)
        with open(os.path.join(self.state, "id"), "w", encoding="ascii") as f:
            f.write("me\n")
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^wsl-worker: .*/id does not hold a worker's id .*; remove it to be given a new one\n$")

    def test_bad_command_lines(self):
        def run(*words):
            return subprocess.run([program("wsl-worker"), *words], capture_output=True, text=True, timeout=30)
        for words, text in (((), "--state"), (("--state", self.state, "--trainer", "/absent"), "/absent"),
                            (("--state", self.state, "--slots", "0"), "--slots"),
                            (("--state", self.state, "--trainer", "/bin/true", "--coordinator", "here"), "HOST:PORT"),
                            (("--state", self.state, "--name", "a b"), "--name"), (("--state", "/dev/null/x"), "/dev/null"),
                            (("--state", self.state, "extra"), "extra"), (("--what",), "what")):
            done = run(*words)
            self.assertEqual(done.returncode, 1 if "/dev/null/x" in words else 2, words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(text, done.stderr)
        self.assertEqual((run("--help").returncode, run("--version").returncode), (0, 0))
        self.assertIn("--stop-trainers", run("--help").stdout)


class Away(WorkerCase):
    def test_it_waits_for_a_coordinator(self):
        self.coordinator.stop()
        w = self.start()
        wait(lambda: "event=disconnected" in w.output(), "a line that says so")
        self.assertTrue(w.alive())
        self.coordinator.start()
        self.coordinator.session()
        self.assertEqual(w.output().count("event=disconnected"), 1)

    def test_a_coordinator_that_goes_and_comes(self):
        w = self.start()
        pid = self.start_trainer(K)
        self.coordinator.stop()
        wait(lambda: "event=disconnected" in w.output(), "it noticed")
        self.order(K, "log alone", "metric 5")
        wait(lambda: b"alone" in self.log_file(K), "it goes on")
        self.coordinator.start()
        self.assertEqual(self.coordinator.session(1).all("hello")[0].trainers[0].pid, pid)
        wait(lambda: self.coordinator.log_of(K) == b"alone\n", "the log")

    def test_one_that_takes_calls_and_says_nothing(self):
        w = self.start()
        pid = self.start_trainer(K)
        self.coordinator.answer = False
        second = self.coordinator.session(1)
        self.assertIn("event=coordinator_silent", w.output())
        self.assertEqual(second.all("hello")[0].trainers[0].pid, pid)

    def test_one_that_knows_nothing_of_a_trainer(self):
        self.start()
        self.start_trainer(K)
        self.order(K, "log x", "end FINISHED y")
        self.check_exit(K, "FINISHED", "y")
        self.coordinator.stop()
        self.coordinator.faults.clear()
        self.coordinator = Coordinator(self.coordinator.port)  # its disk was lost
        self.coordinator.record_exits = self.coordinator.ack = False
        self.coordinator.position = lambda k: agent_pb2.Ack(key=key(job=99))
        self.coordinator.start()
        self.coordinator.session().send(forget=agent_pb2.Forget(key=K))
        wait(lambda: not os.path.exists(self.run_folder(K)), "the run directory is removed")


if __name__ == "__main__":
    main()
