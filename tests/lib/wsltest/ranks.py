# SPDX-License-Identifier: Apache-2.0
"""wsl-trainer without a worker daemon: this process plays the worker's and the coordinator's part."""
import os
import select
import signal
import socket
import struct
import subprocess

from .cluster import program, tail
from .wait import wait_for
from .rpc import agent_pb2  # makes the generated modules importable

from wsl.v1 import trainer_pb2


def metrics_of(path):
    """The whole messages of a metric file."""
    data, at, out = b"", 0, []
    if os.path.exists(path):
        with open(path, "rb") as f:
            data = f.read()
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                break
        out.append(agent_pb2.TrainerMetric.FromString(data[at:at + length]))
        at += length
    return out


class Rank:
    """One trainer process in its run folder."""

    def __init__(self, folder, assignment, *options):
        self.folder, self.assignment = folder, assignment
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "assignment.pb"), "wb") as f:
            f.write(assignment.SerializeToString())
        self.key = agent_pb2.TrainerKey(job=assignment.job, generation=assignment.generation, rank=assignment.rank)
        with open(os.path.join(folder, "log"), "ab") as out:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", program("wsl-trainer"),
                                             "--run-folder", folder, *options],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.socket, self.received = None, b""
        self.phases, self.parts = [], {}

    def connect(self):
        """As a worker does; nothing when the trainer does not listen (yet, or any more)."""
        if self.socket:
            return True
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = os.open(self.folder, os.O_PATH)
        try:
            peer.connect(f"/proc/self/fd/{folder}/control.sock")
        except OSError:
            peer.close()
            return False
        finally:
            os.close(folder)
        self.socket, self.received = peer, b""
        return True

    def disconnect(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def pump(self):
        """Takes in what the trainer has said."""
        while self.connect() and select.select([self.socket], [], [], 0)[0]:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.disconnect()
                return
            self.received += data
            while len(self.received) >= 4:
                size, = struct.unpack("<I", self.received[:4])
                if len(self.received) < 4 + size:
                    break
                self.take(trainer_pb2.FromTrainer.FromString(self.received[4:4 + size]))
                self.received = self.received[4 + size:]

    def take(self, message):
        if message.HasField("status"):
            self.phases.append(message.status.phase)
        elif message.HasField("exchange"):
            self.parts.setdefault(message.exchange.round, []).append(message.exchange.blob)

    def send(self, message):
        data = message.SerializeToString()
        self.socket.sendall(struct.pack("<I", len(data)) + data)

    def stop(self, reason, mode=agent_pb2.GRACEFUL):
        wait_for("the trainer's socket", self.connect)
        self.send(trainer_pb2.ToTrainer(stop=agent_pb2.StopTrainer(key=self.key, mode=mode, reason=reason)))

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)

    def ended(self):
        return self.process.poll() is not None

    def log(self):
        return tail(os.path.join(self.folder, "log"), 200)

    def metrics(self, kind=None):
        found = metrics_of(os.path.join(self.folder, "metrics"))
        return [getattr(m, kind) for m in found if m.HasField(kind)] if kind else found

    def step(self):
        progress = self.metrics("progress")
        return progress[-1].step if progress else 0

    def outcome(self):
        """(word, reason), or None when it left none."""
        path = os.path.join(self.folder, "outcome.pb")
        if not os.path.exists(path):
            return None
        with open(path, "rb") as f:
            end = trainer_pb2.TrainerEnd.FromString(f.read())
        return agent_pb2.TrainerOutcome.Name(end.outcome), end.reason


class Generation:
    """All ranks of a generation. pump() carries their exchange, as worker and coordinator would."""

    def __init__(self, root, spec, *options, generation=1, resume="", init="", checkpoints=None,
                 identity=None):
        checkpoints = checkpoints or os.path.join(root, "checkpoints")
        self.answered = set()
        self.ranks = [
            Rank(os.path.join(root, f"run-{generation}-{rank}"), agent_pb2.Assignment(
                job=1, generation=generation, rank=rank, world=spec.world, spec=spec, resume=resume, init=init,
                address="127.0.0.1", run_folder=os.path.join(root, f"run-{generation}-{rank}"),
                checkpoint_folder=checkpoints, identity=identity), *options)
            for rank in range(spec.world)]

    def pump(self):
        for rank in self.ranks:
            rank.pump()
        rounds = set.intersection(*[set(rank.parts) for rank in self.ranks])
        for number in sorted(rounds - self.answered):
            result = agent_pb2.ExchangeResult(job=1, generation=self.ranks[0].assignment.generation, round=number,
                                              blob=self.ranks[0].parts[number][-1])
            if all(rank.connect() for rank in self.ranks):
                for rank in self.ranks:
                    rank.send(trainer_pb2.ToTrainer(exchange=result))
                self.answered.add(number)

    def wait_for(self, what, condition, seconds=120):
        def pumped():
            self.pump()
            return condition()
        try:
            return wait_for(what, pumped, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def wait(self, seconds=120):
        """Until all have ended; their exit statuses."""
        self.wait_for("the end of all ranks", lambda: all(rank.ended() for rank in self.ranks), seconds)
        return [rank.process.returncode for rank in self.ranks]

    def logs(self):
        return "\n".join(f"---- rank {i} ----\n{rank.log()}" for i, rank in enumerate(self.ranks))

    def close(self):
        for rank in self.ranks:
            if not rank.ended():
                rank.kill()
            rank.process.wait()
            rank.disconnect()
