#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the production code (base, proto, kernels, storage, daemon, client) and prints one row per figure.
Usage: figures.py [ROOT] [--list]     (--list names the places behind the figures that should be 0)
How each is counted: comment share is comment-only lines over those and code lines, without blank lines and the licence
line; a circle is a set of files that call each other's functions both ways; a pasted block is more than six equal
lines, indentation aside, in two places."""
import collections
import re
import statistics
import sys

from tree import CODE, functions, guard_of, has_head, includes, text_of, tracked

PRODUCTION = ("base/", "proto/", "kernels/", "storage/", "daemon/", "client/")
SOURCE = (".c", ".cc", ".cu")
PASTED_LINES = 7


def production(*endings):
    return [n for n in tracked(*endings) if n.startswith(PRODUCTION)]


def comment_share(names):
    comments = code = 0
    for name in names:
        inside = False
        for line in text_of(name).splitlines():
            line = line.strip()
            if not line or "SPDX-License-Identifier" in line:
                inside = inside or line.startswith("/*") and "*/" not in line
                continue
            if inside or line.startswith(("/*", "//")):
                comments += 1
                inside = "*/" not in line and (inside or line.startswith("/*"))
            else:
                code += 1
    return comments / (comments + code)


def state_variables(name):
    """Variables at file scope that can change."""
    for number, line in enumerate(text_of(name).splitlines(), 1):
        if re.match(r"[a-z][\w ]*[ *]\w+(\[[^]]*\])*( = .*|;)$", line) and not re.search(
                r"\b(const|constexpr|using|extern|typedef|return|enum|goto|else|case)\b", line) and "(" not in line.split("=")[0]:
            yield number, line


def stem(name):
    return name.rsplit(".", 1)[0]


def calls():
    """{file without ending: the files whose functions it uses}."""
    defined = collections.defaultdict(set)
    for name in production(*SOURCE):
        for f in functions(name):
            if not f.static:
                defined[f.name].add(stem(name))
    edges = collections.defaultdict(set)
    for name in production(*SOURCE, ".h", ".cuh"):
        text = re.sub(r'/\*.*?\*/|"(\\.|[^"\\])*"', "", text_of(name), flags=re.S)
        own = {f.name for f in functions(name)} if not name.endswith(".h") else set()
        used = set() if name.endswith((".h", ".cuh")) else \
            set(re.findall(r"\bwsl_\w+", text)) | set(re.findall(r"(?<![\w>.])(\w+)(?=\()", text))
        for word in used & defined.keys() - own:
            if len(defined[word]) == 1:
                edges[stem(name)] |= defined[word] - {stem(name)}
        if name.endswith((".h", ".cuh")):
            for _, kind, path in includes(name):
                if kind == '"':
                    edges[stem(name)].add(stem(path))
    return edges


def circles():
    """Strongly connected sets of more than one file (Tarjan)."""
    edges, index, low, stack, on, found = calls(), {}, {}, [], set(), []
    sys.setrecursionlimit(10000)

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in edges.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            component = []
            while not component or component[-1] != v:
                component.append(stack.pop())
                on.discard(component[-1])
            if len(component) > 1:
                found.append(sorted(component))

    for v in list(edges):
        if v not in index:
            visit(v)
    return sorted(found)


def significant_lines(name):
    for number, line in enumerate(text_of(name).splitlines(), 1):
        line = line.strip()
        if line and not line.startswith(("#include", "/*", "*", "//")):
            yield number, line


def pasted_blocks():
    """Pairs of places that share PASTED_LINES lines or more, in source files; each pair once, at its first line."""
    seen, pairs = {}, []
    for name in production(*SOURCE, ".h", ".cuh"):
        lines = list(significant_lines(name))
        last = None
        for i in range(len(lines) - PASTED_LINES + 1):
            window = lines[i:i + PASTED_LINES]
            key = tuple(text for _, text in window)
            if sum(len(text) > 2 for text in key) < PASTED_LINES - 1:
                continue
            here = (name, window[0][0])
            if key in seen and (seen[key][0] != name or here[1] - seen[key][1] > PASTED_LINES):
                where = (seen[key][0], name)
                if last != where:
                    pairs.append((seen[key], here))
                last = where
            else:
                seen.setdefault(key, here)
                last = None
    return pairs


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):.0f} / {values[int(len(values) * 0.9)]} / {values[-1]}"


def main():
    sources, headers = production(*SOURCE), production(".h", ".cuh")
    fns = [(n, f) for n in sources for f in functions(n)]
    lines = {n: text_of(n).count("\n") for n in tracked(*CODE)}
    kloc = sum(lines[n] for n in sources + headers) / 1000
    asserts = sum(len(re.findall(r"\b(assert|static_assert|_Static_assert)\s*\(", text_of(n))) for n in sources + headers)
    conditions = sum(len(re.findall(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b", text_of(n), re.M)) for n in sources + headers)
    rows = [
        (".c, .cc, .cu files / lines", f"{len(sources)} / {sum(lines[n] for n in sources)}", []),
        ("header files / lines", f"{len(headers)} / {sum(lines[n] for n in headers)}", []),
        ("file length, median / p90 / max", spread(lines[n] for n in sources), []),
        ("functions", str(len(fns)), []),
        ("function length, median / p90 / max", spread(f.length for _, f in fns), []),
        ("parameters, p90 / max", "{} / {}".format(sorted(f.parameters for _, f in fns)[int(len(fns) * 0.9)],
                                                  max(f.parameters for _, f in fns)), []),
        ("functions of more than 6 parameters", None,
         [f"{n}:{f.line}: {f.name} has {f.parameters}" for n, f in fns if f.parameters > 6]),
        ("comment share, sources / headers", f"{comment_share(sources):.1%} / {comment_share(headers):.1%}", []),
        ("source files without a head comment", None, [n for n in sources if not has_head(n)]),
        ("assertions per function", f"{asserts / len(fns):.2f}  ({asserts})", []),
        ("goto per 1,000 lines", f"{sum(len(re.findall(r'^ *goto ', text_of(n), re.M)) for n in sources) / kloc:.1f}", []),
        ("#if per 1,000 lines, guards aside", f"{(conditions - len(headers)) / kloc:.1f}", []),
        ("variables at file scope", None, [f"{n}:{k}: {v}" for n in sources for k, v in state_variables(n)]),
        ("include guards that are not the path", None,
         [n for n in headers if f"#ifndef {guard_of(n)}\n" not in text_of(n)]),
        ("circles between files", None, [" ".join(c) for c in circles()]),
        (f"pasted blocks of {PASTED_LINES} lines or more", None, [f"{a[0]}:{a[1]} = {b[0]}:{b[1]}" for a, b in pasted_blocks()]),
    ]
    for title, value, places in rows:
        print(f"{title:40} {len(places) if value is None else value}")
        if "--list" in sys.argv:
            print("".join(f"    {place}\n" for place in places), end="")


if __name__ == "__main__":
    main()
