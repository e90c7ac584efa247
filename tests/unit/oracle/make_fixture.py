#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the fixtures of test_oracle: what PyTorch computes for small ResNeXts, in double precision.

    make_fixture.py FOLDER     writes FOLDER/NAME.txt for each case below

Inputs are not stored: weights, momentum and pictures come from a formula that the test repeats (see `noise`).
Stored are the loss, logits in training, gradients, running statistics, weights and momentum after one step of SGD
with Nesterov momentum and no decay on BN, and logits in evaluation after that; of big tensors every n-th value,
and the norm of all. The network is torchvision's own; names and layouts are its state_dict's.

A ReLU whose argument is within rounding of 0 can make a right backend differ, so pictures are drawn again until no
argument, and no distance of two values that compete for a maximum, is nearer to 0 than half of the largest
difference that single precision makes to that layer's arguments.
"""
import os
import sys

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import Bottleneck, ResNet

SAMPLES = 128
RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-2
# name, blocks of each stage, groups, width, image size, batch, classes
CASES = [
    ("main", (1, 1, 1, 1), 32, 4, 64, 2, 10),  # the usual small net: 4, 8, 16 and 32 channels a group
    ("odd", (2, 2), 3, 5, 32, 5, 7),           # identity shortcuts and odd widths
]


def noise(name, count):
    """count doubles in [-0.5, 0.5): multiples of 2^-24 from a hash of the name and the position."""
    key = 14695981039346656037
    for c in name.encode():
        key = (key ^ c) * 1099511628211 % 2**64
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    x ^= x >> np.uint64(29)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(32)
    return (x & np.uint64(0xFFFFFF)).astype(np.float64) / 2**24 - 0.5


def first_value(name, shape):
    u = noise(name, int(np.prod(shape)))
    if len(shape) == 4:
        u = u * np.sqrt(24 / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:
        u = u * 0.5
    elif name.endswith("running_var"):
        u = u + 1
    elif name.endswith("weight"):
        u = u * 0.5 + 1
    else:
        u = u * 0.4
    return torch.from_numpy(u.astype(np.float32).astype(np.float64).reshape(shape))


def build(depths, groups, width, classes):
    class Net(ResNet):
        """torchvision's ResNet cut after len(depths) stages."""

        def __init__(self):
            super().__init__(Bottleneck, list(depths) + [1] * (4 - len(depths)), num_classes=classes, groups=groups,
                             width_per_group=width)
            for stage in range(len(depths) + 1, 5):
                setattr(self, f"layer{stage}", torch.nn.Identity())
            self.fc = torch.nn.Linear(256 * 2**(len(depths) - 1), classes)

    net = Net().double()
    for name, tensor in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(first_value(name, tuple(tensor.shape)))
    return net


def pictures(draw, size, batch):
    pixels = np.floor((noise(f"pixels{draw}", batch * size * size * 3) + 0.5) * 256)
    x = torch.from_numpy(pixels.reshape(batch, size, size, 3)).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([.485, .456, .406], dtype=torch.float64)
    deviation = torch.tensor([.229, .224, .225], dtype=torch.float64)
    return (x - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


def targets(batch, classes):
    """Image i has 1 + i % 3 tags, (2 i + 3 j) % classes, each a target of 1/k."""
    y = torch.zeros(batch, classes, dtype=torch.float64)
    for i in range(batch):
        for j in range(1 + i % 3):
            y[i, (2 * i + 3 * j) % classes] += 1 / (1 + i % 3)
    return y


def arguments(net, x):
    """What ReLUs and the maximum decide on in a forward pass: arguments, and distances of best and second best."""
    found = []

    def relu(_, inputs):
        found.append(inputs[0].double().clone())

    def pool(_, inputs):
        windows = torch.nn.functional.unfold(inputs[0], 3, padding=1, stride=2).view(x.shape[0], 64, 9, -1)
        best = windows.double().topk(2, dim=2).values
        found.append(torch.where(best[:, :, 0] > 0, best[:, :, 0] - best[:, :, 1], 1.0))

    for m in net.modules():
        if isinstance(m, (torch.nn.ReLU, torch.nn.MaxPool2d)):
            m.register_forward_pre_hook(relu if isinstance(m, torch.nn.ReLU) else pool)
    with torch.no_grad():
        net(x)
    return found


def drawn_pictures(case):
    """The first pictures without a near decision, and which draw they are."""
    depths, groups, width, size, batch, classes = case
    for draw in range(1000):
        x = pictures(draw, size, batch)
        exact = arguments(build(depths, groups, width, classes).train(), x)
        rough = arguments(build(depths, groups, width, classes).train().float(), x.float())
        if all(e.abs().min() > (e - r).abs().max() / 2 for e, r in zip(exact, rough)):
            return draw, x
    raise RuntimeError("every draw has a near decision")


def record(out, kind, name, tensor):
    values = tensor.detach().numpy().ravel()
    stride = max(1, len(values) // SAMPLES)
    sample = values[::stride]
    out.write(f"{kind} {name} {stride} {len(sample)} {np.linalg.norm(values):.9g}\n")
    out.write(" ".join(f"{v:.8g}" for v in sample) + "\n")


def make(out, case, x):
    depths, groups, width, _, batch, classes = case
    net = build(depths, groups, width, classes).train()
    decayed = [p for n, p in net.named_parameters() if p.dim() > 1 or n.startswith("fc.")]
    plain = [p for n, p in net.named_parameters() if not (p.dim() > 1 or n.startswith("fc."))]
    sgd = torch.optim.SGD([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0}],
                          lr=RATE, momentum=MOMENTUM, nesterov=True)
    for name, p in net.named_parameters():
        u = (noise("momentum " + name, p.numel()) * 0.01).astype(np.float32).astype(np.float64)
        sgd.state[p]["momentum_buffer"] = torch.from_numpy(u.reshape(tuple(p.shape)))
    y = targets(batch, classes)
    logits = net(x)
    loss = torch.nn.CrossEntropyLoss(reduction="sum")(logits, y)
    (loss / batch).backward()
    record(out, "loss", "-", loss)
    for name, p in net.named_parameters():
        record(out, "gradient", name, p.grad)
    sgd.step()
    for name, tensor in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            record(out, "value", name, tensor)
    for name, p in net.named_parameters():
        record(out, "momentum", name, sgd.state[p]["momentum_buffer"])
    with torch.no_grad():
        logits = net.eval()(x)
        record(out, "logits", "-", logits)
        record(out, "evaluation", "-", torch.nn.CrossEntropyLoss(reduction="sum")(logits, y))


def main():
    for name, *case in CASES:
        depths, *rest = case
        draw, x = drawn_pictures(case)
        with open(os.path.join(sys.argv[1], name + ".txt"), "w", encoding="ascii") as out:
            out.write(f"torch {torch.__version__} torchvision {torchvision.__version__}\n")
            out.write(" ".join(str(v) for v in [len(depths), *depths, *[0] * (4 - len(depths)), *rest, draw]) + "\n")
            out.write(f"{RATE} {MOMENTUM} {DECAY}\n")
            make(out, case, x)


if __name__ == "__main__":
    main()
