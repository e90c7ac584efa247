# SPDX-License-Identifier: Apache-2.0
"""Which address a worker gives to the trainers of other machines: found, or refused at start with one line. Two network
namespaces with a cable between them play two machines."""
import json
import os
import subprocess
import unittest

from wsltest import Case, main

HERE, THERE = "10.99.7.2", "10.99.7.1"


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False)


class Addresses(Case):
    def worker(self, *words, before=()):
        """A worker that is expected to end by itself: its status and its last line."""
        done = subprocess.run([*before, self.cluster.program("wsl-worker"), "--state", os.path.join(self.folder, "state"), *words],
                              capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    def test_an_address_of_another_machine_is_refused_at_start(self):
        status, text = self.worker("--coordinator", "127.0.0.1:7070", "--address", "203.0.113.7")
        self.assertNotEqual(status, 0)
        self.assert_one_line(text, "--address 203.0.113.7: no address of this machine; leave it out, or give 127.0.0.1")

    def test_an_unknown_name_is_refused_at_start(self):
        status, text = self.worker("--coordinator", "127.0.0.1:7070", "--address", "no-such-host.invalid")
        self.assertNotEqual(status, 0)
        self.assert_one_line(text, "--address no-such-host.invalid: ")

    def test_on_one_machine_it_is_loopback(self):
        self.cluster.start_coordinator()
        self.cluster.start_worker("a")
        self.wait_for("the worker", lambda: self.address_of("a") == "127.0.0.1")

    def address_of(self, name, before=()):
        done = subprocess.run([*before, self.cluster.program("wslctl"), "--server", self.cluster.address, "nodes", "-o", "json"],
                              capture_output=True, text=True, check=False)
        nodes = json.loads(done.stdout)["nodes"] if done.returncode == 0 else []
        return next((n["facts"].get("address") for n in nodes if n["name"] == name), None)


class TwoMachines(Addresses):
    """Everything again is not the aim: only what needs the cable."""

    test_an_address_of_another_machine_is_refused_at_start = None
    test_an_unknown_name_is_refused_at_start = None
    test_on_one_machine_it_is_loopback = None

    def setUp(self):
        if os.geteuid() != 0 or run("unshare", "-n", "ip", "link", "add", "name", "va", "type", "veth", "peer", "name", "vb").returncode:
            self.skipTest("needs root, iproute2 and network namespaces: two of them play two machines")
        self.machines = [self.make_machine() for _ in range(2)]
        there, here = self.machines
        self.inside(there, "ip", "link", "add", "name", "va", "type", "veth", "peer", "name", "vb", "netns", str(here.pid))
        for machine, link, address in ((there, "va", THERE), (here, "vb", HERE)):
            self.inside(machine, "ip", "addr", "add", f"{address}/24", "dev", link)
            self.inside(machine, "ip", "link", "set", link, "up")
            self.inside(machine, "ip", "link", "set", "lo", "up")

    def make_machine(self):
        """A process that holds a network namespace; its end is the namespace's."""
        holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "unshare", "-n", "sh", "-c", "echo ready; exec cat"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.communicate)
        self.addCleanup(holder.kill)
        holder.stdout.readline()
        return holder

    @staticmethod
    def enter(machine):
        return ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]

    def inside(self, machine, *words):
        done = run(*self.enter(machine), *words)
        self.assertEqual(done.returncode, 0, done.stderr)

    def start_there(self):
        """A coordinator on the other machine."""
        port = os.path.join(self.folder, "port")
        self.cluster.start("coordinator", [
            *self.enter(self.machines[0]), self.cluster.program("wsl-coordinator"), "--listen", f"{THERE}:0", "--insecure", "--state",
            os.path.join(self.folder, "coordinator"), "--port-file", port])
        self.wait_for("the coordinator's port", lambda: os.path.exists(port))
        with open(port, encoding="ascii") as f:
            self.coordinator = f"{THERE}:{f.read().strip().rpartition(':')[2]}"

    def worker_here(self, *words, hosts=None):
        before = self.enter(self.machines[1])
        if hosts:
            path = os.path.join(self.folder, "hosts")
            with open(path, "w", encoding="ascii") as f:
                f.write(hosts)
            before += ["unshare", "-m", "sh", "-c", f"mount --bind {path} /etc/hosts && exec \"$0\" \"$@\""]
        return self.worker("--coordinator", self.coordinator, *words, before=before)

    def test_it_is_the_local_end_of_the_way_to_the_coordinator(self):
        self.start_there()
        here = self.enter(self.machines[1])
        self.cluster.start("worker", [*here, self.cluster.program("wsl-worker"), "--coordinator", self.coordinator, "--name", "b",
                                      "--state", os.path.join(self.folder, "worker"), "--trainer", self.cluster.program("wsl-trainer")])
        port = int(self.coordinator.rpartition(":")[2])

        def known():
            done = subprocess.run([*here, self.cluster.program("wslctl"), "--server", f"{THERE}:{port}", "nodes", "-o", "json"],
                                  capture_output=True, text=True, check=False)
            nodes = json.loads(done.stdout)["nodes"] if done.returncode == 0 else []
            return nodes and nodes[0]["facts"].get("address")
        self.assertEqual(self.wait_for("the worker", known), HERE)

    def test_loopback_is_refused(self):
        self.start_there()
        status, text = self.worker_here("--address", "127.0.0.1")
        self.assertNotEqual(status, 0)
        self.assert_one_line(text, "--address 127.0.0.1: only this machine reaches it", self.coordinator, f"give {HERE}")

    def test_a_name_that_is_loopback_is_refused(self):
        """Debian's default for a machine's own name."""
        self.start_there()
        status, text = self.worker_here("--address", "node7", hosts="127.0.0.1 localhost\n127.0.1.1 node7\n")
        self.assertNotEqual(status, 0)
        self.assert_one_line(text, "--address node7 (127.0.1.1): only this machine reaches it", f"give {HERE}")

    def test_the_other_machines_address_is_refused(self):
        self.start_there()
        status, text = self.worker_here("--address", THERE)
        self.assertNotEqual(status, 0)
        self.assert_one_line(text, f"--address {THERE}: no address of this machine; leave it out, or give {HERE}")


main()
