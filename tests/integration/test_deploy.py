# SPDX-License-Identifier: Apache-2.0
"""The scripts of deploy/, but for what takes minutes: the quickstart's start and stop, the package list, the counting of
tests, the manifest of openclipart."""
import fcntl
import json
import os
import signal
import subprocess

from wsltest import Case, main, program

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PYTHON = "/usr/bin/python3"


def deploy(name, *words, **options):
    return subprocess.run([os.path.join(ROOT, "deploy", name), *words], text=True, capture_output=True, timeout=120,
                          stdin=subprocess.DEVNULL, check=False, **options)


def start_time(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rpartition(")")[2].split()[19]


class Programs(Case):
    def test_they_start_on_a_machine_without_nvidias_libraries(self):
        for name in ("wslctl", "wsl-coordinator", "wsl-worker", "wsl-trainer"):
            needed = subprocess.run(["readelf", "-d", program(name)], text=True, capture_output=True, check=True).stdout
            self.assertIn("(NEEDED)", needed, name)
            for library in ("libcuda", "libcudnn", "libnccl", "libnv"):
                self.assertNotIn(library, needed, name)


class Quickstart(Case):
    def quickstart(self, *words):
        return deploy("quickstart", "--home", self.folder, *words)

    def sleeper(self):
        process = subprocess.Popen(["tail", "-f", "/dev/null"], start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def note(self, *rows):
        with open(os.path.join(self.folder, "processes"), "w", encoding="ascii") as f:
            f.writelines(f"{pid} {started} {name}\n" for pid, started, name in rows)

    def test_command_line(self):
        for words, text in [(["--frob"], "unknown option --frob"), (["--home"], "--home needs a folder")]:
            done = deploy("quickstart", *words)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
        done = deploy("quickstart", "--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--keep", "--stop", "--home"):
            self.assertIn(option, done.stdout)

    def test_a_second_start_while_one_runs(self):
        with open(os.path.join(self.folder, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.quickstart()
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "a quickstart is running already", self.folder)

    def test_a_start_while_a_kept_system_runs(self):
        process = self.sleeper()
        self.note((process.pid, start_time(process.pid), "coordinator"))
        done = self.quickstart()
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "--keep", "deploy/quickstart --stop")
        self.assertIsNone(process.poll())

    def test_stop(self):
        self.assertIn("nothing is running", self.quickstart("--stop").stdout)
        mine, other = self.sleeper(), self.sleeper()
        # The number of `other` belonged to a worker that is long gone.
        self.note((mine.pid, start_time(mine.pid), "coordinator"), (other.pid, "1", "worker-1"))
        done = self.quickstart("--stop")
        self.assertEqual((done.returncode, done.stdout), (0, "stopped\n"), done.stderr)
        self.assertEqual(mine.wait(10), -signal.SIGTERM)
        self.assertIsNone(other.poll())
        self.assertIn("nothing is running", self.quickstart("--stop").stdout)


class Dependencies(Case):
    def test_every_line_names_a_package_and_its_reason(self):
        with open(os.path.join(ROOT, "deploy", "packages"), encoding="utf-8") as f:
            lines = f.read().splitlines()
        packages = [line for line in lines if not line.startswith("#")]
        for line in packages:
            self.assertRegex(line, r"^[a-z0-9.+-]+ +# .")
        self.assertEqual(len(packages), len({line.split()[0] for line in packages}))

    def test_a_group_that_is_none(self):
        done = deploy("dependencies", "frob")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "frob", "build, test, data and bench")

    def test_nothing_to_do(self):
        done = deploy("dependencies")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^packages: all \d+ installed\n$")


class Counting(Case):
    def count(self, *tests):
        log = os.path.join(self.folder, "log.json")
        with open(log, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"name": f"t{i}", "stdout": out, "stderr": err, "result": result}) + "\n"
                         for i, (result, out, err) in enumerate(tests))
        done = subprocess.run([PYTHON, f"{ROOT}/deploy/count_tests.py", log], text=True, capture_output=True, check=False)
        return done.stdout.splitlines(), done.returncode

    def test_kinds_of_programs(self):
        lines, status = self.count(("OK", "1..2\nok 1 - a\nok 2 - b\n", ""), ("OK", "", "Ran 3 tests in 1s\n\nOK (skipped=1)\n"),
                                   ("OK", "fine", ""), ("SKIP", "", ""))
        self.assertEqual((lines[-1], status), ("5 passed, 0 failed, 2 skipped", 0))

    def test_failures(self):
        for test in [("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", ""), ("ERROR", "1..2\nok 1 - a\n", ""),
                     ("FAIL", "", "Ran 2 tests in 1s\n\nFAILED (failures=1)\n"), ("TIMEOUT", "ok 1 - a\n", "")]:
            with self.subTest(test=test):
                lines, status = self.count(test)
                self.assertEqual((lines[-1], status), ("1 passed, 1 failed, 0 skipped", 1))
                self.assertIn("failed: t0", lines)

    def test_no_test_at_all_is_a_failure(self):
        self.assertEqual(self.count(), (["0 passed, 0 failed, 0 skipped"], 1))


class Manifest(Case):
    def put(self, name, data):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)

    def drawing(self, name, *words, encoding="utf-8", form="<dc:subject><rdf:Bag>{}</rdf:Bag></dc:subject>"):
        items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
        self.put(f"svg/{name}.svg", ("<svg>" + form.format(items) + "</svg>").encode(encoding))
        self.put(f"png/{name}.png", b"")

    def run_manifest(self, *words):
        return subprocess.run([PYTHON, f"{ROOT}/deploy/openclipart_manifest.py", "--root", self.folder, *words], text=True,
                              capture_output=True, check=False)

    def test_keywords_as_people_left_them(self):
        self.drawing("animals/bear", "Bear", "brown  bear", "Bear", "a&amp;b")
        self.drawing("plain", form="<subject>one, two,\tthree</subject>")
        self.drawing("utf16", "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}", encoding="utf-16")
        self.drawing("latin", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", encoding="latin-1")
        self.drawing("none")
        self.drawing("broken", "x", form="<dc:subject><rdf:Bag>{}")
        self.drawing("unrendered", "x")
        os.unlink(os.path.join(self.folder, "png/unrendered.png"))
        os.symlink("plain.svg", os.path.join(self.folder, "svg/second-name.svg"))
        done = self.run_manifest()
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = dict(line.split("\t") for line in done.stdout.splitlines())
        self.assertEqual({os.path.relpath(k, self.folder + "/png"): v for k, v in rows.items()},
                         {"animals/bear.png": "Bear,brown bear,a&b", "plain.png": "one,two,three", "utf16.png": "été",
                          "latin.png": "café"})
        self.assertRegex(done.stderr, r"4 pictures with 8 tags of 7 drawings \(2 without keywords, 1 without a PNG\)")

    def test_wrong_folders(self):
        done = self.run_manifest()
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, self.folder, "install openclipart-svg")
        os.makedirs(f"{self.folder}/svg")
        os.makedirs(f"{self.folder}/png")
        target = f"{self.folder}/manifest.tsv"
        done = self.run_manifest(target)
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "no drawing")


main()
