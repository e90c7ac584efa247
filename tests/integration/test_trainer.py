#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""wsl-trainer by itself: whole runs, kills, resumes, and what bad input gets. This process is the worker."""
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time

from wsltest import Case, job_spec, main, program, wait_for
from wsltest.pictures import make_folder
from wsltest.ranks import Generation
from wsltest.rpc import agent_pb2, job_pb2

LABELS = ["red", "green", "blue", "yellow", "pink", "cyan"]


def read_safetensors(path):
    """{name: (shape, bytes)}"""
    with open(path, "rb") as f:
        data = f.read()
    size, = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8:8 + size]), data[8 + size:]
    return {name: (row["shape"], body[row["data_offsets"][0]:row["data_offsets"][1]])
            for name, row in head.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    head, at = {}, 0
    for name, (shape, data) in tensors.items():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


class Trainer(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="wsl-test-")
        cls.data = cls.make_data("colours", LABELS, 24)
        cls.few = cls.make_data("few", LABELS[:3], 12)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    @classmethod
    def make_data(cls, name, labels, each):
        source, target = os.path.join(cls.shared, name + "-source"), os.path.join(cls.shared, name)
        make_folder(source, labels, each)
        subprocess.run([program("wslctl"), "data", "import", "--folder", source, "--into", target, "--heldout", "0.2",
                        "--threads", "1"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return target

    def setUp(self):
        self.generations = []

    def tearDown(self):
        for generation in self.generations:
            generation.close()

    def spec(self, **changes):
        return job_spec("tiny", changes.pop("data", self.data), **{
            "model": job_pb2.Model(depths=[1, 1], groups=4, width=2, image_size=32), "batch": 16, "epochs": 3, "seed": 5,
            "optimizer": job_pb2.Optimizer(learning_rate=0.02, momentum=0.9, weight_decay=1e-4),
            "schedule": job_pb2.Schedule(kind=job_pb2.STEP_HALVING, steps=2, warmup_epochs=0.5, warmup_from=0.002),
            **changes})

    def start(self, *options, folder="a", **more):
        spec = more.pop("spec", None)
        root = os.path.join(self.folder, folder)
        generation = Generation(root, spec or self.spec(), *options, **more)
        self.generations.append(generation)
        return generation

    def checkpoints(self, folder="a"):
        root = os.path.join(self.folder, folder, "checkpoints")
        if not os.path.isdir(root):
            return []
        return sorted(os.path.join(root, name) for name in os.listdir(root) if name.startswith("step-"))

    def finish(self, generation, seconds=120):
        self.assertEqual(generation.wait(seconds), [0] * len(generation.ranks), generation.logs())
        for rank in generation.ranks:
            self.assertEqual(rank.outcome()[0], "FINISHED", generation.logs())
        return generation

    def fails(self, generation, outcome, *words, seconds=120):
        """Every rank ends with status 1; rank 0 with this outcome and one line that has these words."""
        self.assertEqual(generation.wait(seconds), [1] * len(generation.ranks), generation.logs())
        word, reason = generation.ranks[0].outcome()
        self.assertEqual(word, outcome, generation.logs())
        self.assert_one_line(reason, *words)
        self.assertIn(reason, generation.ranks[0].log())

    def assert_same_weights(self, one, other):
        for name in ("model.safetensors", "optimizer.safetensors"):
            a, b = read_safetensors(os.path.join(one, name)), read_safetensors(os.path.join(other, name))
            self.assertEqual(sorted(a), sorted(b))
            different = [tensor for tensor in a if a[tensor] != b[tensor]]
            self.assertEqual(different, [], f"{one} and {other} differ in {name}")

    # ---- whole runs ----

    def test_one_rank_trains_to_the_end(self):
        generation = self.finish(self.start())
        rank = generation.ranks[0]
        print(rank.log())
        progress, written = rank.metrics("progress"), rank.metrics("checkpoint")
        last = progress[-1]
        self.assertEqual(last.step, last.total_steps)
        self.assertAlmostEqual(last.epoch, 3, delta=0.2)
        self.assertGreater(last.images_per_second, 0)
        self.assertEqual(last.eta_seconds, 0)
        self.assertEqual(last.evaluation.step, last.step)
        self.assertGreater(last.evaluation.images, 10)
        self.assertGreater(last.evaluation.baseline_hit1, 0)
        self.assertGreater(last.evaluation.baseline_hit5, last.evaluation.baseline_hit1)
        self.assertLess(last.loss, progress[0].loss)
        self.assertEqual([w.folder for w in written][-2:], self.checkpoints())  # keep: 2
        self.assertEqual(written[-1].step, last.step)
        self.assertEqual(rank.phases[-1], "exited")
        self.assertIn("training", rank.phases)
        self.assertIn("evaluating", rank.phases)
        self.assertFalse(os.path.exists(os.path.join(rank.folder, "control.sock")))
        self.assertIn("held-out", rank.log())

    def test_pictures_that_stay_in_a_tar_file(self):
        tar, data = os.path.join(self.folder, "colours.tar"), os.path.join(self.folder, "data")
        for words in (["export", self.data, "--to", tar],
                      ["import", "--tar", tar, "--in-place", "--into", data, "--heldout", "0.2"]):
            subprocess.run([program("wslctl"), "data", *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        spec = self.spec(data=data)
        rank = self.finish(self.start(spec=spec)).ranks[0]
        progress = rank.metrics("progress")
        self.assertGreater(progress[-1].evaluation.images, 10)
        self.assertLess(progress[-1].loss, progress[0].loss)
        os.rename(tar, tar + ".moved")
        self.fails(self.start(folder="moved", spec=spec), "USER_ERROR", "colours.tar", "is missing")

    def test_same_seed_same_bits(self):
        self.finish(self.start(folder="a"))
        self.finish(self.start(folder="b"))
        self.assert_same_weights(self.checkpoints("a")[-1], self.checkpoints("b")[-1])

    def test_two_ranks_train_together(self):
        generation = self.finish(self.start(spec=self.spec(world=2)))
        self.assertEqual(generation.ranks[1].metrics("progress"), [])
        last = generation.ranks[0].metrics("progress")[-1]
        self.assertEqual(last.step, last.total_steps)
        again = self.start(folder="b", spec=self.spec(world=2))
        self.finish(again)
        self.assert_same_weights(self.checkpoints("a")[-1], self.checkpoints("b")[-1])
        alone = self.finish(self.start(folder="c", spec=self.spec(epochs=0, max_steps=1)))
        one, two = alone.ranks[0].metrics("progress")[-1].evaluation, last.evaluation
        self.assertEqual(one.images, two.images)  # shared among ranks, none left out
        self.assertAlmostEqual(one.baseline_hit1, two.baseline_hit1)
        self.assertAlmostEqual(one.baseline_hit5, two.baseline_hit5)

    def test_gradients_may_travel_as_bf16(self):
        for folder, dtype in ("a", "bf16"), ("b", "bf16"), ("c", "f32"):
            self.finish(self.start(folder=folder, spec=self.spec(world=2, epochs=2, gradient_dtype=dtype)))
        rounded, again, exact = (self.checkpoints(folder)[-1] for folder in "abc")
        self.assert_same_weights(rounded, again)
        with self.assertRaises(AssertionError):
            self.assert_same_weights(rounded, exact)

    def test_weights_learn_something(self):
        spec = self.spec(epochs=25, optimizer=job_pb2.Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
                         evaluate_every_epochs=25)
        spec.schedule.kind, spec.schedule.steps = job_pb2.COSINE, 0
        generation = self.finish(self.start(spec=spec), seconds=280)
        evaluation = generation.ranks[0].metrics("progress")[-1].evaluation
        print(f"# held-out hit@1 {evaluation.hit1:.3f}, always the most frequent: {evaluation.baseline_hit1:.3f}")
        self.assertGreater(evaluation.hit1, 2 * evaluation.baseline_hit1)

    def test_pieces_and_recompute(self):
        """Recomputing changes no bit; batches in pieces have the statistics of pieces, and are the same every time."""
        for folder, changes in (("whole", {}), ("again", {"recompute": True}), ("pieces", {"micro_batches": 4}),
                                ("both", {"micro_batches": 4, "recompute": True})):
            generation = self.finish(self.start(folder=folder, spec=self.spec(world=2, epochs=1, **changes)))
            progress = generation.ranks[0].metrics("progress")[-1]
            self.assertEqual(progress.step, progress.total_steps)
            log = generation.ranks[0].log()
            (self.assertIn if "micro_batches" in changes else self.assertNotIn)("in 4 pieces of 2 on each", log)
        newest = {folder: self.checkpoints(folder)[-1] for folder in ("whole", "again", "pieces", "both")}
        self.assert_same_weights(newest["whole"], newest["again"])
        self.assert_same_weights(newest["pieces"], newest["both"])
        whole, pieces = (read_safetensors(os.path.join(newest[name], "model.safetensors")) for name in ("whole", "pieces"))
        self.assertNotEqual(whole, pieces)
        self.fails(self.start(folder="odd", spec=self.spec(micro_batches=5)), "USER_ERROR", "micro_batches", "16", "5")

    # ---- kills and resumes ----

    def test_a_killed_rank_and_a_resume_change_nothing(self):
        spec = self.spec(world=2, epochs=4, checkpoint=job_pb2.Checkpointing(every_steps=5, keep=3))
        whole = self.finish(self.start(folder="whole", spec=spec)).ranks[0]
        last = whole.metrics("progress")[-1].total_steps
        self.assertEqual([written.step for written in whole.metrics("checkpoint")],
                         sorted({*range(5, last + 1, 5), last}))
        broken = self.start(folder="broken", spec=spec)
        broken.wait_for("a checkpoint", lambda: self.checkpoints("broken"))
        broken.ranks[1].kill()
        killed = time.monotonic()
        broken.wait(20)
        self.assertLess(time.monotonic() - killed, 10)
        self.assertIsNone(broken.ranks[1].outcome())
        word, reason = broken.ranks[0].outcome()
        print(f"# rank 0 after rank 1 was killed: {word}: {reason}")
        self.assertEqual(word, "PEER_LOST")
        self.assertIn("rank 1", reason)
        newest = self.checkpoints("broken")[-1]
        self.finish(self.start(folder="broken", spec=spec, generation=2, resume=newest))
        self.assert_same_weights(self.checkpoints("whole")[-1], self.checkpoints("broken")[-1])

    def test_a_frozen_rank_costs_the_time_limit(self):
        generation = self.start("--timeout", "5", spec=self.spec(world=2, epochs=1000))
        generation.wait_for("steps", lambda: generation.ranks[0].step() >= 2)
        generation.ranks[1].kill(signal.SIGSTOP)
        generation.wait_for("the end of rank 0", generation.ranks[0].ended, 30)
        word, reason = generation.ranks[0].outcome()
        self.assertEqual(word, "PEER_LOST")
        self.assertIn("rank 1 did not do its part in time", reason)

    def test_a_kill_order_is_obeyed_at_once(self):
        generation = self.start(spec=self.spec(epochs=1000))
        generation.wait_for("steps", lambda: generation.ranks[0].step() >= 1)
        generation.ranks[0].stop("now", agent_pb2.KILL)
        self.assertEqual(generation.wait(10), [-signal.SIGKILL])
        self.assertIsNone(generation.ranks[0].outcome())

    def test_sigterm_stops_with_a_checkpoint(self):
        spec = self.spec(epochs=6)
        self.finish(self.start(folder="whole", spec=spec))
        stopped = self.start(folder="a", spec=spec)
        stopped.wait_for("the first step", lambda: stopped.ranks[0].step() >= 1)
        stopped.ranks[0].kill(signal.SIGTERM)
        self.assertEqual(stopped.wait(30), [0], stopped.logs())
        word, reason = stopped.ranks[0].outcome()
        self.assertEqual(word, "STOPPED")
        self.assertIn("SIGTERM", reason)
        newest = self.checkpoints()[-1]
        step = int(newest[-12:])
        self.assertIn(f"after step {step}", reason)
        self.finish(self.start(folder="a", spec=spec, generation=2, resume=newest))
        self.assert_same_weights(self.checkpoints("whole")[-1], self.checkpoints("a")[-1])

    def test_a_stop_request_to_one_rank_stops_all_at_the_same_step(self):
        generation = self.start(spec=self.spec(world=2, epochs=50))
        generation.wait_for("steps", lambda: generation.ranks[0].step() >= 2)
        generation.ranks[1].stop("cancelled by a test")
        self.assertEqual(generation.wait(30), [0, 0], generation.logs())
        outcomes = [rank.outcome() for rank in generation.ranks]
        self.assertEqual([word for word, _ in outcomes], ["STOPPED", "STOPPED"])
        self.assertIn("cancelled by a test", outcomes[1][1])
        steps = [reason.split("after step ")[1].split(":")[0] for _, reason in outcomes]
        self.assertEqual(steps[0], steps[1])

    def test_a_stop_request_ends_a_join(self):
        spec = self.spec(world=2)
        generation = self.start(spec=spec)
        alone, other = generation.ranks
        other.kill(signal.SIGSTOP)  # it never gives its part
        wait_for("the first rank's part", lambda: alone.pump() or alone.parts)
        alone.stop("cancelled")
        wait_for("its end", alone.ended, 10)
        self.assertEqual(alone.process.returncode, 0, alone.log())
        self.assertEqual(alone.outcome()[0], "STOPPED")
        self.assertIn("cancelled", alone.outcome()[1])

    def test_a_resume_of_a_finished_job_trains_no_step(self):
        self.finish(self.start())
        before = self.checkpoints()
        again = self.finish(self.start(generation=2, resume=before[-1]))
        self.assertEqual(self.checkpoints(), before)
        last = again.ranks[0].metrics("progress")[-1]
        self.assertEqual(last.step, last.total_steps)
        self.assertGreater(last.evaluation.images, 0)

    def test_the_exchange_survives_a_restart_of_the_worker(self):
        generation = self.start(spec=self.spec(world=2, epochs=1))
        first, second = generation.ranks
        wait_for("the first rank's part", lambda: first.pump() or first.parts)
        first.disconnect()
        self.assertEqual(len(first.parts[0]), 1)
        wait_for("the part again", lambda: first.pump() or len(first.parts[0]) == 2)
        self.assertEqual(first.parts[0][0], first.parts[0][1])
        self.finish(generation)

    def test_training_goes_on_without_a_worker(self):
        generation = self.start(spec=self.spec(world=2))
        generation.wait_for("training", lambda: all("training" in rank.phases for rank in generation.ranks))
        for rank in generation.ranks:
            rank.disconnect()
        wait_for("the end", lambda: all(rank.ended() for rank in generation.ranks), 120)
        self.assertEqual([rank.process.returncode for rank in generation.ranks], [0, 0], generation.logs())

    # ---- transfer ----

    def transfer(self, init, folder="b", **changes):
        spec = self.spec(**{"kind": job_pb2.TRANSFER, "data": self.few, "epochs": 0, "max_steps": 1, "batch": 12, **changes})
        spec.optimizer.learning_rate = 1e-12  # what came in goes out
        spec.optimizer.weight_decay = 0
        spec.schedule.warmup_epochs = 0
        return self.start(folder=folder, spec=spec, init=init)

    def test_transfer_takes_the_backbone_and_makes_a_head(self):
        self.finish(self.start())
        trained = self.checkpoints()[-1]
        model = os.path.join(trained, "model.safetensors")
        for number, init in enumerate([trained, os.path.dirname(trained), model]):
            folder = f"transfer-{number}"
            self.finish(self.transfer(init, folder))
            before, after = read_safetensors(model), read_safetensors(os.path.join(self.checkpoints(folder)[-1],
                                                                                   "model.safetensors"))
            self.assertEqual(sorted(before), sorted(after))
            for name in before:
                if name.startswith("fc."):
                    self.assertEqual(after[name][0][0], 3)
                elif name.endswith(".weight"):
                    for a, b in zip(floats(before[name][1]), floats(after[name][1])):
                        self.assertAlmostEqual(a, b, delta=1e-6)

    def test_weights_that_do_not_fit_are_named(self):
        self.finish(self.start())
        model = read_safetensors(os.path.join(self.checkpoints()[-1], "model.safetensors"))
        path = os.path.join(self.folder, "foreign.safetensors")
        write_safetensors(path, {n: t for n, t in model.items() if n != "layer2.0.conv2.weight"})
        self.fails(self.transfer(path, "b"), "USER_ERROR", "layer2.0.conv2.weight", "foreign.safetensors")
        shape, data = model["conv1.weight"]
        write_safetensors(path, {**model, "conv1.weight": ([shape[0], shape[1], 1, 49], data)})
        self.fails(self.transfer(path, "c"), "USER_ERROR", "conv1.weight")
        with open(path, "wb") as f:
            f.write(b"not a model")
        self.fails(self.transfer(path, "d"), "USER_ERROR", "foreign.safetensors")
        self.fails(self.transfer(os.path.join(self.folder, "nowhere"), "e"), "USER_ERROR", "nowhere")

    def test_init_that_only_rank_0_has(self):
        """It is enough, until the job starts again elsewhere: the others say so. Each rank runs in a directory of its own."""
        self.finish(self.start())
        path = os.path.join(self.folder, "b", "run-1-0", "start.safetensors")
        os.makedirs(os.path.dirname(path))
        shutil.copy(os.path.join(self.checkpoints()[-1], "model.safetensors"), path)
        spec = self.spec(kind=job_pb2.TRANSFER, world=2, init=job_pb2.Init(checkpoint="start.safetensors"), epochs=0, max_steps=1)
        ranks = self.finish(self.start(folder="b", spec=spec, init="start.safetensors")).ranks
        self.assertEqual([[note.kind for note in rank.metrics("note") if "init" in note.kind] for rank in ranks], [[], ["init_missing"]])
        self.assert_one_line(ranks[1].metrics("note")[-1].message, "init: start.safetensors is missing on the worker of rank 1")

    def test_weights_of_another_net_are_refused(self):
        """As a strict load_state_dict would: a deeper net's first blocks are not taken for the whole of a smaller one."""
        deep = self.spec(model=job_pb2.Model(depths=[1, 3], groups=4, width=2, image_size=32), epochs=0, max_steps=1)
        self.finish(self.start(spec=deep, folder="deep"))
        trained = self.checkpoints("deep")[-1]
        for number, init in enumerate([trained, os.path.dirname(trained), os.path.join(trained, "model.safetensors")]):
            self.fails(self.transfer(init, f"shallow-{number}"), "USER_ERROR", "init: ",
                       "is blocks 1,3; groups 4; width 2, the model is blocks 1,1; groups 4; width 2",
                       "layer2.1.bn1.bias is not a tensor of this net")
        spec = self.spec(epochs=0, max_steps=3)
        spec.model.depths[:] = [1, 1]
        self.fails(self.start(spec=spec, resume=trained, folder="resumed"), "USER_ERROR", "cannot resume",
                   "layer2.1.bn1.bias")

    def test_what_becomes_of_the_head_is_said(self):
        self.finish(self.start(folder="few", spec=self.spec(data=self.few, epochs=0, max_steps=2)))
        trained = self.checkpoints("few")[-1]
        weights = os.path.join(trained, "model.safetensors")

        def words(init, folder, data=None):
            done = self.finish(self.transfer(init, folder, data=data or self.few))
            return next(line for line in done.ranks[0].log().splitlines() if "head" in line)
        self.assertIn("head too (the same classes)", words(trained, "same"))
        self.assertIn("head new: 3 classes there, 6 here", words(trained, "more", self.data))
        others = self.make_data("others", ["owl", "fox", "emu"], 12)
        self.assertIn("head new: as many classes, but others: number 0 is ", words(trained, "others", others))
        self.assertIn("head new: a file of weights does not name its classes", words(weights, "file"))
        # Of DataParallel: the same weights under names that begin with "module.".
        path = os.path.join(self.folder, "parallel.safetensors")
        write_safetensors(path, {"module." + name: t for name, t in read_safetensors(weights).items()})
        generation = self.finish(self.transfer(path, "parallel"))
        self.assertIn('begin with "module.", which is left out', generation.ranks[0].log())
        self.assert_same_weights(self.checkpoints("parallel")[-1], self.checkpoints("file")[-1])

    # ---- bad input ----

    def test_batch_norm_over_few_values(self):
        """Over one value a channel it is refused, also by the trainer; over a few an event says so."""
        model = job_pb2.Model(depths=[1, 1, 1, 1], groups=4, width=2, image_size=32)
        one = self.spec(model=model, batch=4, micro_batches=4, epochs=0, max_steps=2)
        self.fails(self.start(spec=one), "USER_ERROR", "batch norm of stage 4 would have one value a channel")
        few = self.spec(model=model, batch=4, micro_batches=2, epochs=0, max_steps=2)
        notes = self.finish(self.start(spec=few, folder="b")).ranks[0].metrics("note")
        self.assertEqual([note.kind for note in notes], ["small_batch_norm"])
        self.assert_one_line(notes[0].message, "over 2 values a channel (1x1 pixels, 2 images at a time)")

    def test_a_rate_that_blows_up_is_the_jobs_fault(self):
        spec = self.spec(world=2, epochs=50)
        spec.optimizer.learning_rate = 1000
        spec.schedule.warmup_epochs = 0
        generation = self.start(spec=spec)
        self.fails(generation, "USER_ERROR", "step ", "not finite", "optimizer.learning_rate (now 1000)")
        self.assertEqual(generation.ranks[1].outcome(), generation.ranks[0].outcome())
        self.assert_checkpoints_are_finite()

    # ---- numbers that are none ----

    def assert_checkpoints_are_finite(self, folder="a"):
        for checkpoint in self.checkpoints(folder):
            for part in ("model", "optimizer"):
                for name, (_, data) in read_safetensors(os.path.join(checkpoint, part + ".safetensors")).items():
                    self.assertTrue(all(map(math.isfinite, floats(data))), f"{checkpoint}: {name}")

    def start_from(self, changes, folder="a", **more):
        """A transfer job of two ranks that starts from the weights of a trained one, with changes: {tensor: {element:
        value}}, and has a checkpoint after each step."""
        if not hasattr(self, "trained"):
            self.finish(self.start(folder="trained", spec=self.spec(epochs=0, max_steps=1)))
            self.trained = read_safetensors(os.path.join(self.checkpoints("trained")[-1], "model.safetensors"))
        tensors = dict(self.trained)
        for name, elements in changes.items():
            shape, data = tensors[name]
            values = list(floats(data))
            for at, value in elements.items():
                values[at] = value
            tensors[name] = (shape, struct.pack(f"<{len(values)}f", *values))
        path = os.path.join(self.folder, folder + ".safetensors")
        write_safetensors(path, tensors)
        spec = self.spec(**{"kind": job_pb2.TRANSFER, "world": 2, "epochs": 0, "max_steps": 3,
                            "checkpoint": job_pb2.Checkpointing(every_steps=1), **more})
        spec.schedule.warmup_epochs = 0
        return self.start(folder=folder, spec=spec, init=path)

    def fails_alike(self, generation, *words):
        self.fails(generation, "USER_ERROR", *words)
        self.assertEqual(generation.ranks[1].outcome(), generation.ranks[0].outcome())
        print(f"# {generation.ranks[0].outcome()[1]}")

    def test_weights_that_are_not_finite_are_refused(self):
        """By rank 0, before any step."""
        self.fails(self.start_from({"layer2.0.conv2.weight": {17: math.nan, 40: math.inf}}, world=1), "USER_ERROR",
                   "init: ", "a.safetensors: layer2.0.conv2.weight is not finite (NaN, first at element 17 of ")
        self.fails(self.start_from({"layer1.0.bn2.running_var": {3: -0.25}}, "b", world=1), "USER_ERROR", "init: ",
                   "layer1.0.bn2.running_var is a variance and has a negative value (-0.25, first at element 3 of 8)")
        self.assertEqual(self.checkpoints() + self.checkpoints("b"), [])

    def test_a_step_that_overflows_changes_nothing(self):
        self.fails_alike(self.start_from({"layer1.0.conv2.weight": {5: 3e38, 6: 3e38}}),
                         "step 1: ", "is not finite (", "optimizer.learning_rate (now 0.02)")
        self.assertEqual(self.checkpoints(), [])

    def test_an_update_that_overflows_is_not_saved(self):
        # What the first channel sends to the next convolution is 0, so that a weight there may be anything, until the
        # decay of this one is too much for a float.
        dead = {"layer1.0.bn1.weight": {0: 0.0}, "layer1.0.bn1.bias": {0: -1.0}, "layer1.0.conv2.weight": {4: 3e37}}
        rate = job_pb2.Optimizer(learning_rate=1000, momentum=0.9, weight_decay=1)
        self.fails_alike(self.start_from(dead, optimizer=rate), "step 1: after the update ",
                         "layer1.0.conv2.weight is not finite (-infinity, first at element 4 of ", "no checkpoint")
        self.assertEqual(self.checkpoints(), [])

    def test_denormals_train(self):
        tiny = {"layer1.0.conv2.weight": {at: 1e-40 * (at - 20) for at in range(40)}}
        self.finish(self.start_from(tiny))
        self.assert_checkpoints_are_finite()

    def test_a_missing_data_set(self):
        self.fails(self.start(spec=self.spec(data="/nowhere/data")), "USER_ERROR", "/nowhere/data")

    def damaged_data(self, name, damage):
        """A copy of the data set with the JPEGs of which damage(number) is true made unreadable."""
        target = os.path.join(self.folder, name)
        shutil.copytree(self.data, target)
        path = os.path.join(target, "shard-00000.lmdb")
        with open(path, "rb") as f:
            data = bytearray(f.read())
        at, number = data.find(b"\xff\xd8\xff"), 0
        while at >= 0:
            if damage(number):
                data[at + 200:at + 204] = bytes(255 - byte for byte in data[at + 200:at + 204])
            number += 1
            at = data.find(b"\xff\xd8\xff", at + 3)
        with open(path, "wb") as f:
            f.write(data)
        return target

    def test_too_many_bad_records(self):
        data = self.damaged_data("damaged", lambda number: number % 3 == 0)
        self.fails(self.start(spec=self.spec(data=data)), "USER_ERROR", "unreadable records", "max_bad_records")

    def test_a_few_bad_records_are_counted(self):
        data = self.damaged_data("damaged", lambda number: number == 7)
        generation = self.finish(self.start(spec=self.spec(data=data, max_bad_records=0.1)))
        self.assertGreater(generation.ranks[0].metrics("progress")[-1].bad_records, 0)

    def test_a_damaged_checkpoint(self):
        spec = self.spec(epochs=6)
        stopped = self.start(spec=spec)
        stopped.wait_for("two checkpoints", lambda: len(self.checkpoints()) == 2)
        stopped.ranks[0].kill()
        stopped.wait()
        older, newer = self.checkpoints()
        with open(os.path.join(newer, "model.safetensors"), "r+b") as f:
            f.truncate(os.path.getsize(f.name) // 2)
        again = self.start(generation=2, spec=spec, resume=newer)
        self.finish(again)
        notes = again.ranks[0].metrics("note")
        self.assertEqual([note.kind for note in notes], ["checkpoint_damaged"])
        self.assertIn("model.safetensors", notes[0].message)
        self.assertIn(older, notes[0].message)
        for folder in self.checkpoints():
            with open(os.path.join(folder, "model.safetensors"), "r+b") as f:
                f.truncate(100)
        self.fails(self.start(generation=3, spec=spec, resume=self.checkpoints()[-1]), "USER_ERROR", "cannot resume",
                   "model.safetensors")

    def test_a_checkpoint_of_another_data_set(self):
        self.finish(self.start())
        self.fails(self.start(generation=2, spec=self.spec(data=self.few), resume=self.checkpoints()[-1]), "USER_ERROR",
                   "cannot resume", "data set")

    # ---- checkpoints that cannot be written ----

    def test_a_checkpoint_folder_is_tried_before_the_first_step(self):
        in_the_way = os.path.join(self.folder, "in-the-way")
        with open(in_the_way, "w", encoding="ascii"):
            pass
        generation = self.start(checkpoints=os.path.join(in_the_way, "checkpoints"))
        self.fails(generation, "MACHINE_ERROR", "no checkpoint could be written: ", "in-the-way")
        self.assertEqual(generation.ranks[0].metrics("progress"), [])

    def block(self, folder="a"):
        """A file takes the place of the checkpoint folder; returns what undoes it."""
        root = os.path.join(self.folder, folder, "checkpoints")
        os.rename(root, root + "-aside")
        with open(root, "w", encoding="ascii"):
            pass

        def undo():
            os.unlink(root)
            os.rename(root + "-aside", root)
        return undo

    def start_and_block(self, folder="a", **changes):
        """A generation whose first checkpoint is written and none after it."""
        spec = self.spec(**{"epochs": 0, "max_steps": 200, "evaluate_every_epochs": 1000,
                            "checkpoint": job_pb2.Checkpointing(every_steps=40, **changes.pop("checkpoint", {})),
                            **changes})
        generation = self.start(folder=folder, spec=spec)
        generation.wait_for("a checkpoint", lambda: self.checkpoints(folder))
        return generation, self.block(folder)

    def notes(self, generation, kind):
        return [note.message for note in generation.ranks[0].metrics("note") if note.kind == kind]

    def test_training_goes_on_and_the_last_checkpoint_is_tried_again(self):
        generation, undo = self.start_and_block(world=2)
        generation.wait_for("one more try", lambda: self.notes(generation, "checkpoint_retry"))
        self.assertIn("could not be written: ", self.notes(generation, "checkpoint_failed")[0])
        self.assert_one_line(self.notes(generation, "checkpoint_retry")[0],
                             "training has ended at step 200; its weights stay in memory", "for up to 3600 s: ")
        # The other rank need not wait for the disk.
        generation.wait_for("the end of rank 1", generation.ranks[1].ended)
        self.assertEqual(generation.ranks[1].outcome()[0], "FINISHED")
        self.assertFalse(generation.ranks[0].ended(), generation.logs())
        self.assertEqual(generation.ranks[0].phases[-1], "saving")
        undo()
        self.finish(generation)
        self.assertEqual(os.path.basename(self.checkpoints()[-1]), "step-000000000200")
        print(generation.ranks[0].log())

    def test_a_last_checkpoint_that_stays_unwritten(self):
        generation, _ = self.start_and_block(checkpoint={"retry_seconds": 1})
        self.fails(generation, "MACHINE_ERROR", "the final checkpoint could not be written: ", "checkpoints")

    def test_a_stop_ends_the_tries(self):
        generation, _ = self.start_and_block()
        generation.wait_for("one more try", lambda: self.notes(generation, "checkpoint_retry"))
        generation.ranks[0].stop("the job was cancelled")
        self.assertEqual(generation.wait(), [0])
        word, reason = generation.ranks[0].outcome()
        self.assertEqual(word, "STOPPED")
        self.assert_one_line(reason, "stopped before it was saved: the final checkpoint could not be written: ")

    def test_a_stop_says_that_its_checkpoint_is_missing(self):
        generation, _ = self.start_and_block(max_steps=100000, checkpoint={"retry_seconds": 1})
        generation.ranks[0].stop("a reboot")
        self.assertEqual(generation.wait(), [0])
        word, reason = generation.ranks[0].outcome()
        self.assertEqual(word, "STOPPED")
        self.assert_one_line(reason, "stopped after step ", ": a reboot; its checkpoint could not be written: ")

    # ---- whose a checkpoint is ----

    def of_job(self, uid, init_uid=""):
        return agent_pb2.JobIdentity(uid=uid, init_uid=init_uid)

    def test_checkpoints_of_another_job_are_left_alone(self):
        """Another cluster's job 1 of the same name, in the same folder."""
        mine, other = self.of_job("1" * 32), self.of_job("2" * 32)
        spec = self.spec(epochs=0, max_steps=4)
        root = os.path.join(self.folder, "shared")
        self.finish(self.start(spec=spec, checkpoints=root, identity=other))
        theirs = os.path.join(root, "step-000000000004")
        both = (theirs, "is of another job: 1 'tiny', identity " + "2" * 32 + ", not " + "1" * 32)
        self.fails(self.start(folder="b", spec=spec, checkpoints=root, identity=mine), "USER_ERROR", *both)
        elsewhere = os.path.join(self.folder, "mine")
        self.fails(self.start(folder="c", spec=spec, checkpoints=elsewhere, identity=mine, resume=theirs), "USER_ERROR",
                   "cannot resume", *both)
        # One of its own lies beside it: that one is taken.
        longer = self.spec(epochs=0, max_steps=6)
        self.finish(self.start(folder="d", spec=self.spec(epochs=0, max_steps=2), checkpoints=elsewhere, identity=mine))
        shutil.copytree(theirs, os.path.join(elsewhere, "step-000000000004"))
        generation = self.start(folder="e", spec=longer, checkpoints=os.path.join(self.folder, "next"), identity=mine,
                                resume=os.path.join(elsewhere, "step-000000000004"))
        self.finish(generation)
        self.assertIn(both[1], self.notes(generation, "checkpoint_foreign")[0])
        self.assertIn("resuming from " + os.path.join(elsewhere, "step-000000000002"),
                      self.notes(generation, "checkpoint_foreign")[0])
        self.assertEqual(sorted(os.listdir(root)), ["step-000000000004"])

    def test_init_of_a_job_is_of_that_job(self):
        self.finish(self.start(spec=self.spec(epochs=0, max_steps=2), identity=self.of_job("2" * 32)))
        trained = self.checkpoints()[-1]
        spec = self.spec(kind=job_pb2.TRANSFER, epochs=0, max_steps=1)
        self.fails(self.start(folder="b", spec=spec, init=trained, identity=self.of_job("3" * 32, "1" * 32)), "USER_ERROR",
                   "init: ", trained, "identity " + "2" * 32 + ", not " + "1" * 32)
        self.finish(self.start(folder="c", spec=spec, init=trained, identity=self.of_job("3" * 32, "2" * 32)))
        self.finish(self.start(folder="d", spec=spec, init=trained, identity=self.of_job("3" * 32)))  # a path: anybody's

    def test_a_job_from_before_identities_goes_on(self):
        """In a folder of its own; what lies in the old one stays."""
        spec = self.spec(epochs=0, max_steps=4)
        self.finish(self.start(spec=self.spec(epochs=0, max_steps=2), folder="old"))
        old = self.checkpoints("old")[-1]
        self.finish(self.start(folder="a", spec=spec, resume=old, identity=self.of_job("1" * 32)))
        self.finish(self.start(folder="b", spec=spec))
        self.assert_same_weights(self.checkpoints("a")[-1], self.checkpoints("b")[-1])
        self.assertTrue(os.path.isdir(old))
        other = self.spec(epochs=0, max_steps=4)
        other.name = "another"
        self.fails(self.start(folder="c", spec=other, resume=old, identity=self.of_job("1" * 32)), "USER_ERROR",
                   "cannot resume", "is of job 1 'tiny', not of job 1 'another'")

    def test_an_evaluation_that_is_not_finite_is_told(self):
        """The running statistics are numbers, but what is left of an image after them is not."""
        shape = self.trained_shape("layer1.0.bn1.running_mean")
        huge = {name: {i: value for i in range(shape)} for name, value in (("layer1.0.bn1.running_mean", -3e38),
                                                                          ("layer1.0.bn1.running_var", 0.0))}
        generation = self.finish(self.start_from(huge, world=1, max_steps=1))
        evaluation = generation.ranks[0].metrics("progress")[-1].evaluation
        self.assertFalse(math.isfinite(evaluation.loss))
        self.assertTrue(evaluation.not_finite)
        self.assert_one_line(self.notes(generation, "evaluation_not_finite")[0], "the evaluation after step 1 is not finite")
        self.assertRegex(generation.ranks[0].log(), r"evaluation at epoch .*: loss not finite  hit@1")
        self.assertNotIn("nan", generation.ranks[0].log())

    def trained_shape(self, name):
        self.start_from({}, "shape", world=1)
        return self.trained[name][0][0]

    def test_an_assignment_that_is_none(self):
        folder = os.path.join(self.folder, "run")
        os.makedirs(folder)
        for text, word in ((None, "assignment.pb"), (b"\xff\xff\xff", "not an assignment"), (b"", "job specification")):
            if text is not None:
                with open(os.path.join(folder, "assignment.pb"), "wb") as f:
                    f.write(text)
            ended = subprocess.run([program("wsl-trainer"), "--run-folder", folder], capture_output=True, text=True,
                                   timeout=60, check=False)
            self.assertEqual(ended.returncode, 1, ended)
            self.assert_one_line(ended.stderr, word)

    def test_the_command_line(self):
        def run(*words):
            return subprocess.run([program("wsl-trainer"), *words], capture_output=True, text=True, timeout=60,
                                  check=False)
        self.assertEqual(run("--help").returncode, 0)
        self.assertIn("--run-folder", run("--help").stdout)
        self.assertIn("wsl-trainer", run("--version").stdout)
        for words, word in (((), "--run-folder"), (("--run-folder", "/nowhere"), "/nowhere"), (("--what",), "--what")):
            ended = run(*words)
            self.assertNotEqual(ended.returncode, 0)
            self.assert_one_line(ended.stderr, word)


if __name__ == "__main__":
    main()
