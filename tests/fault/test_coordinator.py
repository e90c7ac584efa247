#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The coordinator under kill -9, a full disk and damage, with real workers and trainers; and with a worker that this test
plays, where every byte and its order are ours."""
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from wsltest import Case, job_spec, main, program
from wsltest import rpc
from wsltest.pictures import make_folder
from wsltest.rpc import agent_pb2, agent_pb2_grpc, grpc, job_pb2
from wsltest.wslctl import JOB

SECONDS = 60
SEED = int(os.environ.get("WSL_SEED", "1"))


class PlayedWorker:
    """One session with the coordinator; what it says is in `received`."""

    def __init__(self, case, name, slots=1, trainers=(), instance="one", **more):
        self.case, self.out, self.received = case, queue.Queue(), []
        self.channel = rpc.open_channel(case.cluster.address)
        self.call = agent_pb2_grpc.AgentServiceStub(self.channel).Session(iter(self.out.get, None))
        facts = rpc.node_pb2.NodeFacts(host="here", slots=slots, address="127.0.0.1", boot_id="boot")
        self.send(hello=agent_pb2.Hello(name=name, facts=facts, instance=instance, trainers=trainers, **more))
        self.acks, self.forgotten = {}, set()
        self.welcome = self.next("welcome")

    def send(self, **body):
        self.out.put(agent_pb2.WorkerMessage(**body))

    def next(self, kind):
        """Reads on to the next message of this kind; notes acknowledgements on the way."""
        for message in self.call:
            self.received.append(message)
            body = message.WhichOneof("body")
            acks = message.welcome.acks if body == "welcome" else [message.ack] if body == "ack" else []
            for ack in acks:
                self.acks[ack.key.job, ack.key.generation, ack.key.rank] = ack
            if body == "forget":
                key = message.forget.key
                self.forgotten.add((key.job, key.generation, key.rank))
            if body == kind:
                return getattr(message, body)
        raise AssertionError(f"the session ended before a {kind}")

    def report(self, key, state=agent_pb2.TRAINER_STARTED, **more):
        self.send(trainer=agent_pb2.TrainerReport(key=key, state=state, pid=1, phase="training", **more))

    def log(self, key, offset, data):
        self.send(log=agent_pb2.LogChunk(key=key, offset=offset, data=data))

    def close(self):
        self.out.put(None)
        self.call.cancel()
        self.channel.close()


class CoordinatorCase(Case):
    def setUp(self):
        self.channel = None

    def tearDown(self):
        if self.channel:
            self.channel.close()
        for daemon in self.cluster.daemons:
            self.assertNotRegex(daemon.output(), "Sanitizer|runtime error")

    def start(self, *more):
        """A coordinator, and stubs to it."""
        self.cluster.start_coordinator("--heartbeat-ms", "200", *more)
        if self.channel:
            self.channel.close()
        self.channel = rpc.open_channel(self.cluster.address)
        self.jobs = rpc.job_pb2_grpc.JobServiceStub(self.channel)

    def submit(self, name, data="/data", **changes):
        """Without data of its own it is a job that nobody looks at before it starts."""
        request = job_pb2.SubmitRequest(spec=job_spec(name, data, **changes), no_data_check=data == "/data")
        return self.jobs.Submit(request, timeout=SECONDS).job

    def get(self, job):
        return self.jobs.Get(job_pb2.GetJobRequest(job=str(job)), timeout=SECONDS)

    def wait_state(self, job, state):
        def there():
            got = self.get(job).job
            if got.state == job_pb2.FAILED != state:
                self.fail(f"job {job} failed: {got.reason}")
            return got if got.state == state else None
        return self.wait_for(f"job {job} in state {job_pb2.JobState.Name(state)}", there)

    def log_of(self, job, rank=0, **more):
        parts = self.jobs.Logs(job_pb2.LogsRequest(job=str(job), one_rank=True, rank=rank, **more), timeout=SECONDS)
        return b"".join(part.text for part in parts)

    def steps_of(self, job, **more):
        parts = self.jobs.Metrics(job_pb2.MetricsRequest(job=str(job), **more), timeout=SECONDS)
        return [(point.generation, point.progress.step) for part in parts for point in part.points]

    def stop_coordinator(self):
        self.assertEqual(self.cluster.coordinator.stop(), 0)

    def log_lines(self, name, text):
        with open(self.cluster.path(f"{name}.log"), encoding="utf-8") as f:
            return [line for line in f if text in line]

    def start_second(self, name):
        """Another worker of that name, with a state directory of its own."""
        return self.cluster.start("second", [
            program("wsl-worker"), "--coordinator", self.cluster.address, "--state", self.cluster.path("second"),
            "--name", name, "--slots", 5, "--trainer", program("wsl-trainer")])


class RealTrainers(CoordinatorCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="wsl-test-")
        cls.data = os.path.join(cls.shared, "colours")
        make_folder(cls.data + "-source", ["red", "green", "blue"], 16)
        subprocess.run([program("wslctl"), "data", "import", "--folder", cls.data + "-source", "--into", cls.data,
                        "--heldout", "0.2", "--threads", "1"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    def submit_training(self, name, world=2, **changes):
        """It goes on until it is cancelled, unless max_steps says otherwise."""
        return self.submit(name, self.data, **{
            "world": world, "batch": 8, "epochs": 0, "max_steps": 1000000, "backend": "ref",
            "model": job_pb2.Model(depths=[1], groups=4, width=1, image_size=32), "evaluate_every_epochs": 1000000,
            "checkpoint": job_pb2.Checkpointing(every_steps=50, keep=2), **changes})

    def start_all(self, *more):
        self.start(*more)
        for name in ("a", "b"):
            self.cluster.start_worker(name)

    def wait_steps(self, job, more_than):
        def there():
            got = self.get(job).job
            return got if got.progress.step > more_than else None
        return self.wait_for(f"a step beyond {more_than}", there)

    def check_undisturbed(self, job, pids):
        """The same trainers run in the same generation, and they go on."""
        now = self.wait_state(job, job_pb2.RUNNING)
        self.assertEqual((now.generation, now.restarts), (1, 0), now.reason)
        self.assertEqual(set(self.cluster.trainers()), pids)
        self.wait_steps(job, now.progress.step)

    def check_bytes(self, job, ranks):
        """What trainers have written so far is in the coordinator's hands, once and in order."""
        for rank, worker in enumerate(ranks):
            with open(self.cluster.path(f"worker-{worker}", "trainers", f"{job}-1-{rank}", "log"), "rb") as f:
                written = f.read()
            written = written[:written.rfind(b"\n") + 1]
            self.wait_for("the log", lambda r=rank, w=written: self.log_of(job, r).startswith(w))
        steps = self.steps_of(job)
        self.assertEqual(steps, sorted(set(steps)))

    def test_kill_9_at_any_moment(self):
        print(f"WSL_SEED={SEED}")
        rng = random.Random(SEED)
        self.start_all()
        running = self.submit_training("runs").id
        self.wait_steps(running, 0)
        pids = set(self.cluster.trainers())
        self.assertEqual(len(pids), 2)
        known = {}  # id: (name, state that was promised)
        for turn in range(8):
            for i in range(rng.randrange(1, 6)):
                job = self.submit(f"queued-{turn}-{i}", world=16, batch=32)
                known[job.id] = (job.spec.name, job_pb2.QUEUED)
            if rng.random() < 0.7:
                victim = rng.choice(sorted(known))
                if self.jobs.Cancel(job_pb2.CancelJobRequest(job=str(victim)), timeout=SECONDS).job.state:
                    known[victim] = (known[victim][0], job_pb2.CANCELLED)
            in_flight = [self.jobs.Submit.future(job_pb2.SubmitRequest(no_data_check=True, 
                spec=job_spec(f"late-{turn}-{i}", "/data", world=16, batch=32))) for i in range(rng.randrange(8))]
            if in_flight and rng.random() < 0.5:
                in_flight[0].exception(timeout=SECONDS)  # the kill falls among the others
            batch = [job_spec(f"batch-{turn}-{i}", "/data", world=16, batch=32) for i in range(rng.randrange(1, 40))]
            batched = self.jobs.SubmitBatch.future(job_pb2.SubmitBatchRequest(specs=batch, no_data_check=True))
            if rng.random() < 0.3:
                batched.exception(timeout=SECONDS)
            self.cluster.coordinator.kill()
            try:
                for spec, result in zip(batch, batched.result(timeout=SECONDS).results):
                    known[result.id] = (spec.name, job_pb2.QUEUED)
            except grpc.RpcError:
                pass  # nothing was promised
            for future in in_flight:
                try:
                    job = future.result(timeout=SECONDS).job
                    known[job.id] = (job.spec.name, job_pb2.QUEUED)
                except grpc.RpcError:
                    pass  # nothing was promised
            self.start()
            listed = {j.id: j for j in self.jobs.List(job_pb2.ListJobsRequest(limit=1000), timeout=SECONDS).jobs}
            for number, (name, state) in known.items():
                self.assertIn(number, listed)
                self.assertEqual((listed[number].spec.name, listed[number].state), (name, state))
            self.check_undisturbed(running, pids)
        self.check_bytes(running, [p.node for p in self.get(running).job.ranks])
        self.jobs.Cancel(job_pb2.CancelJobRequest(job="runs"), timeout=SECONDS)
        ended = self.wait_state(running, job_pb2.CANCELLED)
        self.assertEqual(ended.generation, 1)
        events = self.get(running).events
        self.assertEqual([e.sequence for e in events], list(range(1, len(events) + 1)))
        self.wait_for("the trainers to be gone", lambda: not self.cluster.trainers())

    def test_whole_run_through_kills(self):
        """A job that ends by itself: all of its log, metrics and its last checkpoint are there."""
        self.start_all()
        job = self.submit_training("short", max_steps=400).id
        for _ in range(4):
            step = self.get(job).job.progress.step
            if self.get(job).job.state in (job_pb2.QUEUED, job_pb2.STARTING, job_pb2.RUNNING):
                self.wait_for("a step or the end", lambda s=step: self.get(job).job.progress.step > s or
                              self.get(job).job.state == job_pb2.SUCCEEDED)
            self.cluster.coordinator.kill()
            self.start()
        ended = self.wait_state(job, job_pb2.SUCCEEDED)
        self.assertEqual((ended.restarts, ended.generation), (0, 1))
        self.assertEqual((ended.checkpoint_step, ended.progress.step), (400, 400))
        self.assertTrue(os.path.isdir(ended.checkpoint))
        steps = self.steps_of(job, follow=True)
        self.assertEqual(steps, sorted(set(steps)))
        self.assertEqual(steps[-1], (1, 400))
        for rank in range(2):
            last = self.log_of(job, rank, follow=True).splitlines()[-1]
            self.assertTrue(b"finished: rank %d" % rank in last, last)
        self.assertEqual(self.log_of(job, 0, tail_lines=1).count(b"\n"), 1)
        told = [e.message for e in self.get(job).events if e.kind == "checkpoint"]
        self.assertEqual(len(told), len(set(told)))
        self.assertIn("step 400", told[-1])

    def test_killed_trainer_is_replaced(self):
        self.start_all()
        job = self.submit_training("falls").id
        self.wait_for("a checkpoint", lambda: self.get(job).job.checkpoint_step)
        os.kill(min(self.cluster.trainers()), signal.SIGKILL)
        self.wait_for("generation 2", lambda: self.get(job).job.generation == 2)
        again = self.wait_state(job, job_pb2.RUNNING)
        self.assertEqual(again.restarts, 1)
        self.assertIn("killed by signal 9", " ".join(e.message for e in self.get(job).events))
        self.wait_steps(job, again.checkpoint_step)

    def test_sigterm_to_a_trainer_costs_no_step(self):
        """As when its machine is shut down or wanted by somebody else: all stop after one step, rank 0 writes its
        checkpoint in peace, and the job resumes there."""
        self.start_all()
        job = self.submit_training("preempted", checkpoint=job_pb2.Checkpointing(every_steps=1000000, keep=2)).id
        for generation in range(1, 4):
            before = self.wait_state(job, job_pb2.RUNNING)
            self.assertEqual(before.generation, generation)
            self.wait_steps(job, before.checkpoint_step + 20)
            rank = generation % 2  # 1, 0, 1
            os.kill(before.ranks[rank].pid, signal.SIGTERM)
            after = self.wait_for("the next generation", lambda g=generation: (
                got := self.get(job).job).generation > g and got)
            ends = [e.message for e in self.get(job).events
                    if e.kind == "trainers_exited" and f"of generation {generation} " in e.message]
            self.assertEqual(len(ends), 1)
            self.assertIn(f"stopped after step {after.checkpoint_step}", ends[0])
            self.assertIn("1 more exited (1 stopped)", ends[0])
        self.assertEqual(after.machine_errors, 0)  # being stopped is no error
        self.wait_steps(job, after.checkpoint_step)

    def test_a_name_is_kept_through_a_restart(self):
        """Another worker of the name is back first, and gets neither it nor the job."""
        self.start_all()
        job = self.submit_training("healthy").id
        self.wait_steps(job, 0)
        pids = set(self.cluster.trainers())
        os.kill(self.cluster.workers["a"].pid, signal.SIGSTOP)
        try:
            self.cluster.coordinator.kill()
            self.start()
            second = self.start_second("a")
            self.wait_for("a refusal", lambda: self.log_lines("second", "is away and its trainers may still run"))
        finally:
            os.kill(self.cluster.workers["a"].pid, signal.SIGCONT)
        self.check_undisturbed(job, pids)
        second.stop()

    def test_sigterm_leaves_trainers_alone(self):
        self.start_all()
        job = self.submit_training("stays").id
        self.wait_steps(job, 0)
        pids = set(self.cluster.trainers())
        self.stop_coordinator()
        self.assertEqual(set(self.cluster.trainers()), pids)
        self.assertEqual([p for p, line in self.cluster.processes().items() if "wsl-coordinator" in line], [])
        self.start()
        self.check_undisturbed(job, pids)

    def test_full_disk(self):
        state = self.cluster.path("coordinator")
        os.mkdir(state)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", state],
                                               capture_output=True, check=False).returncode != 0:
            self.skipTest("needs to mount a small tmpfs")
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=False)
        self.start_all()
        running = self.submit_training("runs").id
        self.wait_steps(running, 0)
        pids = set(self.cluster.trainers())
        accepted, ballast = [], os.path.join(state, "ballast")
        with open(ballast, "wb", buffering=0) as f:  # all that is left
            try:
                while f.write(bytes(4096)):
                    pass
            except OSError:
                pass
        with self.assertRaises(grpc.RpcError) as caught:
            for i in range(1000):  # until the pages that LMDB has to spare are used up
                accepted.append(self.submit(f"job-{i}", world=16, batch=32).id)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assert_one_line(caught.exception.details(), "full")
        step = self.get(running).job.progress.step
        self.assertEqual(set(self.cluster.trainers()), pids)
        os.unlink(ballast)
        self.wait_for("submitting to work", lambda: self.try_submit("works-again", accepted))
        self.check_undisturbed(running, pids)
        self.wait_steps(running, step)
        self.check_bytes(running, [p.node for p in self.get(running).job.ranks])
        self.assertEqual(self.cluster.coordinator.output().count("event=worker_joined"), 2)  # nobody was sent away
        self.cluster.coordinator.kill()
        self.start()
        for number in accepted:
            self.assertEqual(self.get(number).job.state, job_pb2.QUEUED)
        self.check_undisturbed(running, pids)
        self.cluster.kill_all()

    def try_submit(self, name, accepted):
        try:
            accepted.append(self.submit(name, world=16, batch=32).id)
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            return False


class DataCheck(CoordinatorCase):
    """Whether the workers have what a job needs is asked before it is accepted."""

    def data_set(self, name):
        folder, made = self.cluster.path(name + ".images"), self.cluster.path(name)
        make_folder(folder, ["red", "blue"], 4)
        self.assertEqual(self.cluster.wslctl("data", "import", "--folder", folder, "--into", made).returncode, 0)
        return made

    def ask(self, data, **more):
        return self.jobs.Submit(job_pb2.SubmitRequest(spec=job_spec("j", data, **more.pop("spec", {})), **more), timeout=SECONDS)

    def refused(self, data, **more):
        with self.assertRaises(grpc.RpcError) as caught:
            self.ask(data, **more)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        return caught.exception.details()

    def test_paths_that_no_worker_has(self):
        self.start()
        self.assertEqual(self.ask("/nowhere", dry_run=True).note, "the data was not checked: no worker is connected")
        for name in ("a", "b"):
            self.cluster.start_worker(name)
        self.wait_for("two workers", lambda: self.cluster.wslctl("nodes").stdout.count("ready") == 2)
        self.assertEqual(self.refused("/nowhere"), "data: /nowhere: no such directory on workers a, b; put it there, or "
                                                   "submit with --no-data-check")
        self.assertIn("data: /etc/passwd: not a directory", self.refused("/etc/passwd"))
        self.assertIn("data: /etc: not a data set (it has no dataset.json)", self.refused("/etc", dry_run=True))
        good = self.data_set("good")
        init = {"kind": job_pb2.TRANSFER, "init": job_pb2.Init(checkpoint="/nowhere/step-1")}
        self.assertIn("init: /nowhere/step-1: no such checkpoint on workers a, b", self.refused(good, spec=init))
        init["init"] = job_pb2.Init(checkpoint=good)
        self.assertIn(f"init: {good}: not a checkpoint (it has no model.safetensors) on workers a, b", self.refused(good, spec=init))
        self.assertEqual(self.ask(good, dry_run=True).note, "")
        self.assertEqual(self.ask("/nowhere", no_data_check=True).job.spec.data, "/nowhere")
        done = self.cluster.wslctl("list", "-o", "name")
        self.assertEqual(done.stdout, "j\n")  # what was refused left nothing behind

    def test_a_batch(self):
        self.start()
        self.cluster.start_worker("a")
        self.wait_for("the worker", lambda: "ready" in self.cluster.wslctl("nodes").stdout)
        good = self.data_set("good")
        specs = [job_spec(f"j{i}", data) for i, data in enumerate((good, "/nowhere", good, "/nowhere", ""))]
        results = self.jobs.SubmitBatch(job_pb2.SubmitBatchRequest(specs=specs), timeout=SECONDS).results
        self.assertEqual([bool(r.id) for r in results], [True, False, True, False, False])
        self.assertIn("data: /nowhere: no such directory on worker a", results[1].error)
        specs = [job_spec("unchecked", "/nowhere")]
        results = self.jobs.SubmitBatch(job_pb2.SubmitBatchRequest(specs=specs, no_data_check=True), timeout=SECONDS).results
        self.assertTrue(results[0].id)

    def test_a_worker_that_has_it_and_one_that_does_not(self):
        self.start()
        self.cluster.start_worker("a")
        self.wait_for("the worker", lambda: "ready" in self.cluster.wslctl("nodes").stdout)
        good = self.data_set("good")
        other = PlayedWorker(self, "b", checks_paths=True)
        lacks = f"data: {good}: Stale file handle on worker b"
        self.assertEqual(self.answered_by(other, good, world=1).result().note, lacks + "; the job fails if it is placed there")
        self.assertEqual(self.answered_by(other, good, world=2).exception().details(),
                         lacks + ", and the others have 1 of the 2 slots needed; put it there, or submit with --no-data-check")
        other.close()

    def answered_by(self, worker, data, **more):
        spec = job_spec("j", data, **more)
        answer = self.jobs.Submit.future(job_pb2.SubmitRequest(spec=spec, dry_run=True), timeout=SECONDS)
        question = worker.next("check")
        self.assertEqual((question.data, question.init), (data, ""))
        worker.send(paths=agent_pb2.PathsChecked(id=question.id, data="Stale file handle"))
        answer.exception()  # it is over
        return answer

    def test_a_worker_that_does_not_answer(self):
        """As on a network mount whose server is down: the job is accepted after a while, and other calls do not wait."""
        self.start()
        silent = PlayedWorker(self, "b", checks_paths=True)
        answer = self.jobs.Submit.future(job_pb2.SubmitRequest(spec=job_spec("j", "/mnt/data")), timeout=SECONDS)
        silent.next("check")
        self.submit("other")  # asked for later, answered at once
        self.assertFalse(answer.done())
        self.assertEqual(answer.result().note, "the data was not checked on 1 of 1 workers: no answer from b")
        answer = self.jobs.Submit.future(job_pb2.SubmitRequest(spec=job_spec("k", "/mnt/data")), timeout=SECONDS)
        silent.next("check")
        silent.close()  # one that has gone is not waited for at all
        self.assertIn("no answer from b", answer.result().note)

    def test_what_wslctl_says(self):
        self.start()
        path = self.cluster.path("j.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(JOB.format(name="j").replace("data: pictures", "data: /nowhere"))
        done = self.cluster.wslctl("submit", "--dry-run", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("wslctl: note: the data was not checked: no worker is connected\n", done.stderr)
        self.cluster.start_worker("a")
        self.wait_for("the worker", lambda: "ready" in self.cluster.wslctl("nodes").stdout)
        done = self.cluster.wslctl("submit", path)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "wslctl: data: /nowhere: no such directory on worker a; put it there, or submit with "
                                      "--no-data-check\n")
        self.assertEqual(self.cluster.wslctl("submit", "-q", "--no-data-check", path).stdout, "1\n")
        job = self.ask("/nowhere", no_data_check=True, spec={"name": "first"}).job
        self.data_set("good")  # one that starts from a job that is still to end is not asked for its checkpoint
        more = {"name": "second", "kind": job_pb2.TRANSFER, "init": job_pb2.Init(job=str(job.id))}
        self.assertEqual(self.ask(self.cluster.path("good"), spec=more).note, "")


class PlayedWorkers(CoordinatorCase):
    def connect(self, *args, **more):
        worker = PlayedWorker(self, *args, **more)
        self.addCleanup(worker.close)
        return worker

    def start_job(self, worker, name="job", **changes):
        job = self.submit(name, **changes).id
        key = worker.next("start").key
        self.assertEqual(key.job, job)
        worker.report(key)
        self.wait_state(job, job_pb2.RUNNING)
        return job, key

    def wait_ack(self, worker, key, **positions):
        """Reads until the worker has been told so."""
        def there(ack):
            return ack and all(getattr(ack, name) >= value for name, value in positions.items())
        while not there(worker.acks.get((key.job, key.generation, key.rank))):
            worker.next("ack")

    def test_large_log_arrives_whole_and_once(self):
        """More than any queue holds; sent in pieces that overlap, over two sessions, read by slow and fast clients."""
        self.start()
        worker = self.connect("w")
        job, key = self.start_job(worker)
        lines = b"".join(b"line %07d of a long log that goes on and on\n" % i for i in range(60000))
        follower = self.jobs.Logs(job_pb2.LogsRequest(job=str(job), follow=True), timeout=SECONDS)
        half = len(lines) // 2
        for at in range(0, half, 40000):
            worker.log(key, at, lines[at:min(at + 65536, half)])  # the end of each comes twice
        self.wait_ack(worker, key, log_offset=half)
        worker.log(key, half, lines[half:half + 65536])
        worker.close()  # under way, perhaps
        self.wait_for("the worker to be away", lambda: "worker_left" in self.cluster.coordinator.output())
        running = agent_pb2.TrainerReport(key=key, state=agent_pb2.TRAINER_STARTED, pid=1, phase="training")
        worker = self.connect("w", trainers=[running])
        at = worker.acks[key.job, key.generation, key.rank].log_offset
        self.assertIn(at, (half, half + 65536))
        # The end comes before the last bytes; a follower gets them all the same.
        worker.report(key, agent_pb2.TRAINER_EXITED, outcome=agent_pb2.FINISHED, log_bytes=len(lines))
        self.wait_state(job, job_pb2.SUCCEEDED)
        for start in range(at, len(lines), 65536):
            worker.log(key, start, lines[start:start + 65536])
        self.wait_ack(worker, key, log_offset=len(lines), exit_recorded=True)
        self.assertTrue(b"".join(part.text for part in follower) == lines)
        self.assertTrue(self.log_of(job) == lines)  # 3 MB and nobody else pokes: no stall
        self.assertTrue(self.log_of(job, tail_lines=10) == b"".join(lines.splitlines(True)[-10:]))
        while (key.job, key.generation, key.rank) not in worker.forgotten:
            worker.next("forget")

    def test_logs_are_followed_over_a_restart(self):
        """'logs -f' goes on where it was, whatever was printed before the coordinator's end: nothing twice, nothing lost."""
        self.start()
        worker = self.connect("w")
        job, key = self.start_job(worker)
        worker.log(key, 0, b"one\ntwo\nthree\n")
        self.wait_ack(worker, key, log_offset=14)
        with subprocess.Popen([program("wslctl"), "--server", self.cluster.address, "logs", "-f", "--tail", "2", str(job)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            self.addCleanup(follower.kill)
            self.assertEqual([follower.stdout.readline() for _ in range(2)], ["0| two\n", "0| three\n"])
            self.cluster.coordinator.kill()
            self.assertIn("lost the coordinator", follower.stderr.readline())
            worker.close()
            self.start()
            running = agent_pb2.TrainerReport(key=key, state=agent_pb2.TRAINER_STARTED, pid=1, phase="training")
            worker = self.connect("w", trainers=[running])
            worker.log(key, 14, b"four\n")
            self.assertEqual(follower.stdout.readline(), "0| four\n")
            self.assertIn("the coordinator is back", follower.stderr.readline())
            worker.report(key, agent_pb2.TRAINER_EXITED, outcome=agent_pb2.FINISHED, log_bytes=19)
            self.assertEqual(follower.stdout.read(), "")
            self.assertEqual(follower.wait(SECONDS), 0)
        worker.close()

    def test_checkpoint_and_notes_are_told_once(self):
        """Metrics are sent again after a broken session and after kill -9; what they say counts once."""
        def framed(*metrics):
            out = b""
            for metric in metrics:
                data = metric.SerializeToString()
                self.assertLess(len(data), 128)
                out += bytes([len(data)]) + data
            return out
        self.start()
        worker = self.connect("w")
        job, key = self.start_job(worker)
        data = framed(*[agent_pb2.TrainerMetric(time_ms=i, progress=job_pb2.Progress(step=i, total_steps=99))
                        for i in range(1, 21)],
                      agent_pb2.TrainerMetric(checkpoint=agent_pb2.CheckpointWritten(folder="/c/20", step=20)),
                      agent_pb2.TrainerMetric(note=agent_pb2.Note(kind="remark", message="only once")))
        for _ in range(3):
            worker.send(metrics=agent_pb2.MetricChunk(key=key, offset=0, data=data))
        self.wait_ack(worker, key, metric_offset=len(data))
        self.cluster.coordinator.kill()
        self.start()
        running = agent_pb2.TrainerReport(key=key, state=agent_pb2.TRAINER_STARTED, pid=1, phase="training")
        worker = self.connect("w", trainers=[running])
        self.assertEqual(worker.acks[key.job, key.generation, key.rank].metric_offset, len(data))
        worker.send(metrics=agent_pb2.MetricChunk(key=key, offset=0, data=data))
        worker.next("ack")
        got = self.get(job)
        self.assertEqual((got.job.checkpoint, got.job.checkpoint_step, got.job.progress.step), ("/c/20", 20, 20))
        kinds = [e.kind for e in got.events]
        self.assertEqual((kinds.count("checkpoint"), kinds.count("remark")), (1, 1))
        self.assertEqual([step for _, step in self.steps_of(job)], list(range(1, 21)))

    def test_rubbish_from_a_worker(self):
        self.start()
        worker = self.connect("w")
        job, key = self.start_job(worker)
        worker.send(metrics=agent_pb2.MetricChunk(key=key, offset=0, data=b"\xff" * 100))
        self.wait_ack(worker, key, metric_offset=100)
        worker.send(metrics=agent_pb2.MetricChunk(offset=0, data=b"x"))  # of nobody: ends the session
        with self.assertRaises((grpc.RpcError, AssertionError)):
            worker.next("start")
        worker = self.connect("w", trainers=[agent_pb2.TrainerReport(key=key, state=agent_pb2.TRAINER_STARTED, pid=1)])
        worker.log(key, 1 << 40, b"from far beyond")
        with self.assertRaises(grpc.RpcError) as caught:
            worker.next("start")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.OUT_OF_RANGE)
        self.assertEqual(self.steps_of(job), [])
        self.assertEqual(self.get(job).job.state, job_pb2.RUNNING)

    def test_rank_that_the_job_does_not_have(self):
        self.start()
        self.submit("small")
        with self.assertRaises(grpc.RpcError) as caught:
            self.log_of("small", 7)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assert_one_line(caught.exception.details(), "rank", "7")


class Start(CoordinatorCase):
    def fails(self, *words, listen="127.0.0.1:0", state="state", code=1):
        done = subprocess.run([program("wsl-coordinator"), "--listen", listen, "--state", self.cluster.path(state)],
                              text=True, capture_output=True, timeout=SECONDS, check=False)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assert_one_line(done.stderr, *words)

    def test_batch(self):
        """Each specification is taken or refused by itself; what was taken is there after a kill."""
        self.start()
        self.submit("taken")
        specs = [job_spec(name, "/data", **more) for name, more in [
            ("first", {}), ("taken", {}), ("bad name", {}), ("first", {}), ("no-batch", {"batch": 0}), ("last", {})]]
        results = self.jobs.SubmitBatch(job_pb2.SubmitBatchRequest(specs=specs), timeout=SECONDS).results
        statuses = [grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.INVALID_ARGUMENT,
                    grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK]
        self.assertEqual([r.status for r in results], [s.value[0] for s in statuses])
        self.assertEqual([r.id for r in results], [2, 0, 0, 0, 0, 3])
        texts = ["", "job 1 of the name 'taken' is queued", "name: ", "name: job 2 of the name 'first'", "batch: ", ""]
        for result, text in zip(results, texts):
            self.assertIn(text, result.error)
            self.assertEqual(result.error == "", text == "")
        self.cluster.coordinator.kill()
        self.start()
        self.assertEqual([self.get(name).job.id for name in ("taken", "first", "last")], [1, 2, 3])
        self.assertEqual([e.kind for e in self.get("last").events][0], "submitted")
        empty = self.jobs.SubmitBatch(job_pb2.SubmitBatchRequest(), timeout=SECONDS)
        self.assertEqual(len(empty.results), 0)
        many = job_pb2.SubmitBatchRequest(specs=[job_spec(f"n{i}", "/data") for i in range(1001)])
        with self.assertRaises(grpc.RpcError) as caught:
            self.jobs.SubmitBatch(many, timeout=SECONDS)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(caught.exception.details(), "specs: 1001 in one request; at most 1000")

    def nodes(self):
        return {n["name"]: n for n in json.loads(self.cluster.wslctl("nodes", "-o", "json").stdout)["nodes"]}

    def test_two_workers_of_one_name(self):
        """With a state directory each, on one machine: the first one keeps the name, and its session."""
        self.start()
        self.cluster.start_worker("a")
        self.wait_for("the first worker", lambda: self.nodes().get("a", {}).get("state") == "ready")
        first = self.nodes()["a"]
        second = self.start_second("a")
        self.wait_for("refusals", lambda: len(self.log_lines("coordinator", "event=worker_refused")) >= 3)
        self.assertEqual(len(self.log_lines("coordinator", "event=worker_joined")), 1)
        self.assertEqual((self.nodes()["a"]["id"], self.nodes()["a"]["facts"]["slots"]), (first["id"], 1))
        told = self.log_lines("second", "event=disconnected")
        self.assertEqual(len(told), 1, told)
        self.assertIn("another worker named 'a' is connected, from host ", told[0])
        self.assertIn("give this one another --name", told[0])
        self.cluster.workers["a"].stop()  # its name is free now
        self.wait_for("the second worker", lambda: self.nodes()["a"]["facts"]["slots"] == 5)
        self.assertNotEqual(self.nodes()["a"]["id"], first["id"])
        second.stop()

    def test_lost_workers_are_remembered_and_removed(self):
        self.start()
        self.cluster.start_worker("a", slots=3)
        self.wait_for("the worker", lambda: self.nodes().get("a", {}).get("state") == "ready")
        refused = self.cluster.wslctl("nodes", "remove", "a")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("worker a is connected: stop its daemon (wsl-worker) first", refused.stderr)
        self.cluster.workers["a"].stop()
        self.wait_for("its loss", lambda: self.nodes()["a"]["state"] == "lost")
        self.cluster.coordinator.kill()
        self.cluster.start_coordinator()
        node = self.nodes()["a"]
        self.assertEqual((node["state"], node["facts"]["slots"]), ("lost", 3))
        self.assertIn("not heard of since the coordinator started", node["reason"])
        self.assertEqual(self.cluster.wslctl("nodes", "remove", "a").returncode, 0)
        self.cluster.coordinator.kill()
        self.cluster.start_coordinator()
        self.assertEqual(self.nodes(), {})
        self.assertIn("there is no worker named 'a'", self.cluster.wslctl("nodes", "remove", "a").stderr)

    def test_a_lost_worker_is_forgotten(self):
        self.start("--worker-grace-ms", "200", "--worker-forget-ms", "300")
        self.cluster.start_worker("a")
        self.wait_for("the worker", lambda: self.nodes())
        self.cluster.workers["a"].kill()
        self.wait_for("that it is forgotten", lambda: not self.nodes())

    def test_an_address_for_all_names_the_option(self):
        self.fails("0.0.0.0:0 can be reached from other machines", "--insecure", listen="0.0.0.0:0", code=2)
        self.fails("nonsense", listen="nonsense", code=2)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.fails(address, listen=address)

    def test_state_in_use(self):
        self.start()
        self.fails("another coordinator", self.cluster.path("coordinator"), state="coordinator")
        self.submit("still-serves")

    def test_damaged_store(self):
        self.start()
        self.submit("gone")
        self.stop_coordinator()
        path = self.cluster.path("coordinator", "store.mdb")
        with open(path, "r+b") as f:
            f.write(b"\x55" * 8192)
        self.fails("damaged", state="coordinator")
        with open(self.cluster.path("coordinator", "format"), "w", encoding="ascii") as f:
            f.write("7\n")
        self.fails("format 7", state="coordinator")

    def test_state_folder_that_is_a_file(self):
        with open(self.cluster.path("file"), "w", encoding="ascii"):
            pass
        self.fails("file", state="file/state")

    def test_usage(self):
        for words, text in [([], "--state"), (["--state", "x", "y"], "'y'"), (["--state", "x", "--frob"], "--frob"),
                            (["--state", "x", "--log-level", "loud"], "loud"),
                            (["--state", "x", "--heartbeat-ms", "0"], "--heartbeat-ms")]:
            done = subprocess.run([program("wsl-coordinator"), *words], text=True, capture_output=True, timeout=SECONDS,
                                  cwd=self.folder, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assert_one_line(done.stderr, text)


if __name__ == "__main__":
    sys.exit(main())
