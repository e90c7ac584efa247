# SPDX-License-Identifier: Apache-2.0
"""Training steps of a ResNeXt-101 in PyTorch, as our train_step makes them: u8 images from the host, normalised on the
GPU, forward, backward and SGD with Nesterov momentum; channels_last, bf16 autocast. Prints one line of JSON.
Usage: torch_bench.py 32x4d eager|compile BATCH[,BATCH...] STEPS WARM_UP     the first batch that fits counts"""
import gc
import json
import sys
import time

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, width, groups, out, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))
        self.shortcut = None
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


def resnext101(groups, width):
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate((3, 4, 23, 3)):
        for i in range(depth):
            out = 256 << stage
            layers.append(Block(channels, (groups * width) << stage, groups, out, 2 if stage and i == 0 else 1))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def measure(model, mode, batch, steps, warm_up):
    groups, width = (int(n) for n in model.rstrip("d").split("x"))
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    net = resnext101(groups, width).cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)
    mean = torch.tensor([0.485, 0.456, 0.406], device="cuda").view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], device="cuda").view(1, 3, 1, 1)
    pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8).pin_memory()
    targets = torch.randint(0, 1000, (batch,), device="cuda")

    def loss_of(raw):
        x = raw.permute(0, 3, 1, 2).to(torch.float32)  # NHWC bytes are channels_last already
        return nn.functional.cross_entropy(net((x / 255 - mean) / deviation), targets)
    forward = torch.compile(loss_of) if mode == "compile" else loss_of

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = forward(pixels.to("cuda", non_blocking=True))
        loss.backward()
        optimizer.step()
        return loss
    for _ in range(warm_up):
        step()
    torch.cuda.synchronize()
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        step().item()
        times.append(time.perf_counter() - begin)
    times.sort()
    return {"batch": batch, "images_per_second": batch / times[len(times) // 2], "best": batch / times[0],
            "peak_MiB": torch.cuda.max_memory_allocated() >> 20, "torch": torch.__version__}


def main():
    model, mode, batches, steps, warm_up = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    for batch in map(int, batches.split(",")):
        try:
            print(json.dumps(measure(model, mode, batch, steps, warm_up)))
            return 0
        except torch.cuda.OutOfMemoryError:
            print(f"batch {batch} does not fit", flush=True)
        # Outside of the handler, which holds the frames and their tensors.
        gc.collect()
        if mode == "compile":
            torch.compiler.reset()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return 1


if __name__ == "__main__":
    sys.exit(main())
