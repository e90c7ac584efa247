#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the files beside it, once, with an independent library (Pillow 13.0.0); test_image.c compares against them.

source.png           a drawing with gradients, edges and grain
resize-*.png         Image.resize(size, BILINEAR, box=box, reducing_gap=None) of it; the table is also in test_image.c
<kind>.png, .jpg     other kinds of pixels, and <kind>-rgb.png: what Pillow makes of them, transparency on white
"""
import os
import random

from PIL import Image, ImageDraw

HERE = os.path.dirname(os.path.abspath(__file__))
RESIZES = [  # size, box
    ((32, 32), (0, 0, 101, 77)),
    ((50, 9), (0, 0, 101, 77)),
    ((64, 64), (13, 5, 66, 70)),
    ((24, 24), (30.5, 10.25, 90.75, 71.5)),
    ((160, 120), (0, 0, 101, 77)),
    ((1, 1), (0, 0, 101, 77)),
]


def path(name):
    return os.path.join(HERE, name)


def draw():
    rng = random.Random(2018)
    image = Image.new("RGB", (101, 77))
    pixels = image.load()
    for y in range(77):
        for x in range(101):
            grain = rng.randrange(-12, 13)
            pixels[x, y] = tuple(max(0, min(255, v + grain)) for v in (x * 255 // 100, y * 255 // 76, (x * y) % 256))
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 10, 60, 50), fill=(250, 240, 20), outline=(0, 0, 0))
    pen.line((0, 76, 100, 0), fill=(255, 255, 255), width=2)
    pen.rectangle((70, 40, 95, 70), fill=(10, 10, 120))
    return image


def on_white(image):
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


def main():
    source = draw()
    source.save(path("source.png"), optimize=True)
    for i, (size, box) in enumerate(RESIZES):
        source.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=None).save(
            path(f"resize-{i}.png"), optimize=True)

    alpha = Image.linear_gradient("L").resize(source.size)
    rgba = source.copy()
    rgba.putalpha(alpha)
    palette = source.quantize(16)
    grey16 = Image.new("I;16", source.size)
    grey16.putdata([v * 257 for v in source.convert("L").getdata()])
    kinds = {"grey": source.convert("L"), "bits": source.convert("1"), "grey-alpha": rgba.convert("LA"), "rgba": rgba,
             "palette": palette}
    for name, image in kinds.items():
        image.save(path(name + ".png"), optimize=True)
        on_white(image).save(path(name + "-rgb.png"), optimize=True)
    palette.save(path("palette-clear.png"), transparency=3, optimize=True)
    on_white(Image.open(path("palette-clear.png"))).save(path("palette-clear-rgb.png"), optimize=True)
    grey16.save(path("grey16.png"))
    source.convert("L").convert("RGB").save(path("grey16-rgb.png"), optimize=True)

    jpegs = {"colour": (source, {}), "progressive": (source, {"progressive": True}),
             "full-chroma": (source, {"subsampling": 0}), "grey-jpeg": (source.convert("L"), {}),
             "cmyk": (source.convert("CMYK"), {})}
    for name, (image, options) in jpegs.items():
        image.save(path(name + ".jpg"), quality=90, **options)
        Image.open(path(name + ".jpg")).convert("RGB").save(path(name + "-rgb.png"), optimize=True)


main()
