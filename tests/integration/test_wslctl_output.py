#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What wslctl prints in special places: tables on a terminal, hints where there is nothing to print, and the line that
says what answers at an address where no coordinator does."""
import concurrent.futures
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import unicodedata
import unittest

from wsltest import main, program
from wsltest.rpc import grpc, job_pb2
from wsltest.wslctl import FakeCoordinator, JOB, UNREACHABLE, USAGE, Wslctl

LONG = "rank 1 exited: the data set at /data/holiday-photos-2017 cannot be read (No such file or directory)"


def columns(text):
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class OnTerminal(Wslctl):
    def setUp(self):
        self.fake = FakeCoordinator()
        self.cluster.port = self.fake.port
        self.addCleanup(lambda: self.fake.close())
        self.fake.node_reason = "no heartbeat for 12 s; its trainers may still run, and are waited for"
        for i, name in enumerate(("one-with-a-name-of-forty-letters-at-least", "猫の写真と犬の写真で訓練する仕事です", "cafe\u0301")):
            job = job_pb2.Job(id=1000 + i, state=job_pb2.FAILED, reason=LONG, submitted_ms=1525255872345,
                              spec=job_pb2.JobSpec(name=name, kind=job_pb2.TRANSFER))
            job.progress.step, job.progress.total_steps = 123456, 640000
            job.progress.loss, job.progress.hit1 = 3.21436, 0.2314
            self.fake.others.append(job)

    def on_terminal(self, width, *words, **environment):
        process, terminal = self.start_on_terminal(width, *words, stderr=subprocess.PIPE, NO_COLOR="1", **environment)
        out = self.read_terminal(process, terminal)
        return out.decode().replace("\r\n", "\n").splitlines()

    def assert_fitted(self, lines, width):
        for line in lines:
            self.assertLessEqual(columns(line), width, line)

    def test_list_has_a_line_for_each_job(self):
        for width in (132, 100, 80, 60, 40):
            with self.subTest(width=width):
                lines = self.on_terminal(width, "list")
                self.assertEqual(len(lines), 5, lines)
                self.assert_fitted(lines, width)
                self.assertEqual(sum("failed" in line for line in lines), 3)
        lines = self.on_terminal(80, "list")
        self.assertIn("REASON", lines[0])
        self.assertNotIn("HIT@1", lines[0])  # the first to go
        self.assertIn("…", lines[2])
        self.assertIn("rank 1 exited", lines[2])
        # Columns stay in line whatever the letters.
        begin = [columns(line[:line.index("failed")]) for line in lines if "failed" in line]
        self.assertEqual(len(set(begin)), 1, lines)

    def test_nothing_is_cut_off_a_terminal(self):
        for lines in (self.run_ok("list").stdout.splitlines(), self.on_terminal(80, "list", "-o", "wide")):
            self.assertEqual(sum(LONG in line for line in lines), 3)

    def test_columns_of_the_environment(self):
        def with_columns(value):
            return subprocess.run([program("wslctl"), "list"], capture_output=True, text=True, check=True,
                                  env={**os.environ, "WSL_SERVER": self.cluster.address, "COLUMNS": value}).stdout
        self.assert_fitted(with_columns("70").splitlines(), 70)
        for value in ("", "0", "many", "-4"):
            self.assertIn(LONG, with_columns(value))
        # A terminal knows better than its environment.
        self.assertTrue(any(columns(line) > 70 for line in self.on_terminal(100, "list", COLUMNS="70")))

    def test_nodes_and_describe(self):
        lines = self.on_terminal(80, "nodes")
        self.assertEqual(len(lines), 3)
        self.assert_fitted(lines, 80)
        self.assertRegex(lines[2], r"^b +lost +1/2 ")
        self.assertIn("no heartbeat", lines[2])
        self.fake.event = "generation 1: " + LONG
        lines = self.on_terminal(80, "describe", "tags")
        events = lines[lines.index("Events:"):]
        self.assert_fitted(events, 80)
        self.assertTrue(events[-1].endswith("…"), events)
        self.assertTrue(any(line.endswith(LONG) for line in self.on_terminal(80, "describe", "tags", "-o", "wide")))


class Hints(Wslctl):
    def setUp(self):
        self.fake = FakeCoordinator()
        self.cluster.port = self.fake.port
        self.addCleanup(lambda: self.fake.close())

    def test_shapes_of_json_are_the_same_for_one_and_many(self):
        self.fake.others.append(job_pb2.Job(id=8, state=job_pb2.QUEUED, spec=job_pb2.JobSpec(name="next")))
        for words, key, count in ((["get", "7"], "jobs", 1), (["get", "7", "tags"], "jobs", 2), (["list"], "jobs", 2),
                                  (["nodes"], "nodes", 2)):
            with self.subTest(words=words):
                self.assertEqual(len(self.run_json(*words)[key]), count)
                lines = [json.loads(line) for line in self.run_ok(*words, "-o", "ndjson").stdout.splitlines()]
                self.assertEqual([line["version"] for line in lines], [1] * count)
                self.assertEqual([line[key[:-1]] for line in lines], self.run_json(*words)[key])

    def test_numbers_are_short(self):
        self.fake.push(step=1, loss=0.4, hit1=0.1)
        text = self.run_ok("get", "7", "-o", "json").stdout
        self.assertIn('"loss": 0.4,', text)
        self.assertIn('"hit1": 0.1,', text)
        self.fake.push(loss=float("nan"), hit1=float("inf"))
        progress = self.run_json("get", "7")["jobs"][0]["progress"]
        self.assertEqual((progress["loss"], progress["hit1"], progress["step"]), (None, None, 1))

    def test_logs_of_a_job_without_any(self):
        self.fake.silent = True
        for state, reason, words in (
                (job_pb2.QUEUED, "needs 2 slots; the cluster has 1 in all", ("is queued", "needs 2 slots", "'wslctl logs -f 7'")),
                (job_pb2.RUNNING, "", ("is running and has no log yet", "'wslctl logs -f 7'")),
                (job_pb2.CANCELLED, "by its user", ("ended (cancelled) without a log", "by its user"))):
            with self.subTest(words=words):
                self.fake.job.reason = reason
                self.fake.push(state)
                done = self.run_ok("logs", "tags")
                self.assertEqual(done.stdout, "")
                self.assert_one_line(done.stderr, "job 7 (tags)", *words)
                self.assertEqual(self.run_ok("logs", "tags", "-q").stderr, "")

    def test_several_files_for_coordinators_with_and_without_batches(self):
        files = [self.write(f"{name}.yaml", JOB.format(name=name)) for name in ("one", "two")]
        self.assertEqual(self.run_ok("submit", "-q", *files).stdout, "1\n2\n")
        self.assertEqual(self.fake.submitted, ["one", "two"])
        self.fake.takes_batches = True
        done = self.cluster.wslctl("submit", "-q", *files)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "7\n", f"wslctl: {files[1]}: no\n"))
        self.assertEqual(self.fake.submitted, ["one", "two", ["one", "two"]])

    def test_logs_that_follow_a_queued_job(self):
        self.fake.job.reason = "needs 2 slots; the cluster has 1 in all"
        self.fake.push(job_pb2.QUEUED)
        process = self.start_wslctl("logs", "-f", "tags")
        self.assertIn("job 7 (tags) is queued: needs 2 slots", process.stderr.readline())
        self.assertIn("first of 0", process.stdout.readline())

    def test_ranks_that_there_are_not(self):
        self.assert_one_line(self.run_wrong(USAGE, "logs", "tags", "--rank", "2"), "no rank 2", "0 to 1")
        self.fake.job.spec.world = 1
        self.assert_one_line(self.run_wrong(USAGE, "logs", "tags", "--rank", "1"), "no rank 1", "rank 0 only")

    def test_names_that_there_are_not(self):
        for verb in ("get", "describe", "logs"):
            with self.subTest(verb=verb):
                self.assert_one_line(self.run_wrong(1, verb, "tgas"), "no job 'tgas'", "did you mean 'tags'?")
                self.assert_one_line(self.run_wrong(1, verb, "99"), "no job '99'", "'wslctl list'")
        self.assert_one_line(self.run_wrong(1, "watch", "tag"), "did you mean 'tags'?")
        self.assert_one_line(self.run_wrong(1, "wait", "tag"), "did you mean 'tags'?")

    def test_no_jobs(self):
        self.fake.job.id = 0
        self.fake.List = lambda request, context: job_pb2.ListJobsResponse()
        self.fake.close()
        self.fake.listen(self.fake.port)
        done = self.run_ok("list")
        self.assertEqual(done.stdout, "")
        self.assert_one_line(done.stderr, "no jobs", "wslctl submit")
        self.assertEqual(self.run_ok("list", "-q").stderr, "")

    def test_explain_finds_what_is_meant(self):
        for word, field in (("lr", "optimizer.learning_rate"), ("WD", "optimizer.weight_decay"), ("batch-size", "batch"),
                            ("gpus", "world"), ("num_workers", "loader_threads"), ("steps", "schedule.steps")):
            with self.subTest(word=word):
                self.assertIn(field, self.run_ok("explain", word, "-o", "name").stdout.splitlines())
        self.assertIn("called optimizer.learning_rate", self.run_ok("explain", "lr").stderr)
        lines = self.run_ok("explain", "thread").stdout.splitlines()  # part of names
        self.assertEqual([line.split()[0] for line in lines], ["FIELD", "threads", "loader_threads"])
        self.assertIn("optimizer.momentum", self.run_ok("explain", "nesterov", "-o", "name").stdout)  # part of a text
        self.assert_one_line(self.run_wrong(USAGE, "explain", "momentun"), "did you mean 'momentum'?")
        self.assert_one_line(self.run_wrong(USAGE, "explain", "xyzzy"), "no field 'xyzzy'")
        path = self.write("job.yaml", "name: x\nkind: pretrain\ndata: d\nmodel: {depths: [1]}\nbatch: 8\nlr: 0.1\nepochs: 1\n")
        self.assertIn("did you mean optimizer.learning_rate?", self.run_wrong(USAGE, "submit", path))


class Server:
    """Anything that accepts connections on loopback; `serve` is called with each in a thread."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.run, args=(serve,), daemon=True).start()

    def run(self, serve):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # closed
                return
            self.connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


class NoCoordinator(Wslctl):
    """What else may be at an address. Exit code 5 and one line."""

    def assert_said(self, port, *words, verb=("list",)):
        line = self.run_wrong(UNREACHABLE, "--server", f"127.0.0.1:{port}", *verb)
        self.assert_one_line(line, f"127.0.0.1:{port}", *words)

    def with_server(self, serve):
        server = Server(serve)
        self.addCleanup(server.close)
        return server.port

    def test_nobody(self):
        self.assert_said(1, "nothing listens at", "wsl-coordinator --listen", "--server", "WSL_SERVER")

    def test_one_that_closes(self):
        port = self.with_server(lambda c: c.close())
        for verb in (["list"], ["watch", "x"], ["logs", "x"], ["nodes", "a"]):
            self.assert_said(port, "is not a wsl coordinator", "closed the connection", "check --server", verb=verb)

    def test_one_that_is_silent(self):
        self.assert_said(self.with_server(lambda c: None), "accepts connections, but does not answer", "check --server")

    def test_a_web_server(self):
        def serve(connection):
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        self.assert_said(self.with_server(serve), "is not a wsl coordinator", "a web server", "check --server")

    def test_another_protocol(self):
        port = self.with_server(lambda c: c.sendall(b"220 mail.example \033[2J ESMTP\r\n"))
        self.assert_said(port, "it says '220 mail.example '", "check --server")

    @unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificate")
    def test_a_tls_server(self):
        key, cert = os.path.join(self.folder, "key.pem"), os.path.join(self.folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                        "-subj", "/CN=localhost"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)

        def serve(connection):
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
        self.assert_said(self.with_server(serve), "it speaks TLS", "check --server")

    def test_another_grpc_server(self):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(None).wait())
        self.assert_said(port, "is not a wsl coordinator of this version", "wsl.v1.JobService/List", "check --server")
        self.assert_said(port, "wsl.v1.JobService/Watch", verb=["watch", "x"])

    def test_a_host_that_does_not_resolve(self):
        line = self.run_wrong(UNREACHABLE, "--server", "no-such-host.invalid:7070", "list")
        self.assert_one_line(line, "no-such-host.invalid", "does not resolve", "check --server")

    def test_addresses_that_are_none(self):
        for address in ("localhost", "127.0.0.1:99999", "127.0.0.1:http", ":7070"):
            self.assert_one_line(self.run_wrong(USAGE, "--server", address, "list"), "--server", address)


class FirstConnection(Wslctl):
    """watch and wait wait for a coordinator that is not there yet, and say so once."""

    def test_it_comes(self):
        for verb in ("watch", "wait"):
            with self.subTest(verb=verb):
                fake = FakeCoordinator()
                self.cluster.port = fake.port
                fake.close()
                process = self.start_wslctl(verb, "--retry", "60", "tags")
                self.assertRegex(process.stderr.readline(), rf"nothing listens at 127.0.0.1:{fake.port}; retrying for 1m00s")
                fake.push(job_pb2.SUCCEEDED)
                fake.listen(fake.port)
                self.addCleanup(fake.close)
                _, stderr = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, stderr)
                self.assertEqual(stderr, "wslctl: the coordinator is there\n")

    def test_it_does_not_come(self):
        self.cluster.port = 1
        done = self.cluster.wslctl("watch", "--retry", "1", "tags")
        self.assertEqual((done.returncode, done.stdout), (UNREACHABLE, ""))
        first, last = done.stderr.splitlines()
        self.assertIn("retrying for 1s", first)
        self.assertIn("gave up after 1s: nothing listens at 127.0.0.1:1", last)


main()
