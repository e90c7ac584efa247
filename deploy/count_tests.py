#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the cases in meson's test logs and prints "N passed, N failed, N skipped" as the last line.

A program that speaks TAP counts by its cases, a Python unittest program by its "Ran N tests", anything else as one.
Exit 1 when a case failed, when a program ended badly without a failed case, or when nothing ran.
"""
import json
import re
import sys


def cases_of(test):
    """(passed, failed, skipped) of one program."""
    out, good = test.get("stdout", ""), test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP":
        return 0, 0, 1
    ok = len(re.findall(r"^ok \d", out, re.M))
    skipped = len(re.findall(r"^(?:not )?ok \d.*# SKIP", out, re.M))
    not_ok = len(re.findall(r"^not ok \d(?!.*# SKIP)", out, re.M))
    if ok + not_ok + skipped == 0:
        text = out + test.get("stderr", "")
        ran = re.search(r"^Ran (\d+) tests? in", text, re.M)
        if not ran:
            return int(good), int(not good), 0
        last = text[ran.end():]
        counts = {word: int(n) for word, n in re.findall(r"(failures|errors|skipped)=(\d+)", last)}
        skipped = counts.get("skipped", 0)
        not_ok = counts.get("failures", 0) + counts.get("errors", 0)
        ok = int(ran.group(1)) - skipped - not_ok
    else:
        ok -= len(re.findall(r"^ok \d.*# SKIP", out, re.M))
    if not good and not_ok == 0:
        not_ok = 1
    return max(ok, 0), not_ok, skipped


def main():
    passed = failed = skipped = 0
    bad, left_out = [], []
    for path in sys.argv[1:]:
        try:
            lines = open(path, encoding="utf-8").read().splitlines()
        except OSError as error:
            print(f"no test log: {error}")
            failed += 1
            continue
        for line in lines:
            test = json.loads(line)
            p, f, s = cases_of(test)
            passed, failed, skipped = passed + p, failed + f, skipped + s
            if f:
                bad.append(test["name"])
            if s:
                left_out.append(test["name"])
    if left_out:
        print("skipped cases in: " + ", ".join(sorted(set(left_out))))
    if bad:
        print("failed: " + ", ".join(sorted(set(bad))))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or passed == 0 else 0


sys.exit(main())
