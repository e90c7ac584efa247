#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client that shares no code with us: it learns the services by reflection, checks health, and submits, lists,
watches and cancels jobs."""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from wsltest import Case, job_spec, main
from wsltest import rpc
from wsltest.rpc import grpc, health_pb2, job_pb2, node_pb2

SERVICES = {"wsl.v1.JobService", "wsl.v1.NodeService", "wsl.v1.AgentService", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
SECONDS = 30


class ForeignClient(Case):
    def setUp(self):
        self.cluster.start_coordinator()
        self.channel = rpc.open_channel(self.cluster.address)
        self.addCleanup(self.channel.close)
        self.jobs = rpc.job_pb2_grpc.JobServiceStub(self.channel)

    def submit(self, name, **changes):
        request = job_pb2.SubmitRequest(spec=job_spec(name, self.folder, **changes))
        return self.jobs.Submit(request, timeout=SECONDS).job

    def watch(self, name):
        return self.jobs.Watch(job_pb2.WatchJobRequest(job=name), timeout=SECONDS)

    # ---- what any gRPC tool does first ----

    def ask(self, stub, messages, **question):
        """One question of a reflection stream of its own."""
        requests = iter([messages.ServerReflectionRequest(**question)])
        return next(iter(stub.ServerReflectionInfo(requests, timeout=SECONDS)))

    def test_lists_services_by_reflection(self):
        for messages, stubs in ((rpc.reflection_pb2, rpc.reflection_pb2_grpc),
                                (rpc.reflection_alpha_pb2, rpc.reflection_alpha_pb2_grpc)):
            stub = stubs.ServerReflectionStub(self.channel)
            answer = self.ask(stub, messages, list_services="")
            self.assertEqual({s.name for s in answer.list_services_response.service}, SERVICES)

    def test_calls_with_nothing_but_reflection(self):
        """What grpcurl does: fetch the descriptors, build the messages from them, call."""
        stub = rpc.reflection_pb2_grpc.ServerReflectionStub(self.channel)
        answer = self.ask(stub, rpc.reflection_pb2, file_containing_symbol="wsl.v1.JobService")
        pool = descriptor_pool.DescriptorPool()
        for data in reversed(answer.file_descriptor_response.file_descriptor_proto):
            pool.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
        method = pool.FindServiceByName("wsl.v1.JobService").methods_by_name["List"]
        factory = message_factory.MessageFactory(pool)
        request, response = factory.GetPrototype(method.input_type), factory.GetPrototype(method.output_type)
        self.submit("seen-by-reflection")
        call = self.channel.unary_unary("/wsl.v1.JobService/List", request_serializer=request.SerializeToString,
                                        response_deserializer=response.FromString)
        listed = call(request(limit=5), timeout=SECONDS)
        self.assertEqual([job.spec.name for job in listed.jobs], ["seen-by-reflection"])

    def test_health(self):
        health = rpc.health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "wsl.v1.JobService", "wsl.v1.AgentService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=SECONDS)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        states = health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        self.assertEqual(next(states).status, health_pb2.HealthCheckResponse.SERVING)
        self.assertEqual(self.cluster.coordinator.stop(), 0)
        with self.assertRaises(grpc.RpcError) as caught:
            for state in states:
                self.assertEqual(state.status, health_pb2.HealthCheckResponse.NOT_SERVING)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    # ---- a job's life, with no worker to run it ----

    def test_submits_lists_watches_and_cancels(self):
        first = self.submit("first")
        self.assertEqual(first.state, job_pb2.QUEUED)
        self.assertEqual(first.spec.name, "first")
        self.assertGreater(first.id, 0)
        self.assertGreater(first.submitted_ms, 0)
        second = self.submit("second", world=2, batch=16)
        self.assertGreater(second.id, first.id)

        listed = self.jobs.List(job_pb2.ListJobsRequest(), timeout=SECONDS).jobs
        self.assertEqual([job.id for job in listed], [second.id, first.id])  # newest first
        page = self.jobs.List(job_pb2.ListJobsRequest(before_id=second.id, limit=1), timeout=SECONDS).jobs
        self.assertEqual([job.id for job in page], [first.id])

        updates = self.watch("first")
        self.assertEqual(next(updates).job.state, job_pb2.QUEUED)
        answer = self.jobs.Cancel(job_pb2.CancelJobRequest(job="first", reason="by the test"), timeout=SECONDS)
        self.assertTrue(answer.job.cancel_requested)
        rest = list(updates)  # ends by itself, with status OK
        self.assertEqual(rest[-1].job.state, job_pb2.CANCELLED)
        self.assertEqual(updates.code(), grpc.StatusCode.OK)

        got = self.jobs.Get(job_pb2.GetJobRequest(job=str(first.id)), timeout=SECONDS)
        self.assertEqual(got.job.state, job_pb2.CANCELLED)
        self.assertGreater(got.job.ended_ms, 0)
        self.assertIn("by the test", " ".join(event.message for event in got.events))
        self.assertEqual([e.sequence for e in got.events], sorted(e.sequence for e in got.events))
        queued = self.jobs.List(job_pb2.ListJobsRequest(states=[job_pb2.QUEUED]), timeout=SECONDS).jobs
        self.assertEqual([job.id for job in queued], [second.id])

    def test_queued_job_says_why(self):
        self.submit("waits", world=4, batch=16)
        job = self.wait_for("a reason", lambda: self.jobs.Get(job_pb2.GetJobRequest(job="waits"), timeout=SECONDS).job
                            if self.jobs.Get(job_pb2.GetJobRequest(job="waits"), timeout=SECONDS).job.reason else None)
        self.assert_one_line(job.reason, "4")

    def test_cancel_of_an_ended_job_changes_nothing(self):
        self.submit("once")
        self.jobs.Cancel(job_pb2.CancelJobRequest(job="once"), timeout=SECONDS)
        last = list(self.watch("once"))[-1].job
        again = self.jobs.Cancel(job_pb2.CancelJobRequest(job="once"), timeout=SECONDS).job
        self.assertEqual((again.state, again.ended_ms), (job_pb2.CANCELLED, last.ended_ms))

    def test_name_is_free_again_after_the_end(self):
        first = self.submit("name")
        with self.assertRaises(grpc.RpcError) as caught:
            self.submit("name")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ALREADY_EXISTS)
        self.assertIn("name", caught.exception.details())
        self.jobs.Cancel(job_pb2.CancelJobRequest(job="name"), timeout=SECONDS)
        list(self.watch("name"))
        second = self.submit("name")
        self.assertGreater(second.id, first.id)
        self.assertEqual(self.jobs.Get(job_pb2.GetJobRequest(job="name"), timeout=SECONDS).job.id, second.id)

    def test_dry_run_accepts_nothing(self):
        request = job_pb2.SubmitRequest(spec=job_spec("dry", self.folder), dry_run=True)
        answer = self.jobs.Submit(request, timeout=SECONDS)
        self.assertEqual(answer.job.spec.name, "dry")
        self.assertEqual(len(self.jobs.List(job_pb2.ListJobsRequest(), timeout=SECONDS).jobs), 0)

    def test_accepted_job_survives_kill_9(self):
        job = self.submit("durable")
        self.cluster.coordinator.kill()
        self.cluster.start_coordinator()
        with rpc.open_channel(self.cluster.address) as channel:
            jobs = rpc.job_pb2_grpc.JobServiceStub(channel)
            got = jobs.Get(job_pb2.GetJobRequest(job="durable"), timeout=SECONDS).job
        self.assertEqual((got.id, got.state, got.submitted_ms), (job.id, job_pb2.QUEUED, job.submitted_ms))

    # ---- nodes ----

    def test_sees_a_worker_come_and_go(self):
        nodes = rpc.node_pb2_grpc.NodeServiceStub(self.channel)
        self.assertEqual(len(nodes.List(node_pb2.ListNodesRequest(), timeout=SECONDS).nodes), 0)
        worker = self.cluster.start_worker("alpha", slots=3)

        def state():
            listed = nodes.List(node_pb2.ListNodesRequest(), timeout=SECONDS).nodes
            return listed[0].state if listed else None
        self.wait_for("the worker to be ready", lambda: state() == node_pb2.READY)
        node = nodes.Get(node_pb2.GetNodeRequest(name="alpha"), timeout=SECONDS).node
        self.assertEqual((node.name, node.facts.slots, node.slots_used), ("alpha", 3, 0))
        self.assertGreater(node.facts.cpus, 0)
        self.assertGreater(node.facts.memory_bytes, 0)
        worker.kill()
        self.wait_for("the worker to be lost", lambda: state() == node_pb2.LOST)


if __name__ == "__main__":
    main()
