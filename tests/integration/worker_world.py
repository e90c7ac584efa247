# SPDX-License-Identifier: Apache-2.0
"""What test_worker.py drives the real wsl-worker with: a coordinator in this process, and a case that starts both."""
import concurrent.futures
import os
import queue
import threading

from wsltest import Case, program, wait_for
from wsltest.cluster import build_folder
from wsltest.rpc import agent_pb2, agent_pb2_grpc, grpc

TRAINER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripted_trainer.py")
SECONDS = 30


def wait(condition, what):
    return wait_for(what, condition, SECONDS)


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def key(job=1, generation=1, rank=0):
    return agent_pb2.TrainerKey(job=job, generation=generation, rank=rank)


def key_tuple(k):
    return k.job, k.generation, k.rank


class Session:
    """One Session call, as the coordinator sees it."""

    def __init__(self, context):
        self.context = context
        self.out = queue.Queue()
        self.received = []
        self.ended = False

    def send(self, **body):
        self.out.put(agent_pb2.CoordinatorMessage(**body))

    def end(self):
        self.out.put(None)

    def all(self, field):
        return [getattr(m, field) for m in list(self.received) if m.WhichOneof("body") == field]


class Coordinator(agent_pb2_grpc.AgentServiceServicer):
    """Keeps logs and metrics as the real one would; what it acknowledges and answers can be switched."""

    def __init__(self, port=0, heartbeat_ms=100):
        self.heartbeat_ms = heartbeat_ms
        self.sessions = []
        self.stored = {}   # (kind, key) -> bytes
        self.acked = {}    # (kind, key) -> position told
        self.exits = {}    # key -> report
        self.faults = []
        self.ack = True            # acknowledge bytes
        self.record_exits = True
        self.answer = True         # heartbeats
        self.welcome = True
        self.port = port
        self.server = None
        self.lock = threading.RLock()

    # ---- life ----

    def start(self):
        # each session takes two of these for as long as it lasts
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self.server)

        def bind():
            try:
                return self.server.add_insecure_port("127.0.0.1:%d" % self.port)
            except RuntimeError:
                return 0
        self.port = wait(bind, "the port is free again")
        self.server.start()
        return self

    def stop(self):
        if self.server:
            for s in self.sessions:
                s.end()
            self.server.stop(0).wait()
            self.server = None

    # ---- the service ----

    def Session(self, requests, context):
        session = Session(context)
        reader = threading.Thread(target=self.read, args=(session, requests), daemon=True)
        with self.lock:
            self.sessions.append(session)
        reader.start()
        while True:
            message = session.out.get()
            if message is None:
                return
            yield message

    def read(self, session, requests):
        try:
            for message in requests:
                with self.lock:
                    session.received.append(message)
                    self.take(session, message)
        except grpc.RpcError:
            pass
        session.ended = True
        session.end()

    def take(self, session, message):
        body = message.WhichOneof("body")
        if body == "hello":
            if self.welcome:
                acks = [self.position(t.key) for t in message.hello.trainers]
                session.send(welcome=agent_pb2.Welcome(heartbeat_ms=self.heartbeat_ms, acks=acks))
            for t in message.hello.trainers:
                self.take_report(session, t)
        elif body == "heartbeat" and self.answer:
            session.send(heartbeat=agent_pb2.HeartbeatReply(sequence=message.heartbeat.sequence))
        elif body == "trainer":
            self.take_report(session, message.trainer)
        elif body in ("log", "metrics"):
            self.take_chunk(session, body, getattr(message, body))

    def take_report(self, session, report):
        if report.state == agent_pb2.TRAINER_EXITED:
            self.exits[key_tuple(report.key)] = report
            if self.record_exits:
                session.send(ack=self.position(report.key))

    def take_chunk(self, session, kind, chunk):
        where = kind, key_tuple(chunk.key)
        stored = self.stored.setdefault(where, b"")
        if chunk.offset > len(stored):
            self.faults.append("gap: %s at %d, %d stored" % (where, chunk.offset, len(stored)))
        if chunk.offset < self.acked.get(where, 0):
            self.faults.append("again: %s at %d, %d acknowledged" % (where, chunk.offset, self.acked[where]))
        if len(chunk.data) > 64 << 10 or not chunk.data:
            self.faults.append("size: %d" % len(chunk.data))
        self.stored[where] = stored[:chunk.offset] + chunk.data
        if self.ack:
            session.send(ack=self.position(chunk.key))

    def position(self, k):
        t = key_tuple(k)
        at = {kind: len(self.stored.get((kind, t), b"")) for kind in ("log", "metrics")}
        for kind in at:
            if self.ack:
                self.acked[kind, t] = at[kind]
            else:
                at[kind] = self.acked.get((kind, t), 0)
        return agent_pb2.Ack(key=k, log_offset=at["log"], metric_offset=at["metrics"],
                             exit_recorded=self.record_exits and t in self.exits)

    # ---- for tests ----

    def session(self, number=None):
        """The newest session, or the one of that number, once its Hello is here."""
        def ready():
            with self.lock:
                live = self.sessions if number is not None else [s for s in self.sessions if not s.ended]
                index = number if number is not None else len(live) - 1
                return live[index] if 0 <= index < len(live) and live[index].all("hello") else None
        return wait(ready, "a session with a Hello")

    def reports(self, k):
        with self.lock:
            out = []
            for s in self.sessions:
                out += [t for h in s.all("hello") for t in h.trainers] + s.all("trainer")
            return [r for r in out if key_tuple(r.key) == key_tuple(k)]

    def exit_of(self, k):
        return wait(lambda: self.exits.get(key_tuple(k)), "the end of %s" % (key_tuple(k),))

    def log_of(self, k):
        return self.stored.get(("log", key_tuple(k)), b"")

    def start_trainer(self, k, world=2, name="tags"):
        a = agent_pb2.Assignment(job=k.job, generation=k.generation, rank=k.rank, world=world,
                                 address="127.0.0.1")
        a.spec.name = name
        self.session().send(start=agent_pb2.StartTrainer(key=k, assignment=a))


def alive(pid):
    try:
        return contents("/proc/%d/stat" % pid).rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


class WorkerCase(Case):
    """self.coordinator, and with start() a wsl-worker on self.state. What any of its daemons must not do is checked at
    the end: lose or repeat bytes, or fail under a sanitizer."""

    def setUp(self):
        self.state = os.path.join(self.folder, "state")
        self.coordinator = Coordinator().start()
        self.addCleanup(self.stop_all)
        self.worker = None
        self.options = []

    def stop_all(self):
        if self.worker and self.worker.alive():
            self.assertEqual(self.worker.stop(SECONDS), 0)
        self.coordinator.stop()
        self.assertEqual(self.coordinator.faults, [])
        if self.worker:
            self.assertNotRegex(self.worker.output(), "Sanitizer|runtime error")

    def command(self):
        return [program("wsl-worker"), "--coordinator", "127.0.0.1:%d" % self.coordinator.port, "--state", self.state,
                "--name", "w1", "--trainer", TRAINER, "--slots", "2", "--stop-grace", "0.5", *self.options]

    def start(self, *options, prefix=()):
        self.options += options
        self.worker = self.cluster.start("worker", [*prefix, *self.command()],
                                         {"WSL_STUBS": os.path.join(build_folder(), "tests", "stubs")})
        return self.worker

    # ---- trainers ----

    def run_folder(self, k):
        return os.path.join(self.state, "trainers", "%d-%d-%d" % key_tuple(k))

    def log_file(self, k):
        return contents(os.path.join(self.run_folder(k), "log"))

    def order(self, k, *lines):
        with open(os.path.join(self.run_folder(k), "orders"), "a") as f:
            f.write("".join(line + "\n" for line in lines))

    def answers(self, k):
        try:
            return contents(os.path.join(self.run_folder(k), "answers")).decode().splitlines()
        except FileNotFoundError:
            return []

    def wait_answer(self, k, start):
        return wait(lambda: [a for a in self.answers(k) if a.startswith(start)], "%s: answer %s" % (key_tuple(k), start))

    def start_trainer(self, k, **more):
        """Starts one and waits until it takes orders; its pid."""
        self.coordinator.start_trainer(k, **more)
        started = wait(lambda: self.coordinator.reports(k), "a report of the start")[0]
        self.assertEqual(started.state, agent_pb2.TRAINER_STARTED)
        self.wait_answer(k, "ready")
        return started.pid

    def start_child(self, k):
        """A process of the trainer's that outlives it; its pid."""
        self.order(k, "child")
        return int(self.wait_answer(k, "child")[0].split()[1])

    def check_exit(self, k, outcome, reason):
        report = self.coordinator.exit_of(k)
        self.assertEqual(agent_pb2.TrainerOutcome.Name(report.outcome), outcome)
        self.assertIn(reason, report.reason)
        return report
