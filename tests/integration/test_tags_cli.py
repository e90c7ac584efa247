#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""wslctl tags, and data stats, sample, export, merge and split: on real pictures with their users' keywords (openclipart)
and the real WordNet."""
import base64
import collections
import html.parser
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

from wsltest import Case, main

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLIPART, WORDNET = "/usr/share/openclipart", "/usr/share/wordnet"
USAGE = 2
# What the cut is expected to be; nouns bare, others in brackets. The last ones stay whole, or are nouns already.
CUTS = {"goldenretrieverpuppy": "golden retriever + puppy", "catlovers": "cat + (lovers)",
        "dogsofinstagram": "dog + (of) + (instagram)", "summer2018": "summer + (2018)",
        "ilovemydog": "(i) + (love) + (my) + dog", "homemadepizza": "(homemade) + pizza",
        "beachlife": "beach + life", "whitetigercub": "(white) + tiger cub", "redsportscar": "(red) + sports car",
        "nofilter": None, "tbt": None, "instagood": None, "brownbear": None, "ursusarctos": None, "catz": None}


class Page(html.parser.HTMLParser):
    """A contact sheet as a browser's parser sees it: the numbers below the images, and the images' bytes."""
    def __init__(self, text):
        super().__init__()
        self.numbers, self.images, self.in_number = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.in_number = tag == "b"
        if tag == "img":
            self.images.append(base64.b64decode(dict(attributes)["src"].removeprefix("data:image/jpeg;base64,"), validate=True))

    def handle_data(self, data):
        if self.in_number:
            self.numbers.append(int(data))
            self.in_number = False


@unittest.skipUnless(all(map(os.path.isdir, (CLIPART + "/svg", CLIPART + "/png", WORDNET))),
                     "openclipart or wordnet is not installed")
class Tags(Case):
    def path(self, name):
        return os.path.join(self.folder, name)

    def run_ok(self, *words):
        done = self.cluster.wslctl(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def run_json(self, *words):
        document = json.loads(self.run_ok(*words, "-o", "json"))
        self.assertEqual(document["version"], 1)
        return document

    def run_wrong(self, code, *words):
        done = self.cluster.wslctl(*words)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr

    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.mkdtemp(prefix="wsl-test-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.kept)

    def clipart(self, name, part):
        """A data set of one folder of the library, with the tags as they were typed. Each is imported once."""
        root = os.path.join(self.kept, part.replace("/", "-"))
        if not os.path.exists(root):
            os.mkdir(root)
            for kind in ("svg", "png"):
                os.symlink(f"{CLIPART}/{kind}/{part}", f"{root}/{kind}")
            subprocess.run([sys.executable, f"{ROOT}/deploy/openclipart_manifest.py", "--root", root, f"{root}/tsv"],
                           check=True, capture_output=True)
            self.run_ok("data", "import", "-q", "--manifest", f"{root}/tsv", "--max-side", "64", "--into", f"{root}/data")
        return shutil.copytree(f"{root}/data", self.path(name))

    def counts(self, folder):
        return {t["name"]: (t["train"], t["heldout"]) for t in self.run_json("tags", "count", folder)["tags"]}

    def exported(self, folder, name):
        """[(file below the folder, set of tags)] of train, in the order of the records."""
        self.run_ok("data", "export", folder, "--to", self.path(name), "-q")
        with open(self.path(name) + "/train.tsv", encoding="utf-8") as f:
            rows = [line.rstrip("\n").split("\t") for line in f]
        return [(file, set(tags.split(","))) for file, tags in rows]

    def test_cutting(self):
        found = {t["tag"]: t for t in self.run_json("tags", "segment", *CUTS)["tags"]}
        for tag, cut in CUTS.items():
            with self.subTest(tag=tag):
                words = found[tag]["words"]
                text = words and " + ".join(w["word"] if w["noun"] else f"({w['word']})" for w in words)
                self.assertEqual(text, cut)
        self.assertEqual((found["brownbear"]["noun"], found["tbt"]["noun"]), ("brown_bear", None))
        self.assertIn("goldenretrieverpuppy: golden retriever -", self.run_ok("tags", "segment", "#GoldenRetrieverPuppy"))
        self.assert_one_line(self.run_wrong(2, "tags", "segment", "x", "--wordnet", "/nowhere"), "wordnet-base")
        self.assert_one_line(self.run_wrong(USAGE, "tags", "segment", "#"), "empty")

    def test_from_hashtags_to_a_view(self):
        raw, file, view = self.clipart("raw", "animals/mammals"), self.path("v.tsv"), self.path("view")
        before = self.counts(raw)
        made = self.run_json("tags", "vocabulary", raw, "--wordnet", WORDNET, "--only-nouns", "--into", file)["vocabulary"]
        self.assertLess(made["tags"], len(before))
        self.assertGreater(made["merged"], 0)
        with open(file, encoding="utf-8") as f:
            lines = [line.rstrip("\n").split("\t") for line in f if not line.startswith("#")]
        meaning = collections.defaultdict(set)
        for name, synset, _, *spellings in lines:
            self.assertRegex(synset, r"^n\d{8}$")
            for spelling in spellings:
                meaning[spelling].add(name)
        self.assertTrue(any(len(spellings) > 1 for _, _, _, *spellings in lines))
        done = self.run_json("tags", "map", raw, "--vocabulary", file, "--into", view)["view"]
        self.assertEqual(done["unmapped"], len(before) - len(meaning))
        self.assertLess(sum(os.path.getsize(os.path.join(view, f)) for f in os.listdir(view)), 200_000)
        # By hand: each picture's tags by the vocabulary's lines, without those that are left with none.
        old, new = self.exported(raw, "raw-files"), self.exported(view, "view-files")
        expected = [tags for tags in (set().union(*(meaning[t] for t in tags)) for _, tags in old) if tags]
        self.assertEqual([tags for _, tags in new], expected)
        tally = collections.Counter(tag for tags in expected for tag in tags)
        self.assertEqual({k: v[0] for k, v in self.counts(view).items()}, dict(tally))
        self.assertEqual(list(self.counts(view)), sorted(tally, key=lambda t: (-tally[t], t)))
        # Pictures are those of the data set, and the view is whole, of a data set that has not changed.
        self.assertTrue(self.run_json("data", "verify", view)["whole"])
        self.assertEqual(self.run_json("data", "show", view)["dataset"]["base"], os.path.realpath(raw))
        self.assertIn("View of:", self.run_ok("data", "show", view))
        self.check_job(view, done["train"])
        self.assert_one_line(self.run_wrong(1, "tags", "map", raw, "--vocabulary", file, "--into", view), "exists")
        table = next(os.path.join(view, f) for f in sorted(os.listdir(view)) if f != "dataset.json")
        with open(table, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)[0]
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last ^ 1]))
        damaged = self.cluster.wslctl("data", "verify", view)
        self.assertEqual(damaged.returncode, 1)
        self.assertIn(os.path.basename(table), damaged.stdout)
        os.rename(raw, raw + "-moved")
        self.assert_one_line(self.run_wrong(1, "data", "show", view), "is a view", raw)

    def check_job(self, view, images):
        """A job trains on it, and sees as many draws an epoch as the curve says."""
        with open(self.path("job.yaml"), "w", encoding="utf-8") as f:
            f.write(f"name: viewed\nkind: pretrain\ndata: {view}\nmodel: {{depths: [1, 1, 1, 1], groups: 8, width: 2, "
                    "image_size: 32}\nbatch: 8\nepochs: 1\nmax_steps: 3\n"
                    "sampling: {kind: square-root, threshold: 20, window: 24}\n")
        self.cluster.start_coordinator()
        self.cluster.start_worker("a")
        self.run_ok("submit", "-f", self.path("job.yaml"))
        self.run_ok("wait", "viewed")
        log = self.run_ok("logs", "viewed")
        curve = self.run_json("tags", "curve", view, "--threshold", "20", "--tags", "0")["curves"][1]
        self.assertIn(f"an epoch is {curve['length']} draws (square-root sampling)", log)
        self.assertGreater(curve["length"], images)

    def test_matching_a_target(self):
        raw, file = self.clipart("raw", "animals/mammals"), self.path("m.tsv")
        with open(self.path("classes.txt"), "w", encoding="utf-8") as f:
            f.write("n02084071 dog, domestic dog\ntrue cat, cat\nhorse\nmicrowave oven\n")
        made = self.run_json("tags", "vocabulary", raw, "--wordnet", WORDNET, "--match", self.path("classes.txt"), "--into",
                             file)["vocabulary"]
        with open(file, encoding="utf-8") as f:
            rows = {line.split("\t")[0]: line.rstrip("\n").split("\t")[1:] for line in f if not line.startswith("#")}
        self.assertLessEqual(set(rows), {"dog", "true cat", "horse"})
        self.assertIn("true cat", rows)
        self.assertIn("cat", rows["true cat"][2:])
        self.assertEqual((made["classes"], made["classes_found"], made["tags"]), (4, len(rows), len(rows)))
        top = self.run_json("tags", "vocabulary", raw, "--wordnet", WORDNET, "--top", "3", "--into", file)["vocabulary"]
        self.assertEqual(top["tags"], 3)
        self.assert_one_line(self.run_wrong(USAGE, "tags", "vocabulary", raw, "--segment", "--into", file), "--wordnet")
        self.assert_one_line(self.run_wrong(2, "tags", "vocabulary", raw, "--match", "/nowhere", "--into", file), "/nowhere")

    def test_sampling(self):
        raw = self.clipart("raw", "animals/mammals")
        tags, images = self.counts(raw), [t for _, t in self.exported(raw, "files")]
        curve = self.run_json("tags", "curve", raw, "--threshold", "12", "--max-repeat", "5")
        for row, power in zip(curve["curves"], (0, 0.5, 1)):
            wanted = [min(5, max(1, (12 / min(tags[t][0] for t in ts)) ** power)) for ts in images]
            self.assertEqual(row["length"], math.ceil(sum(wanted) - 1e-3))
            self.assertEqual(row["repeated"], sum(r > 1 for r in wanted))
            for tag in row["tags"]:
                exact = sum(r for r, ts in zip(wanted, images) if tag["name"] in ts) * row["length"] / sum(wanted)
                self.assertAlmostEqual(tag["draws"], exact, places=2)
        words = ("tags", "audit", raw, "--sampling", "square-root", "-t", "12", "--max-repeat", "5", "--seed", "9")
        for window in ((), ("--window", "16")):
            audit = self.run_json(*words, "--epoch", "4", *window)["audit"]
            self.assertEqual((audit["length"], audit["missing"], audit["off"]), (curve["curves"][1]["length"], 0, 0))
            self.assertTrue(all(abs(t["drawn"] - t["expected"]) < 2 * math.sqrt(t["expected"]) + 2 for t in audit["tags"]))
        found = self.run_json("tags", "curve", raw, "--length", str(2 * len(images)))["curves"]
        self.assertTrue(all(abs(row["length"] - 2 * len(images)) <= 1 for row in found[1:]))
        self.assert_one_line(self.run_wrong(1, "tags", "curve", raw, "--length", "1"), "no threshold")
        # One picture: its rarest tag decides.
        why = self.run_json("tags", "why", raw, "3", "-t", "12")["record"]
        self.assertEqual({t["name"] for t in why["tags"]}, images[3])
        deciding = [t for t in why["tags"] if t["decides"]]
        self.assertEqual([t["train"] for t in deciding], [min(tags[t][0] for t in images[3])])
        self.assertAlmostEqual(why["repeats"]["square-root"], max(1, math.sqrt(12 / deciding[0]["train"])), places=5)
        self.assertEqual(self.run_json("tags", "why", raw, why["source"], "-t", "12")["record"], why)
        self.assert_one_line(self.run_wrong(1, "tags", "why", raw, "no-such.png"), "no-such.png")
        self.assert_one_line(self.run_wrong(USAGE, "tags", "audit", raw, "-s", "cubic"), "square-root")

    def test_noise(self):
        raw = self.clipart("raw", "animals/mammals")
        before = [t for _, t in self.exported(raw, "before")]
        made = [self.run_json("tags", "noise", raw, "--p", "0.5", "--seed", "3", "--into", self.path(n))["view"]
                for n in ("a", "b")]
        self.assertEqual(made[0]["fingerprint"], made[1]["fingerprint"])
        after = [t for _, t in self.exported(self.path("a"), "after")]
        self.assertEqual([len(t) for t in before], [len(t) for t in after])
        share = made[0]["tags_replaced"] / (made[0]["tags_replaced"] + made[0]["tags_kept"])
        self.assertAlmostEqual(share, 0.5, delta=5 * 0.5 / math.sqrt(sum(map(len, before))))
        self.assertNotEqual(before, after)
        self.assertEqual({k: v[1] for k, v in self.counts(raw).items()},
                         {k: v[1] for k, v in self.counts(self.path("a")).items()})
        self.assert_one_line(self.run_wrong(USAGE, "tags", "noise", raw, "--p", "1.5", "--into", "x"), "--p")

    def test_data_out_and_in_again(self):
        a, b = self.clipart("a", "animals/mammals"), self.clipart("b", "food/fruit")
        shown = [self.run_json("data", "show", d)["dataset"] for d in (a, b)]
        stats = self.run_json("data", "stats", a)
        self.assertEqual(stats["train"]["images"], shown[0]["train"]["images"])
        self.assertLessEqual(stats["train"]["width"]["max"], 64)
        self.assertLess(stats["train"]["bytes"]["min"], stats["train"]["bytes"]["max"])
        self.assertIn("median", self.run_ok("data", "stats", a).lower())
        # What was exported can be imported, byte for byte.
        files = self.exported(a, "files")
        self.run_ok("data", "import", "-q", "--manifest", self.path("files/train.tsv"), "--heldout", "0", "--into",
                    self.path("again"))
        again = self.exported(self.path("again"), "files-again")

        def contents(folder, rows):
            found = {}
            for name, tags in rows:
                with open(os.path.join(self.path(folder), name), "rb") as f:
                    found[f.read()] = tags
            return found
        self.assertEqual(contents("files", files), contents("files-again", again))
        # A tar as WebDataset reads it.
        self.run_ok("data", "export", a, "--to", self.path("a.tar"))
        with tarfile.open(self.path("a.tar")) as tar:
            names = tar.getnames()
            self.assertEqual(names, [f"{i:08}.{end}" for i in range(len(files)) for end in ("jpg", "json")])
            for i, (file, tags) in enumerate(files):
                self.assertEqual(set(json.load(tar.extractfile(f"{i:08}.json"))["tags"]), tags)
                with open(os.path.join(self.path("files"), file), "rb") as f:
                    self.assertEqual(tar.extractfile(f"{i:08}.jpg").read(), f.read())
        self.assert_one_line(self.run_wrong(USAGE, "data", "export", a, "--to", "x.tar", "--split", "all"), "holds one")
        # Merged, and divided.
        merged = self.run_json("data", "merge", a, b, "--into", self.path("ab"))["dataset"]
        total = sum(d[s]["images"] for d in shown for s in ("train", "heldout"))
        self.assertEqual(merged["train"] + merged["heldout"] + merged["duplicates"], total)
        self.assertTrue(self.run_json("data", "verify", self.path("ab"))["whole"])
        names = [t["name"] for d in shown for t in d["tags"]]
        self.assertEqual({t["name"] for t in self.run_json("data", "show", self.path("ab"))["dataset"]["tags"]}, set(names))
        divided = self.run_json("data", "split", self.path("ab"), "--heldout", "0.5", "--into", self.path("half"))["dataset"]
        self.assertEqual(divided["train"] + divided["heldout"], merged["train"] + merged["heldout"])
        self.run_ok("data", "split", a, "--share", "0.3", "--into", self.path("part"), "--rest", self.path("rest"))
        parts = [self.run_json("data", "show", self.path(p))["dataset"] for p in ("part", "rest")]
        self.assertEqual(sum(p["train"]["images"] for p in parts), shown[0]["train"]["images"])
        self.assertEqual([p["heldout"]["images"] for p in parts], 2 * [shown[0]["heldout"]["images"]])
        self.assert_one_line(self.run_wrong(USAGE, "data", "split", a, "--into", "x"), "--share or --heldout")

    def test_a_sheet(self):
        raw, sheet = self.clipart("raw", "animals/mammals"), self.path("sheet.html")
        shown = self.run_json("data", "sample", raw, "--into", sheet, "--count", "10", "--columns", "4", "--tag", "cat")
        tagged = [i for i, (_, tags) in enumerate(self.exported(raw, "files")) if "cat" in tags]
        self.assertEqual(sorted(shown["records"])[:10], sorted(set(shown["records"]) & set(tagged)))
        self.assertEqual(len(shown["records"]), min(10, len(tagged)))
        with open(sheet, encoding="utf-8") as f:
            page = Page(f.read())
        self.assertEqual(page.numbers, shown["records"])
        self.assertEqual([data[:3] for data in page.images], [b"\xff\xd8\xff"] * len(page.numbers))
        self.assert_one_line(self.run_wrong(USAGE, "data", "sample", raw, "--into", self.path("sheet.jpg")), "HTML page")
        self.assert_one_line(self.run_wrong(USAGE, "data", "sample", raw, "--into", sheet, "--tag", "nosuchtag"), "nosuchtag")


if __name__ == "__main__":
    main()
