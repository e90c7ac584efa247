# SPDX-License-Identifier: Apache-2.0
"""Small pictures with labels, made from a seed: a bright square whose colour and place tell the class, on noise."""
import os
import random
import struct
import zlib

COLOURS = [(230, 40, 40), (40, 200, 60), (50, 80, 230), (230, 210, 40), (200, 60, 200), (40, 200, 210), (240, 140, 30),
           (250, 250, 250)]


def png(width, height, pixels):
    """pixels: bytes, RGB."""
    rows = b"".join(b"\0" + pixels[y * width * 3:(y + 1) * width * 3] for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def picture(rng, label, side=40):
    out = bytearray(rng.getrandbits(8) // 3 for _ in range(side * side * 3))
    half = side // 2
    left, top = rng.randrange(half), rng.randrange(half)
    for y in range(top, top + half):
        for x in range(left, left + half):
            out[(y * side + x) * 3:(y * side + x) * 3 + 3] = bytes(COLOURS[label % len(COLOURS)])
    return png(side, side, bytes(out))


def make_folder(path, labels, each, seed=1):
    """path/<label>/<n>.png; labels: names."""
    rng = random.Random(seed)
    for number, label in enumerate(labels):
        os.makedirs(os.path.join(path, label))
        for i in range(each):
            with open(os.path.join(path, label, f"{i}.png"), "wb") as f:
                f.write(picture(rng, number))
