#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a file into a C array. Usage: embed.py INPUT OUTPUT.c HEADER NAME"""
import sys


def main():
    source, target, header, name = sys.argv[1:]
    with open(source, "rb") as f:
        data = f.read()
    rows = (", ".join(str(b) for b in data[i:i + 20]) for i in range(0, len(data), 20))
    with open(target, "w", encoding="ascii") as f:
        f.write(f'#include "{header}"\n\n')
        f.write(f"const uint8_t {name}[] = {{\n" + ",\n".join(rows) + "};\n")
        f.write(f"const size_t {name}_size = sizeof {name};\n")


main()
