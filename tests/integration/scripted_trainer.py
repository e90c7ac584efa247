#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A trainer that does what the file `orders` in its run folder says, one order a line.

It keeps to trainer.proto: control.sock, status on connect, parts repeated until answered, stop over the socket or
SIGTERM, outcome.pb as its last word. What it learns it appends to `answers`. WSL_STUBS names the generated modules.
"""
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.environ["WSL_STUBS"])
from wsl.v1 import agent_pb2, trainer_pb2  # noqa: E402


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


class Trainer:
    def __init__(self, folder):
        self.inherited = os.listdir("/proc/self/fd")
        self.started_in = os.getcwd()
        os.chdir(folder)
        with open("assignment.pb", "rb") as f:
            a = agent_pb2.Assignment.FromString(f.read())
        self.key = agent_pb2.TrainerKey(job=a.job, generation=a.generation, rank=a.rank)
        self.phase = "loading"
        self.parts = {}
        self.peer = None
        self.received = b""
        self.ignore_stop = False
        self.stopped = None
        signal.signal(signal.SIGTERM, lambda *_: self.stop("SIGTERM"))
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("control.sock")
        self.listener.listen(4)
        self.answers = open("answers", "a", buffering=1)
        self.metrics = open("metrics", "ab", buffering=0)
        self.orders_at = 0

    def stop(self, why):
        self.answers.write("stop %s\n" % why)
        if not self.ignore_stop:
            self.stopped = why

    def send(self, **body):
        if not self.peer:
            return
        data = trainer_pb2.FromTrainer(**body).SerializeToString()
        try:
            self.peer.sendall(struct.pack("<I", len(data)) + data)
        except OSError:  # the worker is gone; another will come
            self.peer = None

    def send_status(self):
        self.send(status=trainer_pb2.TrainerStatus(key=self.key, pid=os.getpid(), phase=self.phase))

    def send_part(self, number):
        self.send(exchange=agent_pb2.ExchangePart(key=self.key, round=number, blob=self.parts[number]))

    def accept(self):
        self.peer, _ = self.listener.accept()
        self.received = b""
        self.answers.write("connected\n")
        self.send_status()
        for number in self.parts:
            self.send_part(number)

    def read(self):
        try:
            data = self.peer.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.peer = None
            return
        self.received += data
        while len(self.received) >= 4:
            size, = struct.unpack("<I", self.received[:4])
            if len(self.received) < 4 + size:
                break
            message = trainer_pb2.ToTrainer.FromString(self.received[4:4 + size])
            self.received = self.received[4 + size:]
            if message.HasField("stop"):
                self.stop("socket %s" % message.stop.reason)
            else:
                result = message.exchange
                self.parts.pop(result.round, None)
                self.answers.write("result %d %s\n" % (result.round, (result.error or result.blob.decode())))

    def end(self, outcome, reason):
        word = trainer_pb2.TrainerEnd(outcome=outcome, reason=reason, time_ms=int(time.time() * 1000))
        with open("outcome.tmp", "wb") as f:
            f.write(word.SerializeToString())
        os.rename("outcome.tmp", "outcome.pb")
        sys.exit(0)

    def obey(self, word, rest):
        if word == "log":
            print(rest, flush=True)
        elif word == "logbytes":  # count
            os.write(1, bytes(i % 251 for i in range(int(rest))))
        elif word == "metric":  # steps from 0 on
            for step in range(int(rest)):
                m = agent_pb2.TrainerMetric(time_ms=1)
                m.progress.step = step
                data = m.SerializeToString()
                self.metrics.write(varint(len(data)) + data)
        elif word == "torn":  # a message that never becomes whole
            self.metrics.write(varint(100) + b"half")
        elif word == "phase":
            self.phase = rest
            self.send_status()
        elif word == "part":
            number, blob = rest.split()
            self.parts[int(number)] = blob.encode()
            self.send_part(int(number))
        elif word == "babble":  # not the framing
            self.peer.sendall(b"\xff" * 64)
        elif word == "child":  # one that outlives us, in our session
            child = subprocess.Popen(["tail", "-f", os.path.abspath("orders")])
            self.answers.write("child %d\n" % child.pid)
        elif word == "ignore-stop":
            self.ignore_stop = True
            self.answers.write("ignoring\n")
        elif word == "open":
            self.answers.write("open %s %s\n" % (",".join(sorted(self.inherited, key=int)), self.started_in))
            self.answers.write("environment %s\n" % ",".join(sorted(os.environ)))
        elif word == "end":
            outcome, _, reason = rest.partition(" ")
            self.end(agent_pb2.TrainerOutcome.Value(outcome), reason)
        elif word == "exit":
            os._exit(int(rest))

    def run(self):
        self.answers.write("ready\n")
        while True:
            sources = [self.listener] + ([self.peer] if self.peer else [])
            for source in select.select(sources, [], [], 0.01)[0]:
                if source is self.listener:
                    self.accept()
                elif source is self.peer:  # not the one that accept() has just replaced: nothing would come
                    self.read()
            if self.stopped:
                self.end(agent_pb2.STOPPED, "stopped by " + self.stopped)
            if not os.path.exists("orders"):
                continue
            with open("orders", "rb") as f:
                f.seek(self.orders_at)
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self.orders_at += len(line)
                    word, _, rest = line.decode().strip().partition(" ")
                    self.obey(word, rest)


if __name__ == "__main__":
    assert sys.argv[1] == "--run-folder"
    Trainer(sys.argv[2]).run()
