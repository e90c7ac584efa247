#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes an import manifest (path TAB tag,tag,...) of the Open Clip Art Library as Debian packages it.

The tags are the keywords that the drawings' authors put into the dc:subject of each SVG; the pictures are the PNG
renderings of the same drawings. Packages: openclipart-svg, openclipart-png.
"""
import argparse
import collections
import html
import os
import re
import sys
import tempfile

SUBJECT = re.compile(r"<(?:\w+:)?subject\b[^>]*>(.*?)</(?:\w+:)?subject\s*>", re.S | re.I)
ITEM = re.compile(r"<(?:\w+:)?li\b[^>]*>(.*?)</(?:\w+:)?li\s*>", re.S | re.I)
MARKUP = re.compile(r"<[^>]*>")
HEAD_BYTES = 4 << 20  # the metadata of a drawing lies far before this


def text_of(path):
    """The start of an SVG, whatever its encoding and however broken its XML: only the keywords are looked for."""
    with open(path, "rb") as f:
        raw = f.read(HEAD_BYTES)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def keywords_of(path):
    """The keywords of one SVG in their order, without doubles."""
    found = {}
    for subject in SUBJECT.findall(text_of(path)):
        # A bag of items as the standard has it, or plain text that people wrote with commas.
        for item in ITEM.findall(subject) or [MARKUP.sub(",", subject)]:
            for word in html.unescape(MARKUP.sub("", item)).split(","):
                word = " ".join("".join(c if c.isprintable() else " " for c in word).split())
                if word:
                    found[word] = True
    return list(found)


def drawings(svg_root):
    """Paths of the SVG files below the root, relative to it; a link is a second name of another drawing."""
    for folder, folders, names in os.walk(svg_root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".svg") and os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, svg_root)


def lines(root, counts):
    svg_root, png_root = os.path.join(root, "svg"), os.path.join(root, "png")
    for name in drawings(svg_root):
        counts["drawings"] += 1
        png = os.path.join(png_root, name[:-len(".svg")] + ".png")
        words = keywords_of(os.path.join(svg_root, name))
        if not os.path.isfile(png):
            counts["without a PNG"] += 1
        elif "\t" in png or "\n" in png:
            counts["with an impossible name"] += 1
        elif not words:
            counts["without keywords"] += 1
        else:
            counts["written"] += 1
            counts["tags"] += len(words)
            yield f"{os.path.abspath(png)}\t{','.join(words)}\n"


def write_file(path, text_lines):
    """All lines, or no file."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace", dir=os.path.dirname(os.path.abspath(path)),
                                     delete=False) as out:
        try:
            out.writelines(text_lines)
            os.fchmod(out.fileno(), 0o644)
            out.close()
            os.replace(out.name, path)
        except BaseException:
            os.unlink(out.name)
            raise


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", nargs="?", default="-", help="file to write; - is standard output, the default")
    parser.add_argument("--root", default="/usr/share/openclipart", help="folder with svg/ and png/ (%(default)s)")
    arguments = parser.parse_args()
    if not os.path.isdir(os.path.join(arguments.root, "svg")) or not os.path.isdir(os.path.join(arguments.root, "png")):
        sys.exit(f"openclipart_manifest: {arguments.root} has no svg/ and png/: "
                 "install openclipart-svg and openclipart-png")
    counts = collections.Counter()
    try:
        if arguments.manifest == "-":
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")
            sys.stdout.writelines(lines(arguments.root, counts))
            sys.stdout.flush()
        else:
            write_file(arguments.manifest, lines(arguments.root, counts))
    except OSError as e:
        sys.exit(f"openclipart_manifest: {e}")
    if not counts["written"]:
        sys.exit(f"openclipart_manifest: no drawing with keywords and a PNG below {arguments.root}")
    print(f"{counts['written']} pictures with {counts['tags']} tags of {counts['drawings']} drawings "
          f"({counts['without keywords']} without keywords, {counts['without a PNG']} without a PNG)", file=sys.stderr)


if __name__ == "__main__":
    main()
