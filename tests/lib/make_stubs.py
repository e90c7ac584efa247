#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Generates Python messages and gRPC stubs from our .proto files, as a user in another language would.
Usage: make_stubs.py PROTOC PLUGIN PROTO_FOLDER OUTPUT_FOLDER STAMP

The health and reflection services are generated from inside proto/grpc (modules health.v1..., reflection.v1...): as
grpc.health.v1 they would hide the installed `grpc` package.
"""
import glob
import os
import subprocess
import sys


def generate(protoc, plugin, root, out, pattern):
    files = sorted(glob.glob(os.path.join(root, pattern), recursive=True))
    if not files:
        sys.exit(f"make_stubs.py: no {pattern} in {root}")
    subprocess.run([protoc, f"--plugin=protoc-gen-grpc_python={plugin}", f"--proto_path={root}", f"--python_out={out}",
                    f"--grpc_python_out={out}", *files], check=True)


def main():
    protoc, plugin, proto, out, stamp = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    generate(protoc, plugin, proto, out, "wsl/v1/*.proto")
    generate(protoc, plugin, os.path.join(proto, "grpc"), out, "**/*.proto")
    with open(stamp, "w", encoding="ascii"):
        pass


main()
