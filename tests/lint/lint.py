#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree that a script can hold. Usage: lint.py [ROOT]; one unittest case per rule."""
import os
import re
import shutil
import subprocess
import unittest

from figures import circles
from tree import CODE, ROOT, functions, git_files, guard_of, has_head, includes, text_of, tracked, walked_files

# Who may include whom: the first prefix that fits a file decides. "wsl/v1" is what protobuf-c generates from proto/.
LAW = [
    ("base/", ["base/"]),
    ("proto/jobspec/yaml/", ["base/", "proto/jobspec/", "wsl/v1/"]),
    ("proto/jobspec/", ["base/", "proto/jobspec/jobspec.h", "proto/jobspec/table.h", "proto/message.h", "wsl/v1/"]),
    ("proto/rpc/", ["base/", "proto/rpc/", "wsl/v1/", "grpc/health/", "grpc/reflection/"]),
    ("proto/", ["base/", "proto/", "wsl/v1/", "grpc/health/", "grpc/reflection/"]),
    ("kernels/image/", ["base/", "kernels/cpu_level.h", "kernels/image/"]),
    ("kernels/collective/", ["base/", "kernels/bf16.h", "kernels/collective/"]),
    ("kernels/ref/", ["base/", "kernels/host.h", "kernels/ops.h", "kernels/ref/"]),
    ("kernels/cpu/", ["base/", "kernels/cpu_level.h", "kernels/host.h", "kernels/ops.h", "kernels/cpu/"]),
    ("kernels/cuda/", ["base/", "kernels/bf16.h", "kernels/ops.h", "kernels/cuda/"]),
    ("kernels/model/", ["base/", "kernels/cuda_settings.h", "kernels/ops.h", "kernels/model/"]),
    ("kernels/", ["base/", "kernels/cpu_level.h", "kernels/cuda_settings.h", "kernels/host.h", "kernels/ops.h"]),
    ("storage/dataset/", ["base/", "proto/", "wsl/v1/", "storage/dataset/"]),
    ("storage/vocabulary/", ["base/", "storage/dataset/", "storage/vocabulary/"]),
    ("storage/sampling/", ["base/", "storage/dataset/", "storage/sampling/"]),
    ("storage/import/", ["base/", "wsl/v1/", "kernels/image/", "storage/dataset/", "storage/vocabulary/",
                         "storage/import/"]),
    ("storage/derive/", ["base/", "storage/dataset/", "storage/vocabulary/", "storage/derive/"]),
    ("storage/loader/", ["base/", "kernels/image/", "storage/dataset/", "storage/sampling/", "storage/loader/"]),
    ("storage/export/", ["base/", "kernels/image/", "storage/dataset/", "storage/export/"]),
    ("storage/checkpoint/", ["base/", "storage/checkpoint/"]),
    ("storage/model/", ["base/", "kernels/model/", "storage/checkpoint/", "storage/model/"]),
    ("storage/state/", ["base/", "proto/", "wsl/v1/", "storage/state/"]),
    # The state machine is pure: no loop, no clock, no network, no disk. (FOREIGN has libuv's row.)
    ("daemon/coordinator/cluster/", ["base/map.h", "base/number.h", "base/rng.h", "base/utf8.h", "base/err.h", "proto/jobspec/jobspec.h",
                                     "proto/message.h", "wsl/v1/", "daemon/coordinator/cluster/"]),
    ("daemon/coordinator/", ["base/", "proto/", "wsl/v1/", "storage/", "daemon/coordinator/"]),
    ("daemon/worker/", ["base/", "proto/", "wsl/v1/", "storage/", "daemon/worker/"]),
    ("daemon/trainer/", ["base/", "proto/", "wsl/v1/", "kernels/", "storage/", "daemon/trainer/"]),
    ("client/", ["base/", "proto/", "wsl/v1/", "storage/", "kernels/", "client/"]),
]

# Foreign headers, and the only folders that may use them.
FOREIGN = [
    (r"grpc/", ["proto/rpc/"]),
    (r"lmdb\.h", ["storage/dataset/", "storage/state/"]),
    (r"(oneapi/dnnl/|dnnl)", ["kernels/cpu/"]),
    (r"(cuda|cudnn|cublas|mma\.h)", ["kernels/cuda/"]),
    (r"nccl", ["kernels/collective/nccl/"]),
    (r"gloo/", ["kernels/collective/"]),
    (r"(jpeglib|jerror)\.h", ["kernels/image/jpeg/"]),
    (r"(png|lcms2)\.h", ["kernels/image/"]),
    (r"(zlib|bzlib|lzma|zstd|lz4frame)\.h", ["storage/import/"]),
    (r"utf8proc\.h", ["storage/vocabulary/"]),
    (r"yaml\.h", ["proto/jobspec/yaml/"]),
    (r"jansson\.h", ["proto/", "storage/", "client/", "daemon/"]),
    (r"uv\.h", ["base/", "proto/rpc/", "storage/state/", "daemon/"]),
    (r"omp\.h", ["kernels/cpu/"]),
]

# Pure by design, beyond what the law says of our own headers: nothing that waits, looks at a clock or opens a file.
PURE = ["daemon/coordinator/cluster/"]
IMPURE = r"(uv|time|unistd|fcntl|poll|pthread|signal|errno)\.h|sys/|netinet/|arpa/"

# Where every function that is not static begins with wsl_, but in the stubs that stand in for a foreign library.
PREFIXED = ("base/", "kernels/", "proto/", "storage/", "client/")


class Lint(unittest.TestCase):
    maxDiff = None

    def test_the_tree_was_found(self):
        self.assertIn("base/err.c", tracked(".c"))  # every rule holds for no files at all

    def test_without_git_the_same_files_are_found(self):
        names = git_files()
        if names is None:
            self.skipTest("no git, or no repository")
        self.assertEqual(sorted(n for n in names if n.endswith(CODE) and os.path.exists(os.path.join(ROOT, n))),
                         sorted(n for n in walked_files() if n.endswith(CODE)))

    def clean(self, faults):
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def test_include_law(self):
        faults = []
        for name in tracked(*CODE):
            allowed = next((a for prefix, a in LAW if name.startswith(prefix)), None)
            if allowed is None:
                continue
            for number, kind, path in includes(name):
                if kind == '"' and not any(path.startswith(a) for a in allowed):
                    faults.append(f"{name}:{number}: may not include {path}")
        self.clean(faults)

    def test_includes_are_root_relative(self):
        faults = [f"{name}:{number}: include {path} by its path from the root"
                  for name in tracked(*CODE) if not name.startswith("tests/")
                  for number, kind, path in includes(name) if kind == '"' and "/" not in path]
        self.clean(faults)

    def test_files_of_kernels_call_downwards(self):
        self.clean([" ".join(c) + ": each uses another of them" for c in circles() if c[0].startswith("kernels/")])

    def test_foreign_headers_stay_in_their_folder(self):
        faults = []
        for name in tracked(*CODE):
            if name.startswith("tests/"):
                continue
            for number, kind, path in includes(name):
                for pattern, folders in FOREIGN:
                    if kind == "<" and re.match(pattern, path) and not name.startswith(tuple(folders)):
                        faults.append(f"{name}:{number}: <{path}> belongs in {' or '.join(folders)}")
        self.clean(faults)

    def test_pure_directories_are_pure(self):
        faults = [f"{name}:{number}: <{path}> in a pure directory" for name in tracked(*CODE) if name.startswith(tuple(PURE))
                  for number, kind, path in includes(name) if kind == "<" and re.match(IMPURE, path)]
        self.clean(faults)

    def test_files_are_short(self):
        faults = [f"{name}: {n} lines, at most 800" for name in tracked(*CODE)
                  if (n := text_of(name).count("\n")) > 800]
        self.clean(faults)

    def test_functions_are_short(self):
        faults = [f"{name}:{f.line}: {f.name} has {f.length} lines, at most 100" for name in tracked(".c", ".cc")
                  for f in functions(name) if f.length > 100]
        self.clean(faults)

    def test_what_is_not_static_has_our_prefix(self):
        faults = [f"{name}:{f.line}: {f.name} is not static: call it wsl_{f.name}, or make it so"
                  for name in tracked(".c") if name.startswith(PREFIXED) and not name.endswith("stub.c")
                  for f in functions(name) if not f.static and f.name != "main" and not f.name.startswith("wsl_")]
        self.clean(faults)

    def test_functions_take_few_parameters(self):
        faults = [f"{name}:{f.line}: {f.name} takes {f.parameters} parameters, at most 6: bundle them in a struct"
                  for name in tracked(*CODE) if name.startswith(("base/", "kernels/", "storage/", "daemon/"))
                  for f in functions(name) if f.parameters > 6]
        self.clean(faults)

    def test_functions_take_at_most_6_parameters(self):
        faults = [f"{name}:{f.line}: {f.name} takes {f.parameters} parameters: a struct of plain data says what they are"
                  for name in tracked(".c", ".cc", ".cu") if not name.startswith("tests/")
                  for f in functions(name) if f.parameters > 6]
        self.clean(faults)

    def test_every_source_says_what_it_is_for(self):
        self.clean([f"{name}: no comment at its head, after the licence" for name in tracked(".c", ".cc", ".cu")
                    if not name.startswith("tests/") and not has_head(name)])

    def test_functions_are_named_for_their_module(self):
        faults = [f"{name}:{f.line}: {f.name} is not static, so it begins with wsl_" for name in tracked(".c")
                  if not name.startswith("tests/") for f in functions(name)
                  if not f.static and f.name != "main" and not re.match(r"wsl_|nccl|cudnn", f.name)]  # stubs: as the library
        self.clean(faults)

    def test_every_source_names_its_licence(self):
        faults = [name for name in tracked(*CODE, ".proto", ".py") if
                  "SPDX-License-Identifier: Apache-2.0" not in text_of(name)[:300]]
        self.clean(faults)

    def test_nothing_is_left_to_do(self):
        mark = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
        faults = [f"{name}:{number}: {line.strip()}" for name in tracked(*CODE, ".proto", ".py", ".sh", ".md")
                  for number, line in enumerate(text_of(name).splitlines(), 1) if mark.search(line)]
        self.clean(faults)

    def test_every_folder_explains_itself(self):
        folders = sorted({os.path.dirname(n) for n in tracked(".c", ".cc")})
        faults = [f"{f}: neither it nor its parent has a README.md" for f in folders
                  if not any(os.path.exists(os.path.join(ROOT, p, "README.md")) for p in (f, os.path.dirname(f)) if p)]
        self.clean(faults)

    def test_headers_are_guarded_and_documented(self):
        faults = []
        for name in tracked(".h"):
            text = text_of(name)
            guard = "WSL_" + re.sub(r"\W", "_", name).upper()
            if f"#ifndef {guard}\n#define {guard}\n" not in text:
                faults.append(f"{name}: its include guard is not its path, {guard}")
            if not re.search(r"/\*.{60,}?\*/", text, re.S):
                faults.append(f"{name}: no comment that says what it is for")
        self.clean(faults)

    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is not installed")
    def test_format(self):
        names = tracked(*CODE)
        out = subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(out.returncode, 0, out.stderr[:3000])


if __name__ == "__main__":
    unittest.main(verbosity=2)
