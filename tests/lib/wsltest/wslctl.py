# SPDX-License-Identifier: Apache-2.0
"""What the tests of wslctl share: running it, and a fake coordinator with one job."""
import concurrent.futures
import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import threading

from .case import Case
from .cluster import program
from .rpc import grpc, job_pb2, job_pb2_grpc, node_pb2, node_pb2_grpc

USAGE, CANCELLED, UNREACHABLE, TIMEOUT, INTERRUPTED = 2, 3, 5, 6, 130

JOB = """name: {name}
kind: pretrain
data: pictures
model: {{depths: [1, 1, 1, 1], groups: 8, width: 2, image_size: 32}}
batch: 8
epochs: 1
"""


class Wslctl(Case):
    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def run_ok(self, *words, **options):
        done = self.cluster.wslctl(*words, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def run_json(self, *words, **options):
        document = json.loads(self.run_ok(*words, "-o", "json", **options).stdout)
        self.assertEqual(document["version"], 1)
        return document

    def run_wrong(self, code, *words, **options):
        """Ends with this code, prints nothing on stdout; its stderr."""
        done = self.cluster.wslctl(*words, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr

    def start_wslctl(self, *words, **options):
        process = subprocess.Popen([program("wslctl"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace",
                                   env={**os.environ, "WSL_SERVER": self.cluster.address}, **options)

        def end():
            process.kill()
            process.communicate()
        self.addCleanup(end)
        return process

    def start_on_terminal(self, width, *words, stdout=None, stderr=None, **environment):
        """wslctl, whose outputs are a terminal where nothing else is given; the process and our end of the terminal."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        process = subprocess.Popen([program("wslctl"), *words], stdout=theirs if stdout is None else stdout,
                                   stderr=theirs if stderr is None else stderr,
                                   env={**os.environ, "WSL_SERVER": self.cluster.address, **environment})
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        os.close(theirs)
        return process, ours

    def read_terminal(self, process, ours):
        """All bytes that the process writes to the terminal until it ends, which it has to with exit code 0."""
        out = b""
        try:
            while part := os.read(ours, 65536):
                out += part
        except OSError:  # how a terminal ends
            pass
        os.close(ours)
        self.assertEqual(process.wait(60), 0)
        return out


class FakeCoordinator(job_pb2_grpc.JobServiceServicer, node_pb2_grpc.NodeServiceServicer):
    """A coordinator with one job, whose updates the test pushes."""

    def __init__(self, port=0):
        self.changed = threading.Condition()
        self.updates, self.watchers = [], 0
        self.silent = False  # no log
        self.others = []     # more jobs that List knows
        self.submitted = []  # names; a list of them for a batch
        self.takes_batches = False
        self.node_reason = ""
        self.event = "by a\ntest"
        self.job = job_pb2.Job(id=7, state=job_pb2.RUNNING, reason="", submitted_ms=1525255872345,
                               started_ms=1525255873345, spec=job_pb2.JobSpec(name="tags", kind=job_pb2.PRETRAIN, world=2))
        self.listen(port)

    def listen(self, port):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        job_pb2_grpc.add_JobServiceServicer_to_server(self, self.server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def close(self):
        with self.changed:
            self.changed.notify_all()
        self.server.stop(None).wait()

    def push(self, state=None, event="", **progress):
        with self.changed:
            if state is not None:
                self.job.state = state
            if state in (job_pb2.SUCCEEDED, job_pb2.FAILED, job_pb2.CANCELLED):
                self.job.ended_ms = self.job.started_ms + 192000
            for key, value in progress.items():
                setattr(self.job.progress, key, value)
            update = job_pb2.WatchJobResponse()
            update.job.CopyFrom(self.job)
            if event:
                update.new_events.add(sequence=len(self.updates) + 1, time_ms=1525255872345, kind="state",
                                      message=event)
            self.updates.append(update)
            self.changed.notify_all()

    # ---- what wslctl calls ----

    def Watch(self, request, context):
        if request.job not in ("tags", "7"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job '{request.job}'")
        ended = threading.Event()
        context.add_callback(lambda: (ended.set(), self.wake()))
        with self.changed:
            self.watchers += 1
            at = len(self.updates)
        yield job_pb2.WatchJobResponse(job=self.job)
        while self.job.state not in (job_pb2.SUCCEEDED, job_pb2.FAILED, job_pb2.CANCELLED) or at < len(self.updates):
            with self.changed:
                self.changed.wait_for(lambda: ended.is_set() or at < len(self.updates))
                if ended.is_set():
                    return
                update = self.updates[at]
                at += 1
            yield update

    def wake(self):
        with self.changed:
            self.changed.notify_all()

    def Submit(self, request, context):
        self.submitted.append(request.spec.name)
        return job_pb2.SubmitResponse(job=job_pb2.Job(id=len(self.submitted), spec=request.spec, state=job_pb2.QUEUED))

    def SubmitBatch(self, request, context):
        if not self.takes_batches:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        self.submitted.append([spec.name for spec in request.specs])
        return job_pb2.SubmitBatchResponse(results=[{"id": 7}] + [{"status": 3, "error": "no"}] * (len(request.specs) - 1))

    def Get(self, request, context):
        if isinstance(request, node_pb2.GetNodeRequest):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no worker '{request.name}'")
        if request.job not in ("tags", "7"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no job '{request.job}'")
        answer = job_pb2.GetJobResponse(job=self.job)
        answer.events.add(sequence=1, time_ms=1525255872345, kind="submitted", message=self.event)
        return answer

    def Logs(self, request, context):
        if self.silent:
            return
        for rank in [request.rank] if request.one_rank else (0, 1):
            yield job_pb2.LogsResponse(generation=1, rank=rank, text=f"first of {rank}\nsecond of {rank}\n".encode())
        yield job_pb2.LogsResponse(generation=2, rank=request.rank, text=b"after a restart \xff\n")
        if request.follow:
            context.add_callback(self.wake)
            with self.changed:
                self.changed.wait_for(lambda: not context.is_active())

    def List(self, request, context):  # of both services
        if isinstance(request, node_pb2.ListNodesRequest):
            answer = node_pb2.ListNodesResponse()
            for name, state in (("a", node_pb2.READY), ("b", node_pb2.LOST)):
                answer.nodes.add(name=name, state=state, slots_used=1, jobs=["7/0"], last_seen_ms=1525255872345,
                                 reason=self.node_reason,
                                 facts=node_pb2.NodeFacts(slots=2, cpus=16, memory_bytes=64 << 30))
            return answer
        jobs = [self.job, *self.others]
        return job_pb2.ListJobsResponse(jobs=[j for j in jobs if not request.states or j.state in request.states])
