#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What clients should not send: each gets one clear status, and the coordinator goes on serving."""
import os
import signal
import socket
import subprocess
import sys

from wsltest import Case, job_spec, main
from wsltest import rpc
from wsltest.rpc import agent_pb2, grpc, job_pb2, node_pb2

SECONDS = 30
Code = grpc.StatusCode


def raw(data):
    return data


class BadInput(Case):
    def setUp(self):
        self.cluster.start_coordinator()
        self.channel = rpc.open_channel(self.cluster.address)
        self.addCleanup(self.channel.close)
        self.jobs = rpc.job_pb2_grpc.JobServiceStub(self.channel)

    def refused(self, code, call, *words):
        """The call fails with this code and one line that has these words."""
        with self.assertRaises(grpc.RpcError) as caught:
            result = call()
            if hasattr(result, "__next__"):
                list(result)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assert_one_line(caught.exception.details(), *words)

    def call_raw(self, path, data):
        return self.channel.unary_unary(path, request_serializer=raw, response_deserializer=raw)(data, timeout=SECONDS)

    def still_serves(self):
        self.assertTrue(self.cluster.coordinator.alive())
        self.jobs.List(job_pb2.ListJobsRequest(), timeout=SECONDS)

    def tearDown(self):
        self.still_serves()

    # ---- below the messages ----

    def test_unknown_method(self):
        for path in ("/wsl.v1.JobService/Explode", "/wsl.v1.Nothing/Get", "/x", "/"):
            self.refused(Code.UNIMPLEMENTED, lambda p=path: self.call_raw(p, b""), path)

    def test_oversize_message(self):
        big = job_pb2.GetJobRequest(job="x" * (8 << 20))
        for _ in range(3):
            self.refused(Code.RESOURCE_EXHAUSTED, lambda: self.jobs.Get(big, timeout=SECONDS))

    def test_garbage_for_a_message(self):
        for data in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x07abc", b"\x08", b"\x0a\x05abc"):
            for path in ("/wsl.v1.JobService/Submit", "/wsl.v1.JobService/Get", "/wsl.v1.NodeService/Get"):
                self.refused(Code.INVALID_ARGUMENT, lambda p=path, d=data: self.call_raw(p, d), "Request")

    def test_text_that_is_not_utf8(self):
        self.refused(Code.INVALID_ARGUMENT, lambda: self.call_raw("/wsl.v1.JobService/Get", b"\x0a\x02\xff\xfe"),
                     "job", "UTF-8")

    def test_bytes_that_are_not_http2(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100):
            with socket.create_connection(("127.0.0.1", self.cluster.port), SECONDS) as s:
                s.settimeout(SECONDS)
                s.sendall(data)
                try:
                    while s.recv(4096):  # until it hangs up on us
                        pass
                except ConnectionError:
                    pass

    def test_nested_very_deep(self):
        """34 KB of nested length prefixes: a schema that could recurse would overflow the stack."""
        data = b""
        for _ in range(9000):
            size = len(data)
            prefix = bytearray()
            while size > 127:
                prefix.append(size & 127 | 128)
                size >>= 7
            data = b"\x0a" + bytes(prefix) + bytes([size]) + data
        for path in ("/wsl.v1.JobService/Submit", "/wsl.v1.JobService/Get"):
            self.refused(Code.INVALID_ARGUMENT, lambda p=path: self.call_raw(p, data))

    # ---- jobs ----

    def test_empty_submit(self):
        self.refused(Code.INVALID_ARGUMENT, lambda: self.jobs.Submit(job_pb2.SubmitRequest(), timeout=SECONDS))

    def test_bad_fields_are_named(self):
        nan = float("nan")
        cases = [
            ("name", {"name": ""}), ("name", {"name": "a b"}), ("name", {"name": "x" * 65}), ("kind", {"kind": 0}),
            ("kind", {"kind": 99}), ("data", {"data": ""}), ("batch", {"batch": 0}),
            ("batch", {"world": 3, "batch": 8}), ("epochs", {"epochs": 0}),
            ("model.depths", {"model": job_pb2.Model()}),
            ("model.image_size", {"model": job_pb2.Model(depths=[1], image_size=33)}),
            ("learning_rate", {"optimizer": job_pb2.Optimizer(learning_rate=nan, momentum=0.9)}),
            ("momentum", {"optimizer": job_pb2.Optimizer(learning_rate=0.1, momentum=1)}),
            ("weight_decay", {"optimizer": job_pb2.Optimizer(learning_rate=0.1, weight_decay=-1)}),
        ]
        for field, changes in cases:
            with self.subTest(changes=changes):
                spec = job_spec("job", self.folder, **changes)
                self.refused(Code.INVALID_ARGUMENT,
                             lambda s=spec: self.jobs.Submit(job_pb2.SubmitRequest(spec=s), timeout=SECONDS), field)
        self.assertEqual(len(self.jobs.List(job_pb2.ListJobsRequest(), timeout=SECONDS).jobs), 0)

    def test_unknown_job(self):
        for name in ("nobody", "0", "99999", "18446744073709551616", "-1"):
            for call in (lambda n: self.jobs.Get(job_pb2.GetJobRequest(job=n), timeout=SECONDS),
                         lambda n: self.jobs.Cancel(job_pb2.CancelJobRequest(job=n), timeout=SECONDS),
                         lambda n: self.jobs.Watch(job_pb2.WatchJobRequest(job=n), timeout=SECONDS),
                         lambda n: self.jobs.Logs(job_pb2.LogsRequest(job=n), timeout=SECONDS),
                         lambda n: self.jobs.Metrics(job_pb2.MetricsRequest(job=n), timeout=SECONDS)):
                self.refused(Code.NOT_FOUND, lambda c=call, n=name: c(n), name)

    def test_empty_job_name(self):
        for call in (lambda: self.jobs.Get(job_pb2.GetJobRequest(), timeout=SECONDS),
                     lambda: self.jobs.Cancel(job_pb2.CancelJobRequest(), timeout=SECONDS),
                     lambda: self.jobs.Watch(job_pb2.WatchJobRequest(), timeout=SECONDS),
                     lambda: self.jobs.Logs(job_pb2.LogsRequest(), timeout=SECONDS)):
            self.refused(Code.INVALID_ARGUMENT, call, "job")

    def test_unknown_and_empty_node(self):
        nodes = rpc.node_pb2_grpc.NodeServiceStub(self.channel)
        self.refused(Code.NOT_FOUND, lambda: nodes.Get(node_pb2.GetNodeRequest(name="nobody"), timeout=SECONDS), "nobody")
        self.refused(Code.INVALID_ARGUMENT, lambda: nodes.Get(node_pb2.GetNodeRequest(), timeout=SECONDS), "name")

    # ---- sessions of workers that are none ----

    def session(self, *messages):
        agents = rpc.agent_pb2_grpc.AgentServiceStub(self.channel)
        return agents.Session(iter(messages), timeout=SECONDS)

    def test_session_without_hello(self):
        heartbeat = agent_pb2.WorkerMessage(heartbeat=agent_pb2.WorkerHeartbeat(sequence=1))
        self.refused(Code.FAILED_PRECONDITION, lambda: self.session(heartbeat), "hello")

    def test_session_with_an_empty_name(self):
        self.refused(Code.INVALID_ARGUMENT, lambda: self.session(agent_pb2.WorkerMessage(hello=agent_pb2.Hello())), "name")

    # ---- clients that vanish ----

    def test_client_killed_in_mid_stream(self):
        self.jobs.Submit(job_pb2.SubmitRequest(spec=job_spec("watched", self.folder)), timeout=SECONDS)
        descriptors = f"/proc/{self.cluster.coordinator.pid}/fd"
        before = len(os.listdir(descriptors))
        for _ in range(5):
            client = subprocess.Popen([sys.executable, __file__, "--watch", self.cluster.address, "watched"],
                                      stdout=subprocess.PIPE)
            self.assertEqual(client.stdout.readline(), b"watching\n")
            self.assertGreater(len(os.listdir(descriptors)), before)
            os.kill(client.pid, signal.SIGKILL)
            client.wait()
            client.stdout.close()
        self.wait_for("the connections to be closed", lambda: len(os.listdir(descriptors)) <= before)

    def test_many_clients_that_hang_up(self):
        self.jobs.Submit(job_pb2.SubmitRequest(spec=job_spec("watched", self.folder)), timeout=SECONDS)
        for _ in range(200):
            updates = self.jobs.Watch(job_pb2.WatchJobRequest(job="watched"), timeout=SECONDS)
            next(updates)
            updates.cancel()
        # A change after they left reaches nobody and hurts nobody.
        self.jobs.Cancel(job_pb2.CancelJobRequest(job="watched"), timeout=SECONDS)


def watch_until_killed(address, job):
    with rpc.open_channel(address) as channel:
        updates = rpc.job_pb2_grpc.JobServiceStub(channel).Watch(job_pb2.WatchJobRequest(job=job))
        next(updates)
        print("watching", flush=True)
        for _ in updates:
            pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch_until_killed(*sys.argv[2:4])
    else:
        main()
