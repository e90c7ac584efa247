#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""wslctl as a user meets it: what it prints where, and its exit codes. Alone, against a fake coordinator
(so that every outcome and every loss of the connection can be had), and against the real one."""
import json
import os
import re
import signal
import struct
import subprocess
import zlib

from wsltest import main, program
from wsltest.rpc import job_pb2
from wsltest.wslctl import CANCELLED, FakeCoordinator, INTERRUPTED, JOB, TIMEOUT, UNREACHABLE, USAGE, Wslctl

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "recipes")


def png(path, width, height, color):
    """An RGB picture of one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(color) * width) * height
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Alone(Wslctl):
    """Nothing listens on port 1 of loopback."""

    def setUp(self):
        self.cluster.port = 1

    def test_usage_errors(self):
        for words, text in [
                ([], "no command"), (["sumbit"], "did you mean 'submit'?"), (["frobnicate"], "unknown command"),
                (["--frob", "list"], "unknown option --frob"), (["list", "--frob"], "--frob"),
                (["list", "-o", "xml"], "must be one of table, wide, json, ndjson, name"), (["wait", "-o", "json", "x"], "-o"),
                (["get"], "needs JOB"), (["watch", "a", "b"], "unexpected argument 'b': watch takes only JOB"),
                (["list", "--state", "walking"], "walking"), (["list", "--limit", "0"], "--limit"),
                (["list", "running"], "unexpected argument 'running': list takes none"),
                (["list", "limit", "3"], "did you mean '--limit'?"), (["list", "--limti", "3"], "did you mean '--limit'?"),
                (["nodes", "a", "b"], "unexpected argument 'b'"), (["version", "x"], "unexpected argument 'x'"),
                (["--servr", "x", "list"], "did you mean '--server'?"), (["list", "--quiet=yes"], "takes no value"),
                (["list", "--state", "runing"], "did you mean 'running'?"),
                (["submit", "batch=128"], "did you mean '--set batch=128'?"), (["help", "a", "b", "c"], "unexpected argument 'c'"),
                (["submit", "-", "-f", "-"], "standard input (-) can be read once only"),
                (["submit"], "submit needs a job FILE"), (["logs", "x", "--rank", "-1"], "--rank"),
                (["data"], "data needs a command: import, show"), (["data", "shwo"], "did you mean 'show'?"),
                (["data", "import"], "--manifest FILE, --directory DIR, --tar FILE"),
                (["data", "import", "--directory", "x"], "--into"),
                (["model"], "describe, check or export"), (["model", "chekc"], "did you mean 'check'?"),
                (["explain", "momentun"], "did you mean 'momentum'?"), (["wait", "--timeout", "soon", "x"], "soon")]:
            with self.subTest(words=words):
                self.assert_one_line(self.run_wrong(USAGE, *words), text, "wslctl")

    def test_help_of_every_command(self):
        overview = self.run_ok("--help").stdout
        verbs = re.findall(r"^  ([a-z]+)  ", overview, re.M)
        self.assertGreaterEqual(set(verbs), {"submit", "list", "get", "describe", "logs", "watch", "cancel", "wait",
                                             "nodes", "data", "tags", "model", "explain", "version"})
        below = {"data": ("import", "show", "stats", "sample", "export", "merge", "split", "verify"),
                 "tags": ("count", "vocabulary", "segment", "map", "noise", "curve", "why", "audit"),
                 "model": ("describe", "check", "export")}
        for words in [[v] for v in verbs if v not in below] + [[v, w] for v in below for w in below[v]]:
            text = self.run_ok(*words, "--help").stdout
            self.assertIn("Example:\n  wslctl " + " ".join(words), text)
            for line in text.split("Example:\n")[0].splitlines() + text.split("\nOptions:\n")[1].splitlines():
                self.assertLessEqual(len(line), 80, line)
            self.assertEqual(self.run_ok("help", *words).stdout if len(words) == 1 else text, text)
        self.assertIn("Exit codes:", overview)

    def test_an_old_option_name_is_known_but_not_shown(self):
        """--folder became --directory."""
        for shown in ("--help", "--help=table"):
            text = self.run_ok("data", "import", shown).stdout
            self.assertIn("directory", text)
            self.assertNotIn("folder\t", text.replace("--folder", "folder\t"))
        folder = self.make_pictures()
        for option in ("--directory", "--folder"):
            self.run_ok("data", "import", option, folder, "--into", os.path.join(self.folder, option))

    def test_version_and_explain(self):
        self.assertRegex(self.run_ok("--version").stdout, r"^wslctl \d+\.\d+\.\d+\n$")
        self.assertRegex(self.run_json("version")["wslctl"], r"^\d+\.\d+\.\d+$")
        fields = {f["field"]: f for f in self.run_json("explain")["fields"]}
        self.assertTrue(fields["batch"]["required"])
        self.assertTrue(fields["init"]["transfer_only"])
        self.assertEqual(fields["optimizer.momentum"]["default"], "0.9")
        self.assertIn("sampling.threshold", self.run_ok("explain", "sampling").stdout)
        self.assertNotIn("batch", self.run_ok("explain", "sampling", "-o", "name").stdout)

    def test_a_closed_pipe_is_no_drama(self):
        """`wslctl explain | true`"""
        reader, writer = os.pipe()
        os.close(reader)
        quiet = subprocess.run([program("wslctl"), "explain"], stdout=writer, stderr=subprocess.PIPE,
                               restore_signals=True, check=False)
        os.close(writer)
        self.assertEqual((quiet.returncode, quiet.stderr), (-signal.SIGPIPE, b""))

    def test_output_that_cannot_be_written(self):
        """A closed standard output and a full disk: exit code 1 and one line, whatever prints."""
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        self.run_ok("data", "import", "--directory", folder, "--heldout", "0", "--into", made)
        sheet = os.path.join(self.folder, "sheet.html")
        for words in (["--help"], ["--version"], ["version", "-o", "json"], ["explain"], ["explain", "-o", "json"],
                      ["list", "--help"], ["data", "--help"], ["data", "show", made], ["data", "stats", made],
                      ["data", "verify", made, "-o", "json"], ["data", "sample", made, "--into", sheet],
                      ["tags", "count", made], ["tags", "curve", made, "-o", "json"],
                      ["model", "describe", "resnext50_32x4d"]):
            for where, text in ((">&-", "standard output is closed"), (">/dev/full", "No space left on device")):
                with self.subTest(words=words, where=where):
                    done = subprocess.run(["sh", "-c", f'exec "$@" {where}', "sh", program("wslctl"), *words],
                                          stderr=subprocess.PIPE, text=True, check=False)
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assert_one_line(done.stderr, text)

    def test_closed_descriptors_stay_closed(self):
        """What a command writes to a file does not mix with what it prints, when it is started without descriptors."""
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", program("wslctl"), "data", "import",
                               "--folder", folder, "--heldout", "0", "--into", made], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(self.run_json("data", "verify", made)["whole"])
        path = self.write("job.yaml", JOB.format(name="x"))
        done = subprocess.run(["sh", "-c", f'exec "$@" <&-', "sh", program("wslctl"), "submit", "--dry-run", "-"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, USAGE)
        self.assert_one_line(done.stderr, "standard input is closed")
        self.assertIn("name: x", self.run_ok("submit", "--dry-run", path).stdout)

    def test_unreachable(self):
        for words in (["list"], ["get", "x"], ["describe", "x"], ["logs", "x"], ["watch", "--retry", "0", "x"], ["wait", "--retry", "0", "x"],
                      ["cancel", "x"], ["nodes"], ["list", "-o", "json"],
                      ["submit", "-f", self.write("job.yaml", JOB.format(name="x"))]):
            with self.subTest(words=words):
                line = self.run_wrong(UNREACHABLE, *words, "-q")
                self.assert_one_line(line, "127.0.0.1:1", "wsl-coordinator", "--server", "WSL_SERVER")
        self.assertIn("127.0.0.1:2", self.run_wrong(UNREACHABLE, "--server", "127.0.0.1:2", "list"))
        self.assertIn("127.0.0.1:3", self.run_wrong(UNREACHABLE, "list", "--server=127.0.0.1:3"))

    def test_bad_job_files(self):
        good = JOB.format(name="x")
        for text, line in [
                (good + "bach: 8\n", "job.yaml:7: bach: unknown key; did you mean batch?"),
                (good.replace("batch: 8", "batch: -8"), "job.yaml:5: batch: must be a whole number from 1 to"),
                (good.replace("batch: 8", "batch: many"), "job.yaml:5: batch: must be a whole number"),
                (good + "optimizer: {learning_rate: .nan}\n", "job.yaml:7: optimizer.learning_rate: must be a number"),
                (good + "a: [\n", "job.yaml:8: not YAML"), ("", "job.yaml:1: the job file is empty"),
                (good + "init: job:y\n", "job.yaml:7: init: is only for transfer jobs"),
                (good + "seed: *x\n", "job.yaml:7: anchors and aliases")]:
            with self.subTest(line=line):
                path = self.write("job.yaml", text)
                stderr = self.run_wrong(USAGE, "submit", "-f", path)
                self.assertIn(os.path.join(self.folder, line), stderr)
        both = self.run_wrong(USAGE, "submit", "-f", self.write("job.yaml", "name: x\nkind: y\nworld: 0\n"))
        self.assertIn("job.yaml:2: kind: ", both)
        self.assertIn("job.yaml:3: world: ", both)
        self.assertIn("job.yaml:1: batch: is missing", both)
        self.assert_one_line(self.run_wrong(USAGE, "submit", "-f", "/nowhere/job.yaml"), "/nowhere/job.yaml",
                             "No such file")
        self.assert_one_line(self.run_wrong(USAGE, "submit", "-f", self.write("job.yaml", good), "--set", "batch=0"),
                             "--set batch=0: batch: must be a whole number")

    def test_dry_run(self):
        path = self.write("job.yaml", JOB.format(name="dry") + "init: ../model.safetensors\n")
        os.mkdir(os.path.join(self.folder, "here"))
        done = self.run_ok("submit", "--dry-run", "-f", path, "--set", "kind=transfer", "--set", "seed=9",
                           cwd=os.path.join(self.folder, "here"))
        self.assertIn("checked here only", done.stderr)
        lines = [line.strip() for line in done.stdout.splitlines()]
        real = os.path.realpath(self.folder)
        for line in ("name: dry", "kind: transfer", "seed: 9", f"data: {real}/here/pictures",
                     f"init: {real}/model.safetensors", "momentum: 0.9", "mode: finetune"):
            self.assertIn(line, lines)
        # What it prints is a job file.
        again = self.run_ok("submit", "--dry-run", "-f", "-", input=done.stdout)
        self.assertEqual(again.stdout, done.stdout)
        job = json.loads(self.run_ok("submit", "--dry-run", "-o", "json", "-f", "-", input=done.stdout).stdout)["jobs"][0]
        self.assertEqual((job["name"], job["spec"]["seed"], job["spec"]["model"]["depths"]), ("dry", 9, [1, 1, 1, 1]))

    def test_recipes(self):
        for name in sorted(os.listdir(RECIPES)):
            with self.subTest(recipe=name):
                self.run_ok("submit", "--dry-run", "-f", os.path.join(RECIPES, name))
        spec = {name: json.loads(self.run_ok("submit", "--dry-run", "-o", "json", "-f",
                                             os.path.join(RECIPES, f"stamps-{name}.yaml")).stdout)["jobs"][0]["spec"]
                for name in ("transfer", "scratch")}
        self.assertIsNotNone(spec["transfer"].pop("init"))
        self.assertIsNone(spec["scratch"].pop("init"))
        for one in spec.values():
            del one["name"]
        self.assertEqual(spec["transfer"], spec["scratch"])  # else the scores say nothing

    def make_pictures(self):
        folder = os.path.join(self.folder, "pictures")
        for label, base in (("red", 0), ("blue", 100)):
            os.makedirs(os.path.join(folder, label))
            for i in range(12):
                png(os.path.join(folder, label, f"{i}.png"), 20 + i, 30, (base + i, 2 * i, 200 - base))
        self.write("pictures/red/broken.png", "not a picture")
        return folder

    def test_data(self):
        source, made = self.make_pictures(), os.path.join(self.folder, "made")
        words = ("data", "import", "--folder", source, "--heldout", "0.25", "--name", "colours", "--threads", "2")
        done = self.run_ok(*words, "--into", made)
        self.assertIn("in quarantine.tsv", done.stdout)
        self.assertIn("decoding  100 %", done.stderr)
        self.assert_one_line(self.run_wrong(1, *words, "-q", "--into", made), "made", "exist")
        result = self.run_json(*words, "--into", made + "2")["import"]
        self.assertEqual((result["seen"], result["quarantined"], result["train"] + result["heldout"], result["tags"]),
                         (25, 1, 24, 2))
        shown = self.run_json("data", "show", made)["dataset"]
        self.assertEqual((shown["name"], shown["kind"], shown["tag_count"]), ("colours", "labels", 2))
        self.assertEqual(shown["fingerprint"], result["fingerprint"])
        self.assertEqual(shown["train"]["images"], result["train"])
        self.assertEqual({t["name"] for t in shown["tags"]}, {"red", "blue"})
        text = self.run_ok("data", "show", made, "--tags", "1").stdout
        self.assertIn("Name:        colours (labels)", text)
        self.assertEqual(len(re.findall("#+", text)), 1)
        second = made + "2"
        both = self.run_json("data", "show", made, second)
        self.assertEqual([d["folder"] for d in both["datasets"]], [made, second])
        self.assertNotIn("dataset", both)
        text = self.run_ok("data", "show", made, second, "--tags", "0").stdout
        self.assertEqual(re.findall(r"^Directory: +(.*)$", text, re.M), [made, second])
        self.assertEqual(text.count("\n\n"), 1)
        self.assert_one_line(self.run_wrong(1, "data", "show", made, "/nowhere"), "/nowhere")
        self.assertTrue(self.run_json("data", "verify", made)["whole"])
        shard = next(os.path.join(made, f) for f in sorted(os.listdir(made)) if f.endswith(".lmdb"))
        with open(shard, "r+b") as f:  # two pictures with one wrong byte each
            bytes_ = bytearray(f.read())
            for at in [m.end() for m in re.finditer(b"\xff\xda", bytes_)][:2]:
                bytes_[at + 14] ^= 0x10
            f.seek(0)
            f.write(bytes_)
        damaged = self.cluster.wslctl("data", "verify", made)
        self.assertEqual(damaged.returncode, 1)
        self.assertEqual(len(re.findall(r"^shard-00000.lmdb record \d+, \w+/\d+.png: its image has CRC", damaged.stdout,
                                        re.M)), 2, damaged.stdout)
        self.assertIn("2 of its 24 records and shards are bad", damaged.stderr)
        found = json.loads(self.cluster.wslctl("data", "verify", made, "-o", "json").stdout)
        self.assertEqual((found["whole"], found["bad_count"], len(found["bad"])), (False, 2, 2))
        os.truncate(shard, os.path.getsize(shard) // 2)
        self.assert_one_line(self.run_wrong(1, "data", "show", made), os.path.basename(shard))
        self.assertIn("it was cut or changed", self.cluster.wslctl("data", "verify", made).stdout)
        self.assert_one_line(self.run_wrong(1, "data", "show", "/nowhere"), "/nowhere")

    def test_data_import_of_layouts(self):
        """A folder is known by its lists; a tar file comes through standard input; JSON lines by their name."""
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        cub = os.path.join(self.folder, "cub")
        os.makedirs(cub)
        os.symlink(folder, os.path.join(cub, "images"))
        self.write("cub/classes.txt", "1 red\n2 blue\n")
        names = [f"{label}/{i}.png" for label in ("red", "blue") for i in range(6)]
        for name, lines in (("images", names), ("image_class_labels", [1 + (n > 5) for n in range(12)]),
                            ("train_test_split", [int(n % 3 > 0) for n in range(12)])):
            self.write(f"cub/{name}.txt", "".join(f"{n + 1} {line}\n" for n, line in enumerate(lines)))
        done = self.run_ok("data", "import", "--folder", cub, "--into", made)
        self.assertIn("read as cub200, with its own split", done.stderr)
        shown = self.run_json("data", "show", made)["dataset"]
        self.assertEqual((shown["train"]["images"], shown["heldout"]["images"], shown["tag_count"]), (8, 4, 2))
        for label in ("red", "blue"):
            for i in range(12):
                self.write(f"pictures/{label}/{i}.cls", label)
        packed = subprocess.run(["tar", "-C", folder, "--sort=name", "-cz", "."], stdout=subprocess.PIPE, check=True).stdout
        streamed = subprocess.run([program("wslctl"), "data", "import", "--tar", "-", "--into", made + "2", "-o", "json"],
                                  input=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(streamed.returncode, 0, streamed.stderr)
        result = json.loads(streamed.stdout)["import"]
        self.assertEqual((result["train"] + result["heldout"], result["quarantined_by_reason"]), (24, {"no tags": 1}))
        lines = "".join(json.dumps({"path": n, "tags": [n.split("/")[0], "all"]}) + "\n" for n in names)
        self.write("pictures/list.jsonl", lines)
        result = self.run_json("data", "import", "--manifest", os.path.join(folder, "list.jsonl"), "--into",
                               made + "3")["import"]
        self.assertEqual((result["train"] + result["heldout"], result["tags"]), (12, 3))

    def test_data_import_in_place(self):
        """Pictures that stay in a tar file; what needs to be converted, and a file that was cut, is said."""
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        tar = os.path.realpath(self.folder) + "/train.tar"
        self.run_ok("data", "import", "--folder", folder, "--heldout", "0", "--into", made + "-jpegs")
        self.run_ok("data", "export", made + "-jpegs", "--to", tar)
        done = self.run_ok("data", "import", "--tar", tar, "--in-place", "--into", made)
        self.assertIn(f"the images stay in {tar}", done.stdout)
        shown = self.run_json("data", "show", made)["dataset"]
        self.assertEqual((shown["in_place"], shown["train"]["images"] + shown["heldout"]["images"]), (tar, 24))
        self.assertIsNone(self.run_json("data", "show", made + "-jpegs")["dataset"]["in_place"])
        self.assertIn(f"Images in:   {tar}\n", self.run_ok("data", "show", made).stdout)
        self.assertTrue(self.run_json("data", "verify", made)["whole"])
        exported = self.run_json("data", "export", made, "--split", "all", "--to", made + "-files")["export"]
        self.assertEqual(exported["pictures"], 24)
        stderr = self.run_wrong(USAGE, "data", "import", "--folder", folder, "--in-place", "--into", made + "2")
        self.assertIn("--in-place is only for --lmdb and --tar", stderr)
        self.write("pictures/red/0.cls", "red")
        subprocess.run(["tar", "-C", folder, "-cf", tar + "2", "red/0.png", "red/0.cls"], check=True)
        self.assert_one_line(self.run_wrong(1, "data", "import", "-q", "--tar", tar + "2", "--in-place", "--into", made + "2"),
                             "not usable in place")
        os.truncate(tar, os.path.getsize(tar) // 2)
        for verb in ("show", "verify"):
            self.assert_one_line(self.run_wrong(1, "data", verb, "-q", made), tar, "import anew")

    def test_data_import_interrupted(self):
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        for i in range(12):  # half a second of work
            png(os.path.join(folder, "red", f"large{i}.png"), 2400, 1800, (i, i, i))
        words = ("data", "import", "--folder", folder, "--into", made, "--max-side", "64", "--threads", "1")
        process = self.start_wslctl(*words)
        self.wait_for("the import's first files", lambda: os.path.exists(made + ".partial"))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual((process.returncode, stdout), (INTERRUPTED, ""), stderr)
        self.assertIn("interrupted", stderr)
        self.assertFalse(os.path.exists(made))
        if os.path.exists(made + ".partial"):  # unless it was before the first picture
            self.assert_one_line(self.run_wrong(1, *words, "--seed", "3"), "had 'seed 0', not 'seed 3'")
        done = self.run_json(*words)["import"]
        self.assertEqual((done["seen"], done["quarantined"]), (37, 1))
        self.assertEqual([n for n in os.listdir(self.folder) if n.startswith("made")], ["made"])
        self.assertTrue(self.run_json("data", "verify", made)["whole"])

    def test_data_import_on_a_terminal(self):
        folder, made = self.make_pictures(), os.path.join(self.folder, "made")
        process, terminal = self.start_on_terminal(160, "data", "import", "--folder", folder, "--into", made, "--max-side", "64",
                                                   "--threads", "1", stdout=subprocess.DEVNULL)
        out = self.read_terminal(process, terminal)
        self.assertRegex(out, rb"\r\x1b\[Kdecoding  \[#[# ]+\] +\d+ %  \d+ of 25\b")
        self.assertRegex(out, rb"\r\x1b\[Kwriting   \[#+\] 100 %  24 of 24[^\n]*\r\n$")


class AgainstFake(Wslctl):
    def setUp(self):
        self.fake = FakeCoordinator()
        self.cluster.port = self.fake.port
        self.addCleanup(lambda: self.fake.close())

    def ready(self, watchers=1):
        self.wait_for("wslctl to watch", lambda: self.fake.watchers >= watchers)

    def test_outcome_is_the_exit_code(self):
        for state, code, word in ((job_pb2.SUCCEEDED, 0, "succeeded"), (job_pb2.FAILED, 1, "failed"),
                                  (job_pb2.CANCELLED, CANCELLED, "cancelled")):
            with self.subTest(state=word):
                self.fake.push(state, step=640, total_steps=640, loss=2.5, hit1=0.44)
                done = self.cluster.wslctl("watch", "tags")
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(f"job 7 (tags) {word} after 3m12s:", done.stdout.splitlines()[-1])
                self.assertIn("hit@1 0.440", done.stdout.splitlines()[-1])
                self.assertEqual(self.cluster.wslctl("wait", "7").returncode, code)
                self.assertEqual(self.cluster.wslctl("wait", "7", "tags").stdout, "")

    def test_watch_prints_plain_lines(self):
        process = self.start_wslctl("watch", "tags", "--interval", "0")
        self.ready()
        self.fake.push(event="ranks \033[2Jstarted")
        self.fake.push(step=120, total_steps=640, epoch=1.5, loss=3.25, hit1=0.25, images_per_second=162,
                         eta_seconds=192)
        self.fake.push(job_pb2.RECOVERING, event="rank 1 was lost")
        self.fake.push(job_pb2.SUCCEEDED)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual((process.returncode, stderr), (0, ""))
        lines = stdout.splitlines()
        self.assertIn("2018-05-02 10:11:12  state: ranks ?[2Jstarted", lines)
        self.assertIn("running  step 120/640  epoch 1.50  loss 3.2500  hit@1 0.250  162 images/s  ETA 3m12s", lines)
        self.assertTrue(any(line.startswith("recovering  step 120/640") for line in lines))
        self.assertNotIn("\033", stdout)

    def test_watch_draws_one_line_on_a_terminal(self):
        process, terminal = self.start_on_terminal(120, "watch", "7", TERM="xterm")
        self.ready()
        for step in (100, 320):
            self.fake.push(step=step, total_steps=640, loss=1)
        self.fake.push(job_pb2.SUCCEEDED)
        out = self.read_terminal(process, terminal)
        self.assertIn(b"\r\x1b[Krunning  [##########          ]  step 320/640", out)
        self.assertRegex(out, rb"\r\x1b\[Kjob 7 \(tags\) succeeded[^\n]*\r\n$")
        self.assertEqual(out.count(b"\n"), 1)

    def test_watch_as_json(self):
        process = self.start_wslctl("watch", "7", "-o", "json")
        self.ready()
        self.fake.push(step=1, event="a step")
        self.fake.push(job_pb2.SUCCEEDED)
        stdout, _ = process.communicate(timeout=60)
        documents = [json.loads(line) for line in stdout.splitlines()]
        self.assertEqual([d["job"]["state"] for d in documents], ["running", "running", "succeeded"])
        self.assertEqual(documents[1]["new_events"][0]["message"], "a step")

    def test_watch_survives_a_restart_of_the_coordinator(self):
        process = self.start_wslctl("watch", "tags")
        process.stdout.readline()  # it has the first answer: a job it never saw it would not wait for
        self.fake.push(step=10)
        port = self.fake.port
        self.fake.close()
        self.assertIn("lost the coordinator", process.stderr.readline())
        self.fake.listen(port)
        self.assertIn("the coordinator is back", process.stderr.readline())
        self.fake.push(job_pb2.SUCCEEDED)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual((process.returncode, stderr), (0, ""))
        self.assertIn("succeeded", stdout)

    def test_watch_gives_up(self):
        process = self.start_wslctl("watch", "tags", "--retry", "1")
        process.stdout.readline()
        self.fake.close()
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, UNREACHABLE, stderr)
        self.assertEqual(len(stderr.splitlines()), 2, stderr)

    def test_interrupt_leaves_the_job(self):
        for words in (["watch", "tags"], ["wait", "tags"], ["logs", "-f", "tags"]):
            with self.subTest(words=words):
                before = self.fake.watchers
                process = self.start_wslctl(*words)
                if words[0] == "logs":
                    process.stdout.readline()
                else:
                    self.ready(before + 1)
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=60)
                self.assertEqual(process.returncode, INTERRUPTED, stderr)
                self.assert_one_line(stderr, "interrupted", "continues")

    def test_wait_times_out(self):
        self.assert_one_line(self.run_wrong(TIMEOUT, "wait", "--timeout", "0.3", "tags"), "tags", "time")

    def test_unknown_job(self):
        self.assert_one_line(self.run_wrong(1, "watch", "other"), "no job 'other'")

    def test_logs(self):
        self.assertEqual(self.run_ok("logs", "tags", errors="replace").stdout.splitlines(),
                         ["0| first of 0", "0| second of 0", "1| first of 1", "1| second of 1",
                          "0.2| after a restart \ufffd"])
        lines = [json.loads(line) for line in self.run_ok("logs", "tags", "--rank", "1", "-o", "json").stdout.splitlines()]
        self.assertEqual(lines[0], {"version": 1, "generation": 1, "rank": 1, "text": "first of 1\nsecond of 1"})
        self.assertEqual(lines[1]["text"], "after a restart ?")

    def test_logs_of_many_ranks(self):
        del self.fake.job.ranks[:]
        for rank in range(20):
            self.fake.job.ranks.add(rank=rank, node="a", outcome="machine error" if rank == 7 else "peer lost")
        done = self.run_ok("logs", "tags", errors="replace")
        self.assertEqual(done.stdout.splitlines(), ["0| first of 0", "0| second of 0", "0.2| after a restart \ufffd"])
        self.assertIn("rank 0 of 20; 'wslctl logs 7 --rank N' prints another one's log, --all-ranks all of them", done.stderr)
        self.assertIn("rank 7 failed: 'wslctl logs 7 --rank 7'", done.stderr)
        done = self.run_ok("logs", "tags", "--all-ranks", errors="replace")
        self.assertEqual((len(done.stdout.splitlines()), done.stderr), (5, ""))

    def test_describe_and_nodes(self):
        text = self.run_ok("describe", "tags").stdout
        for words in ("Name:          tags", "State:         running", "Submitted:     2018-05-02 10:11:12 UTC",
                      "submitted  by a?test"):
            self.assertIn(words, text)
        self.assertEqual(self.run_json("describe", "tags")["events"][0]["kind"], "submitted")
        text = self.run_ok("nodes").stdout
        self.assertRegex(text, r"(?m)^a +ready +1/2 +16 +64.0 GiB ")
        nodes = self.run_ok("nodes", "-o", "json").stdout
        self.assertEqual(sum('"ready"' in line for line in nodes.splitlines()), 1)
        self.assertEqual([n["state"] for n in json.loads(nodes)["nodes"]], ["ready", "lost"])
        self.assertEqual(self.run_ok("nodes", "-o", "name").stdout, "a\nb\n")
        for words, text in ((("remove",), "nodes remove needs NODE..."),
                            (("a", "b"), "unexpected argument 'b': nodes takes only NODE")):
            self.assertIn(f"wslctl: {text}; see 'wslctl nodes --help'\n", self.run_wrong(2, "nodes", *words))

    def test_list(self):
        self.assertEqual(self.run_ok("list", "-q").stdout, "7\n")
        self.assertEqual(self.run_ok("list", "-o", "name").stdout, "tags\n")
        self.assertRegex(self.run_ok("ls", "-o", "wide").stdout, r"(?m)^ *7 +tags +pretrain +running ")
        self.assertEqual(self.run_json("list", "--state", "queued,failed")["jobs"], [])
        done = self.run_ok("list", "--state", "failed")
        self.assertEqual((done.stdout, done.stderr), ("", "wslctl: no jobs are failed\n"))


class AgainstCoordinator(Wslctl):
    def setUp(self):
        self.cluster.start_coordinator()

    def submit(self, name, *words):
        path = self.write(f"{name}.yaml", JOB.format(name=name))
        done = self.run_ok("submit", "-q", "-f", path, *words, cwd=self.folder)
        self.assertRegex(done.stdout, r"^\d+\n$")
        return done.stdout.strip()

    def test_submit_list_get_cancel(self):
        self.assertEqual(self.run_json("list")["jobs"], [])
        first, second = self.submit("first"), self.submit("second", "--set", "world=2")
        jobs = self.run_json("list")["jobs"]
        self.assertEqual([(j["name"], j["state"]) for j in jobs], [("second", "queued"), ("first", "queued")])
        job = self.run_json("get", "second")["jobs"][0]
        self.assertEqual((str(job["id"]), job["spec"]["world"]), (second, 2))
        self.assertEqual(job["spec"]["data"], os.path.join(os.path.realpath(self.folder), "pictures"))
        self.assertIn("slot", job["reason"])
        self.assertIn("slot", self.run_ok("describe", second).stdout)
        self.assertGreaterEqual(len(self.run_json("describe", second)["events"]), 1)
        # The job file comes back as it was understood.
        again = self.run_ok("submit", "--dry-run", "-f", "-", "--set", "name=third",
                            input=self.run_ok("get", first, "-o", "yaml").stdout)
        self.assertIn("depths: [1, 1, 1, 1]", again.stdout)
        self.assertEqual(len(self.run_json("list")["jobs"]), 2)

        process = self.start_wslctl("watch", "first")
        self.assertIn("first", self.run_ok("cancel", "first", "--reason", "a test").stderr)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, CANCELLED, stderr)
        self.assertIn("cancelled", stdout.splitlines()[-1])
        self.assertEqual(self.cluster.wslctl("wait", first).returncode, CANCELLED)
        self.assertIn("a test", self.run_ok("describe", first).stdout)
        self.run_ok("cancel", first)  # again is no error
        self.assertEqual(self.cluster.wslctl("wait", "--timeout", "0.3", second).returncode, TIMEOUT)

    def test_refusals(self):
        self.submit("taken")
        path = self.write("taken.yaml", JOB.format(name="taken"))
        self.assert_one_line(self.run_wrong(1, "submit", "-q", "-f", path), "taken")
        self.assert_one_line(self.run_wrong(1, "submit", "-q", "--dry-run", "-f", path), "taken")
        for verb in ("get", "describe", "logs", "watch", "wait", "cancel"):
            with self.subTest(verb=verb):
                self.assert_one_line(self.run_wrong(1, verb, "nobody"), "nobody")

    def test_several_files(self):
        """In one request, in their order; what is refused is said with its file, and stops no other."""
        self.submit("taken")
        files = {name: self.write(f"{name}.yaml", JOB.format(name=name)) for name in ("one", "taken", "two", "three")}
        done = self.cluster.wslctl("submit", *files.values())
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "job 2 submitted: one\njob 3 submitted: two\njob 4 submitted: three\n")
        self.assertRegex(done.stderr, r"(?s)watch 2'\nwslctl: [^\n]*/taken.yaml: name: job 1 of the name 'taken' is queued.*watch 3'")
        self.assertEqual([j["name"] for j in self.run_json("list")["jobs"]], ["three", "two", "one", "taken"])
        more = [self.write(f"{name}.yaml", JOB.format(name=name)) for name in ("four", "five")]
        jobs = json.loads(self.run_ok("submit", "-o", "json", *more).stdout)["jobs"]
        self.assertEqual([(j["id"], j["spec"]["name"], j["state"]) for j in jobs], [(5, "four", "queued"), (6, "five", "queued")])
        # A mistake in a file submits none.
        wrong = self.write("wrong.yaml", JOB.format(name="wrong").replace("batch", "bach"))
        good = self.write("six.yaml", JOB.format(name="six"))
        self.assertIn("nothing was submitted", self.run_wrong(USAGE, "submit", good, wrong))
        # One that starts from another of them comes after it.
        child = self.write("child.yaml", JOB.format(name="child").replace("pretrain", "transfer") + "init: job:six\n")
        self.assertEqual(self.run_ok("submit", "-q", good, child).stdout, "7\n8\n")

    def test_one_that_never_fits(self):
        path = self.write("large.yaml", JOB.format(name="large"))
        done = self.run_ok("submit", "--dry-run", "--set", "world=8", "--set", "batch=16", path)
        self.assertIn("needs 8 slots; the cluster has 0 in all", done.stderr)
        done = self.run_ok("submit", "--set", "world=8", "--set", "batch=16", path)
        self.assertIn("it is queued: needs 8 slots; the cluster has 0 in all", done.stderr)
        self.assertEqual(self.run_json("get", "large")["jobs"][0]["reason"], "needs 8 slots; the cluster has 0 in all")

    def test_nodes_when_there_are_none(self):
        self.assertEqual(self.run_json("nodes")["nodes"], [])
        self.assertIn("wsl-worker", self.run_ok("nodes").stderr)

    def test_watch_through_kill_and_restart(self):
        job = self.submit("stays")
        process = self.start_wslctl("watch", job)
        process.stdout.readline()
        self.cluster.coordinator.kill()
        self.assertIn("lost the coordinator", process.stderr.readline())
        self.cluster.start_coordinator()
        self.assertIn("is back", process.stderr.readline())
        self.run_ok("cancel", job)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, CANCELLED)


main()
