# SPDX-License-Identifier: Apache-2.0
"""The source tree as data: which files there are, what they include, which functions they define. The tree's own
format (clang-format, checked by lint.py) is what makes this simple: a line "{" begins a function, a line "}" ends it."""
import collections
import functools
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else
                       os.path.join(os.path.dirname(__file__), "..", ".."))
CODE = (".c", ".h", ".cc", ".cu", ".cuh")


def git_files():
    """What git tracks or would add; None where there is no git or no repository, as in an unpacked tarball."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True,
                             text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return out.stdout.splitlines() or None


def walked_files():
    """Every file outside of hidden directories and build*/ of the root, as .gitignore has it."""
    for directory, below, files in os.walk(ROOT):
        below[:] = [d for d in below if not d.startswith(".") and not (directory == ROOT and d.startswith("build"))]
        yield from (os.path.relpath(os.path.join(directory, f), ROOT) for f in files)


def tracked(*endings):
    return [n for n in git_files() or walked_files() if n.endswith(endings) and os.path.exists(os.path.join(ROOT, n))]


@functools.lru_cache(None)
def text_of(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def includes(name):
    for number, line in enumerate(text_of(name).splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if m:
            yield number, m.group(1), m.group(2)


Function = collections.namedtuple("Function", "name line length parameters static head body")


def parameters_of(head):
    """How many parameters a function's head (name and list) declares."""
    inside, depth, commas = head[head.index("(") + 1:], 0, 0
    if re.match(r"\s*(void)?\s*\)", inside):
        return 0
    for character in inside:
        depth += character in "([{"
        depth -= character in ")]}"
        if depth < 0:
            break
        commas += character == "," and depth == 0
    return commas + 1


@functools.lru_cache(None)
def functions(name):
    """The functions that a file defines, in order."""
    found, start = [], None
    lines = text_of(name).splitlines()
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            first = start - 1
            while first > 0 and lines[first - 1] and not lines[first - 1].endswith((";", "}", "*/")) \
                    and not lines[first - 1].startswith(("#", "//", " *")):
                first -= 1
            head = " ".join(lines[first:start])
            m = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\(\(.*?\)\)", "", head))
            if m:
                found.append(Function(m.group(1), start, i - start - 1, parameters_of(head[head.index(m.group(1)):]),
                                      bool(re.search(r"\bstatic\b", head)), head, lines[start + 1:i]))
            start = None
    return found


def has_head(name):
    """Whether a source file begins with a comment that says what it is for, after the licence."""
    start = re.match(r"/\* SPDX-License-Identifier: Apache-2\.0(.*?)\*/\s*(/\*)?", text_of(name), re.S)
    return bool(start and (start.group(1).strip(" *\n") or start.group(2)))


def guard_of(name):
    return "WSL_" + re.sub(r"\W", "_", name).upper()
