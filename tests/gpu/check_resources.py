#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No kernel spills registers, on any architecture we build for. Reads what ptxas said during the build.

Usage: check_resources.py ARCHITECTURE[,ARCHITECTURE...] USAGE_FILE..."""
import os
import re
import sys
import unittest

ARCHITECTURES = sys.argv.pop(1).split(",")
FILES = sys.argv[1:]
del sys.argv[1:]

# Kernels that a step spends its time in: (name, least that must be there). Memory bound, so at least two blocks of 256
# threads must fit on a multiprocessor of 65536 registers.
HOT = ["batch_sums", "relu_rows", "add_relu_rows", "relu_sums", "gradient_rows", "add_relu_sums", "pool_rows", "pool_sums", "sgd"]
HOT_REGISTERS = 128


def entries(text):
    """(kernel, architecture, bytes of spills, registers) of each compiled kernel."""
    pattern = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'.*?"
                         r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
                         r"Used (\d+) registers", re.S)
    for m in pattern.finditer(text):
        yield m.group(1), m.group(2), int(m.group(4)) + int(m.group(5)), int(m.group(6))


def plain(name):
    """The function's own name in a mangled one."""
    m = re.match(r"_Z(\d+)", name)
    return name[m.end():m.end() + int(m.group(1))] if m else name


class Resources(unittest.TestCase):
    def setUp(self):
        self.kernels = []
        for path in FILES:
            with open(path, encoding="utf-8") as f:
                found = list(entries(f.read()))
            self.assertTrue(found, f"{path}: ptxas said nothing about kernels")
            self.kernels += found

    def test_every_file_has_every_architecture(self):
        for path in FILES:
            with open(path, encoding="utf-8") as f:
                there = {arch for _, arch, _, _ in entries(f.read())}
            self.assertEqual(there, set(ARCHITECTURES), os.path.basename(path))

    def test_nothing_spills(self):
        spilled = [f"{plain(name)} for {arch}: {spills} bytes" for name, arch, spills, _ in self.kernels if spills]
        self.assertEqual(spilled, [])

    def test_hot_kernels_leave_room(self):
        for hot in HOT:
            for arch in ARCHITECTURES:
                registers = [r for name, a, _, r in self.kernels if plain(name) == hot and a == arch]
                self.assertTrue(registers, f"no kernel {hot} for {arch}")
                self.assertLessEqual(max(registers), HOT_REGISTERS, f"{hot} for {arch}")
                print(f"# {hot:14} {arch}: {len(registers):2} variants, at most {max(registers):3} registers")


if __name__ == "__main__":
    unittest.main(verbosity=2)
