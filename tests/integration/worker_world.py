# SPDX-License-Identifier: Apache-2.0
"""What test_worker.py drives the real wsl-worker with: a coordinator in this process, and the daemon's life."""
import concurrent.futures
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def make_stubs():
    """The folder of generated Python modules: WSL_STUBS, or made now into a temporary folder."""
    if "WSL_STUBS" not in os.environ:
        folder = tempfile.mkdtemp(prefix="wsl-stubs-")
        names = [os.path.join("wsl/v1", n) for n in os.listdir(os.path.join(ROOT, "proto/wsl/v1")) if n.endswith(".proto")]
        subprocess.run(["protoc", "-I" + os.path.join(ROOT, "proto"), "--python_out=" + folder, "--grpc_python_out=" + folder,
                        "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin", *names], check=True)
        os.environ["WSL_STUBS"] = folder
    return os.environ["WSL_STUBS"]


sys.path.insert(0, make_stubs())
import grpc  # noqa: E402
from wsl.v1 import agent_pb2, agent_pb2_grpc  # noqa: E402

DEADLINE = 30.0


def wait(condition, what, deadline=DEADLINE):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %g s for: %s" % (deadline, what))
        time.sleep(0.01)


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
                                 addresses=["127.0.0.1"] * world)
        a.spec.name = name
        self.session().send(start=agent_pb2.StartTrainer(key=k, assignment=a))


class Worker:
    """A wsl-worker on a state folder of its own; every trainer it leaves behind is ended at the close."""

    def __init__(self, program, coordinator, state, *options, prefix=()):
        self.state = os.path.realpath(state)
        self.log_path = os.path.join(os.path.dirname(self.state), "worker.log")
        self.command = [*prefix, program, "--coordinator", "127.0.0.1:%d" % coordinator.port, "--state", state,
                        "--name", "w1", "--trainer", os.path.join(HERE, "scripted_trainer.py"), *options]
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def log(self):
        return contents(self.log_path).decode()

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def folder(self, k):
        return os.path.join(self.state, "trainers", "%d-%d-%d" % key_tuple(k))

    def order(self, k, *lines):
        with open(os.path.join(self.folder(k), "orders"), "a") as f:
            f.write("".join(line + "\n" for line in lines))

    def answers(self, k):
        try:
            return contents(os.path.join(self.folder(k), "answers")).decode().splitlines()
        except FileNotFoundError:
            return []

    def wait_answer(self, k, start):
        return wait(lambda: [a for a in self.answers(k) if a.startswith(start)], "%s: answer %s" % (key_tuple(k), start))

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)
        folder = os.path.join(self.state, "trainers")
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            try:
                pid, started = contents(os.path.join(folder, name, "process")).split()[:2]
                stat = contents("/proc/%s/stat" % pid.decode()).rpartition(b")")[2].split()
                if stat[19] == started:
                    os.killpg(int(pid), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError, ValueError):
                pass


def alive(pid):
    try:
        return contents("/proc/%d/stat" % pid).rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False
