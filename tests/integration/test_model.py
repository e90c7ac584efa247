#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""wslctl model: what it says of networks and files of weights. And, where torch and torchvision can be imported, that a
torchvision ResNeXt gives the same logits as ours, whoever wrote the weights."""
import json
import math
import os
import random
import struct
import subprocess
import unittest

from wsltest import Case, main, program
from wsltest.pictures import make_folder

try:
    import torch
    import torchvision
    NO_TORCH = None
except ImportError as missing:
    NO_TORCH = f"torch and torchvision cannot be imported here: {missing}"

USAGE = 2
TOLERANCE = 1e-4  # of the largest logit
# Millions of parameters and thousand millions of multiply-adds for 1000 classes at 224, as torchvision's networks.
PUBLISHED = {"resnext101_32x4d": (44.18, 7.97), "resnext101_32x8d": (88.79, 16.41), "resnext101_32x16d": (194.03, 36.16),
             "resnext101_32x32d": (468.53, 87.11), "resnext101_32x48d": (828.41, 153.31)}
JOB = """name: x
kind: pretrain
data: pictures
model: {depths: [1, 2], groups: 8, width: 2, image_size: 64}
world: 2
batch: 24
epochs: 1
"""


def write_safetensors(path, tensors):
    """{name: (dtype, shape, bytes)}"""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size, = struct.unpack("<Q", data[:8])
    header, data = json.loads(data[8:8 + size]), data[8 + size:]
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


class Model(Case):
    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def run_ok(self, *words):
        done = self.cluster.wslctl("model", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def run_json(self, *words):
        document = json.loads(self.run_ok(*words, "-o", "json").stdout)
        self.assertEqual(document["version"], 1)
        return document["model"]

    def run_wrong(self, code, *words):
        done = self.cluster.wslctl("model", *words)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr

    def tool(self, *words):
        done = subprocess.run([program("model_tool"), *[str(w) for w in words]], capture_output=True, text=True,
                              check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def checkpoint(self, name="checkpoints", *options):
        """A folder with one checkpoint."""
        self.tool("checkpoint", self.path(name), *options)
        return self.path(name)

    def logits(self, weights, pixels, size):
        with open(self.path("pixels"), "wb") as f:
            f.write(pixels)
        return [[float(v) for v in line.split()]
                for line in self.tool("logits", weights, self.path("pixels"), "--image-size", size).splitlines()]


class Describe(Model):
    def test_published_networks(self):
        for name, (parameters, macs) in PUBLISHED.items():
            with self.subTest(name=name):
                model = self.run_json("describe", name, "--backend", "cpu")
                self.assertEqual((model["name"], model["classes"], model["image_size"], model["batch"]),
                                 (name, 1000, 224, 32))
                self.assertEqual(round(model["parameters"] / 1e6, 2), parameters)
                self.assertEqual(round(model["macs"] / 1e9, 2), macs)
                for key in ("parameters", "macs", "activation_bytes"):
                    self.assertEqual(sum(layer[key] for layer in model["layers"]), model[key])
                memory = model["memory"]
                self.assertEqual(memory["total"], sum(memory.values()) - memory["total"])
                # Tensors begin at cache lines, so a little more than the values.
                for part in ("parameters", "gradients", "momentum"):
                    self.assertLess(0, memory[part] - 4 * model["parameters"])
                    self.assertLess(memory[part], 4.001 * model["parameters"])
                # At least what each convolution keeps for the way back.
                self.assertGreater(memory["activations"], 32 * model["activation_bytes"])
                self.assertGreater(memory["workspace"], 0)
                self.assertEqual((model["micro_batch"], model["recompute"], model["workspace_more"]), (32, False, 0))

    def test_text(self):
        lines = self.run_ok("describe", "resnext101_32x8d", "--batch", "24", "--backend", "cpu").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["LAYER", "KERNEL", "STRIDE", "GROUPS", "OUTPUT", "PARAMETERS", "MACS",
                                            "ACTIVATION"])
        self.assertEqual(lines[1].split(), ["conv1", "7x7", "2", "1", "64x112x112", "9,536", "118.01", "M", "3.1",
                                            "MiB"])
        self.assertEqual(len([line for line in lines if line.startswith("layer")]), 4 * 4 + 3 * (2 + 3 + 22 + 2))
        text = "\n".join(lines)
        self.assertIn("Model:       resnext101_32x8d (blocks 3,4,23,3; groups 32; width 8); 1000 classes; "
                      "images of 224x224", text)
        self.assertIn("Parameters:  88,791,336 (88.79 M)", text)
        self.assertIn("MACs:        16.41 G per image, forward", text)
        self.assertIn("Memory to train on a batch of 24 on cpu:", text)
        quiet = self.run_ok("describe", "resnext101_32x8d", "--batch", "24", "--backend", "cpu", "-q").stdout
        self.assertTrue(text.endswith("\n\n" + quiet.rstrip("\n")))

    def test_less_memory(self):
        words = ("describe", "resnext50_32x4d", "--backend", "cpu", "--batch")
        whole, small = self.run_json(*words, "32"), self.run_json(*words, "8")
        pieces = self.run_json(*words, "32", "--micro-batches", "4")
        self.assertEqual((pieces["batch"], pieces["micro_batch"]), (32, 8))
        self.assertEqual(pieces["memory"]["activations"], small["memory"]["activations"])
        self.assertEqual(pieces["memory"]["gradient_sums"], pieces["memory"]["gradients"])
        self.assertEqual(whole["memory"]["gradient_sums"], 0)
        again = self.run_json(*words, "32", "--recompute")
        self.assertTrue(again["recompute"])
        self.assertEqual(again["memory"]["activations"], whole["activations_with_recompute"])
        self.assertEqual(whole["memory"]["activations"], again["activations_without_recompute"])
        self.assertLess(again["memory"]["activations"], 0.8 * whole["memory"]["activations"])
        text = self.run_ok(*words, "32", "-q").stdout
        self.assertRegex(text, r"activations +[\d.]+ GiB  [\d.]+ GiB with recompute\n  workspace +[\d.]+ MiB  of the back")
        self.assertRegex(text, r"Not included: .*a checkpoint's copy on rank 0 \(191.2 MiB\)\n$")
        text = self.run_ok(*words, "32", "-q", "--micro-batches", "4", "--recompute").stdout
        self.assertIn("Memory to train on a batch of 32, in 4 micro-batches of 8, on cpu:", text)
        self.assertRegex(text, r"with recompute; [\d.]+ MiB without\n")

    def test_any_other(self):
        words = ("describe", "--depths", "1,1,1,1", "--groups", "32", "--width", "4", "--image-size", "64", "--classes",
                 "150", "--backend", "cpu")
        model = self.run_json(*words, "--batch", "8")
        self.assertEqual((model["name"], model["depths"], model["groups"], model["width"], model["classes"]),
                         (None, [1, 1, 1, 1], 32, 4, 150))
        self.assertEqual(len(model["layers"]), 18)
        self.assertEqual(model["layers"][-1], {"name": "fc", "kernel": 1, "stride": 1, "groups": 1,
                                               "output": [150, 1, 1], "parameters": 2049 * 150, "macs": 2048 * 150,
                                               "activation_bytes": 600})
        twice = self.run_json(*words, "--batch", "16")
        self.assertEqual(twice["memory"]["parameters"], model["memory"]["parameters"])
        self.assertAlmostEqual(twice["memory"]["activations"] / model["memory"]["activations"], 2, 2)
        inference = self.run_json(*words, "--batch", "8", "--inference")
        self.assertEqual((inference["memory"]["gradients"], inference["memory"]["momentum"]), (0, 0))
        self.assertLess(inference["memory"]["activations"], model["memory"]["activations"] / 2)
        self.assertEqual(self.run_json("describe", "--depths", "3,4,6,3")["name"], "resnext50_32x4d")

    def test_job_files(self):
        path = self.write("job.yaml", JOB)
        done = self.run_ok("describe", path, "-o", "json")
        self.assert_one_line(done.stderr, "pictures cannot be read here", "1000 classes", "--classes")
        model = json.loads(done.stdout)["model"]
        self.assertEqual((model["depths"], model["groups"], model["image_size"], model["batch"], model["classes"]),
                         ([1, 2], 8, 64, 12, 1000))
        model = self.run_json("describe", path, "--set", "micro_batches=3", "--set", "recompute=true", "--classes", "5")
        self.assertEqual((model["batch"], model["micro_batch"], model["recompute"]), (12, 4, True))
        model = self.run_json("describe", path, "--set", "model.groups=4", "--batch", "3", "--classes", "5")
        self.assertEqual((model["groups"], model["batch"], model["classes"]), (4, 3, 5))
        done = self.run_ok("describe", self.write("cuda.yml", JOB + "backend: cuda\n"), "--classes", "9")
        if "on cuda:" not in done.stdout:  # a build without it
            self.assert_one_line(done.stderr, "backend cuda is not here", "cpu")

    def test_memory_of_a_gpu_needs_no_gpu(self):
        words = ["resnext101_32x48d", "--backend", "cuda", "--batch", "128"]
        done = self.cluster.wslctl("model", "describe", *words)
        if "no cuda backend" in done.stderr:
            self.skipTest(done.stderr.strip())
        memory = self.run_json("describe", *words)["memory"]
        self.assertEqual(memory["parameters"], memory["momentum"])
        self.assertAlmostEqual(memory["parameters"] / 2**30, 828.4e6 * 4 / 2**30, delta=0.01)
        # bf16 activations: about half of what the backend cpu needs for its floats.
        floats = self.run_json("describe", "resnext101_32x48d", "--backend", "cpu", "--batch", "128")["memory"]
        self.assertTrue(0.4 < memory["activations"] / floats["activations"] < 0.6, (memory, floats))
        self.assertIn("job.yaml:8: bach: unknown key",
                      self.run_wrong(USAGE, "describe", self.write("job.yaml", JOB + "bach: 1\n")))

    def test_classes_of_a_job_are_its_tags(self):
        make_folder(self.path("pictures.src"), ["red", "green", "blue"], 4)
        done = self.cluster.wslctl("data", "import", "--folder", self.path("pictures.src"), "--into",
                                   self.path("pictures"))
        self.assertEqual(done.returncode, 0, done.stderr)
        path = self.write("job.yaml", JOB.replace("pictures", self.path("pictures")))
        done = self.run_ok("describe", path, "-o", "json")
        self.assertEqual((done.stderr, json.loads(done.stdout)["model"]["classes"]), ("", 3))
        self.assertEqual(self.run_json("describe", path, "--classes", "9")["classes"], 9)

    def test_bad_input(self):
        for words, text in [
                ([], "NAME, a job file or --depths"), (["resnext50_32x4d", "--depths", "1"], "NAME, a job file or"),
                (["a", "b"], "unexpected argument 'b'"), (["resnext50_32x5d"], "did you mean 'resnext50_32x4d'?"),
                (["vgg16"], "no model 'vgg16'"), (["/nowhere.yaml"], "No such file"),
                (["--depths", "1,2,3,4,5"], "one to four numbers"), (["--depths", "1,,2"], "one to four numbers"),
                (["--depths", ""], "one to four numbers"), (["--depths", "-1"], "one to four numbers"),
                (["--depths", "0"], "depths[0] is 0"), (["--depths", "5000"], "depths[0] is 5000"),
                (["--depths", "1", "--groups", "60000", "--width", "9"], "groups * width"),
                (["resnet50", "--groups", "2"], "--groups is only for --depths"),
                (["resnet50", "--set", "batch=2"], "--set is only for a job file"),
                (["resnet50", "--image-size", "50"], "multiple of 32"), (["resnet50", "--batch", "0"], "--batch"),
                (["resnet50", "--batch", "9", "--micro-batches", "2"], "9 cannot be divided into 2 micro-batches"),
                (["resnet50", "--backend", "abacus"], 'no backend "abacus"'), (["resnet50", "-o", "yaml"], "-o yaml")]:
            with self.subTest(words=words):
                self.assert_one_line(self.run_wrong(USAGE, "describe", *words), text, "wslctl")


class Files(Model):
    def test_check(self):
        made = self.checkpoint("made", "--depths", "2,1", "--classes", "5")
        weights = os.path.join(made, "step-000000000007", "model.safetensors")
        model = self.run_json("check", weights)
        self.assertEqual((model["file"], model["name"], model["depths"], model["groups"], model["width"]),
                         (weights, None, [2, 1], 8, 2))
        self.assertEqual((model["classes"], model["image_size"], model["dtype"]), (5, None, "F32"))
        self.assertEqual(model["bytes"], os.path.getsize(weights))
        self.assertEqual(model["parameters"],
                         self.run_json("describe", "--depths", "2,1", "--groups", "8", "--width", "2", "--classes",
                                       "5")["parameters"])
        text = self.run_ok("check", weights).stdout
        self.assertIn("Model:       blocks 2,1; groups 8; width 2\nClasses:     5\n", text)
        self.assertEqual(self.run_ok("check", "-q", weights).stdout, "")
        tensors = read_safetensors(weights)
        backbone = {k: v for k, v in tensors.items() if not k.startswith("fc.")}
        write_safetensors(self.path("backbone"), backbone)
        self.assertIsNone(self.run_json("check", self.path("backbone"))["classes"])
        self.assertIn("none: the file has no head", self.run_ok("check", self.path("backbone")).stdout)

    def test_check_names_what_is_wrong(self):
        made = self.checkpoint("made", "--depths", "2,1", "--classes", "5")
        tensors = read_safetensors(os.path.join(made, "step-000000000007", "model.safetensors"))
        path = self.path("bad")

        def faults(changes, drop=()):
            write_safetensors(path, {k: v for k, v in {**tensors, **changes}.items() if k not in drop})
            return self.run_wrong(1, "check", path).splitlines()

        would_be = f"wslctl: {path}: by its other tensors it would be blocks 2,1; groups 8; width 2"
        self.assertEqual(faults({}, {"bn1.running_var"}),
                         [f"wslctl: {path}: bn1.running_var is missing; it should be [64]", would_be])
        self.assertEqual(faults({"layer2.0.conv3.weight": ("F32", [2, 3], b"x" * 24)}),
                         [f"wslctl: {path}: layer2.0.conv3.weight is [2, 3]; it should be [512, 32, 1, 1]", would_be])
        self.assertEqual(faults({"conv1.weight": ("I64", [64, 3, 7, 7], b"x" * 64 * 3 * 49 * 8)}),
                         [f"wslctl: {path}: conv1.weight has dtype I64; F32, F16 and BF16 are read", would_be])
        self.assertEqual(faults({"extra": ("F32", [1], b"xxxx")}),
                         [f"wslctl: {path}: extra is not a tensor of this net", would_be])
        shape, data = tensors["bn1.running_var"][1:]
        self.assertEqual(faults({"bn1.running_var": ("F32", shape, data[:8] + struct.pack("<f", -2) + data[12:])}),
                         [f"wslctl: {path}: bn1.running_var is a variance and has a negative value (-2, first at element 2 "
                          "of 64)", would_be])
        shape, data = tensors["fc.weight"][1:]
        self.assertEqual(faults({"fc.weight": ("F32", shape, data[:-4] + struct.pack("<f", math.nan))}),
                         [f"wslctl: {path}: fc.weight is not finite (NaN, first at element 2559 of 2560)", would_be])
        write_safetensors(path, {"module." + k: v for k, v in tensors.items()})
        self.assertEqual(self.run_json("check", path)["prefix"], "module.")
        self.assertIn("Names:       begin with 'module.', which is left out\n", self.run_ok("check", path).stdout)
        lines = faults({}, {k for k in tensors if k.startswith(("layer1.1.", "layer1.0.bn"))} | {"bn1.bias"})
        self.assertIn("blocks 1,1; groups 8", lines[-1])
        lines = faults({}, {k for k in tensors if ".bn" in k})
        self.assertEqual(len(lines), 22)
        self.assertIn("and 16 more", lines[20])  # 9 BNs of 4 tensors
        lines = faults({}, set(tensors) - {"conv1.weight"})
        self.assert_one_line("\n".join(lines), "no tensor is named layer1.0.*", "conv1.weight")

    def test_check_of_no_safetensors(self):
        for name, text, words in [("empty", "", "too few"), ("text", "x" * 100, "not a safetensors"),
                                  ("folder/", None, "is not a file"), ("none", None, "No such file")]:
            with self.subTest(name=name):
                if name.endswith("/"):
                    os.mkdir(self.path(name))
                elif text is not None:
                    self.write(name, text)
                self.assert_one_line(self.run_wrong(1, "check", self.path(name)), self.path(name), words)
        self.assert_one_line(self.run_wrong(USAGE, "check"), "needs FILE")

    def test_export(self):
        made, into = self.checkpoint("made", "--classes", "5"), self.path("out.safetensors")
        step = os.path.join(made, "step-000000000007")
        model = self.run_json("export", made, "--into", into)
        self.assertEqual((model["file"], model["checkpoint"], model["classes"], model["image_size"]),
                         (into, step, 5, 64))
        self.assertEqual(read_safetensors(into), read_safetensors(os.path.join(step, "model.safetensors")))
        self.assertEqual(self.run_json("check", into)["depths"], [1, 1, 1, 1])
        self.assert_one_line(self.run_wrong(1, "export", made, "--into", into), into, "exists; remove it")
        text = self.run_ok("export", step, "--into", into + "2").stdout
        self.assertIn(f"File:        {into}2\nCheckpoint:  {step}\nModel:  ", text)
        self.assertEqual(self.run_ok("export", "-q", step, "--into", into + "3").stdout, "")
        self.assert_one_line(self.run_wrong(USAGE, "export", made), "needs --into FILE")
        self.assert_one_line(self.run_wrong(USAGE, "export", "--into", into), "needs CHECKPOINT")
        self.assert_one_line(self.run_wrong(1, "export", "/nowhere", "--into", into + "4"), "/nowhere")
        self.assert_one_line(self.run_wrong(1, "export", made, "--into", "/nowhere/x"), "/nowhere/x")
        with open(os.path.join(step, "model.safetensors"), "r+b") as f:
            f.seek(-1, os.SEEK_END)
            f.write(b"\x55")
        self.assert_one_line(self.run_wrong(1, "export", step, "--into", into + "4"), "is damaged")
        self.assertEqual(sorted(n for n in os.listdir(self.folder) if n.startswith("out")),
                         ["out.safetensors", "out.safetensors2", "out.safetensors3"])


@unittest.skipIf(NO_TORCH, NO_TORCH)
class PyTorch(Model):
    """Both in f32 on the CPU, torchvision's resnext50_32x4d."""
    CLASSES, SIZE, COUNT = 37, 96, 3

    def setUp(self):
        torch.manual_seed(7)
        torch.set_num_threads(1)
        self.pixels = random.Random(7).randbytes(self.COUNT * self.SIZE * self.SIZE * 3)

    def net(self):
        return torchvision.models.resnext50_32x4d(num_classes=self.CLASSES)

    def pictures(self):
        x = torch.frombuffer(bytearray(self.pixels), dtype=torch.uint8).view(self.COUNT, self.SIZE, self.SIZE, 3)
        x = x.permute(0, 3, 1, 2).float() / 255
        return (x - torch.tensor([.485, .456, .406]).view(3, 1, 1)) / torch.tensor([.229, .224, .225]).view(3, 1, 1)

    def evaluate(self, net):
        with torch.no_grad():
            return net.eval()(self.pictures())

    def trained_a_little(self):
        """Random weights, and BN statistics, scales and offsets that are not what they start from."""
        net = self.net()
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(m.weight, 0.5, 1.5)
                torch.nn.init.normal_(m.bias, 0, 0.2)
        with torch.no_grad():
            for _ in range(3):
                net.train()(self.pictures() + 0.1 * torch.randn(self.COUNT, 3, self.SIZE, self.SIZE))
        return net

    def assert_same(self, ours, theirs):
        ours = torch.tensor(ours)
        self.assertEqual(ours.shape, theirs.shape)
        self.assertGreater(float(theirs.std(dim=0).max()), 0.01 * float(theirs.abs().max()))  # pictures matter
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        print(f"torch {torch.__version__}, torchvision {torchvision.__version__}: logits differ by {worst:.2g} "
              "of the largest")
        self.assertLess(worst, TOLERANCE)

    def write_state(self, path, state):
        names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
        write_safetensors(path, {k: (names[v.dtype], tuple(v.shape), bytes(v.contiguous().reshape(-1).view(torch.uint8)
                                                                          .numpy())) for k, v in state.items()})

    def test_we_read_what_pytorch_wrote(self):
        net, path = self.trained_a_little(), self.path("torch.safetensors")
        for dtype, name in ((torch.float32, "F32"), (torch.float16, "F16"), (torch.bfloat16, "BF16")):
            with self.subTest(dtype=name):
                state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in net.state_dict().items()}
                self.assertIn("bn1.num_batches_tracked", state)
                self.write_state(path, state)
                rounded = self.net()
                rounded.load_state_dict(state)
                model = self.run_json("check", path)
                self.assertEqual((model["name"], model["classes"], model["dtype"]),
                                 ("resnext50_32x4d", self.CLASSES, name))
                self.assertEqual(model["parameters"], sum(p.numel() for p in net.parameters()))
                self.assert_same(self.logits(path, self.pixels, self.SIZE), self.evaluate(rounded))

    def test_pytorch_reads_what_we_wrote(self):
        made, path = self.checkpoint("made", "--depths", "3,4,6,3", "--groups", "32", "--width", "4", "--classes",
                                     self.CLASSES), self.path("ours.safetensors")
        self.assertEqual(self.run_json("export", made, "--into", path)["name"], "resnext50_32x4d")
        state = {k: torch.frombuffer(bytearray(data), dtype=torch.float32).view(shape)
                 for k, (dtype, shape, data) in read_safetensors(path).items() if dtype == "F32"}
        net = self.net()
        net.load_state_dict(state, strict=True)
        self.assert_same(self.logits(path, self.pixels, self.SIZE), self.evaluate(net))


main()
