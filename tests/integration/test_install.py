# SPDX-License-Identifier: Apache-2.0
"""meson install into an empty directory: every file is there, the programs find each other there and nothing of the build
tree, manual pages are clean, shells complete."""
import os
import re
import shutil
import subprocess
import unittest

from wsltest import Case, main
from wsltest.pictures import make_folder

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAMS = ["wslctl", "wsl-coordinator", "wsl-worker", "wsl-trainer"]
# A shell with the completion loaded and a command line at whose end TAB is pressed.
BASH = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}; complete -p wslctl >/dev/null || exit 1; _wslctl; printf '%s\\n' "${COMPREPLY[@]}" """


class Install(Case):
    @classmethod
    def setUpClass(cls):
        build = os.environ["WSL_BUILD"]
        cls.root = os.path.join(build, "meson-private", f"test-install-{os.getpid()}")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", cls.root], text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        cls.files = {os.path.join(directory, name)[len(cls.root):] for directory, _, names in os.walk(cls.root)
                     for name in names}
        cls.prefix = min((f for f in cls.files if f.endswith("/bin/wslctl")), key=len)[:-len("/bin/wslctl")]

    def installed(self, *parts):
        return os.path.join(self.root + self.prefix, *parts)

    def run_ok(self, *command, **options):
        options = {"env": {"PATH": f"{self.installed('bin')}:/usr/bin:/bin", "HOME": self.folder, "LC_ALL": "C.UTF-8"}, **options}
        done = subprocess.run([str(word) for word in command], text=True, capture_output=True, check=False, timeout=120, **options)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_every_file(self):
        recipes = {f"share/wsl/recipes/{name}" for name in os.listdir(f"{ROOT}/deploy/recipes")}
        expected = {f"bin/{name}" for name in PROGRAMS} | recipes | {
            "share/man/man1/wslctl.1", "share/man/man5/wsl-job.5", "share/man/man8/wsl-coordinator.8",
            "share/man/man8/wsl-worker.8", "share/man/man8/wsl-trainer.8", "share/bash-completion/completions/wslctl",
            "share/zsh/site-functions/_wslctl", "share/fish/vendor_completions.d/wslctl.fish", "share/doc/wsl/README.md",
            "share/doc/wsl/LICENSE"}
        self.assertEqual({f[len(self.prefix) + 1:] for f in self.files}, expected)
        self.assertTrue(recipes)

    def test_programs_start_without_the_build_tree(self):
        for name in PROGRAMS:
            program = self.installed("bin", name)
            self.assertRegex(self.run_ok(program, "--version"), rf"^{name} \d+\.\d+")
            dynamic = self.run_ok("readelf", "-d", program)
            for path in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic):
                self.assertNotIn(os.environ["WSL_BUILD"], path)

    def test_programs_find_each_other(self):
        """wslctl its daemons, the worker its trainer: beside them, or in libexec/wsl of another prefix."""
        pictures = os.path.join(self.folder, "pictures")
        make_folder(pictures, ["a", "b"], 8)
        other = os.path.join(self.folder, "other")
        for part in ("bin", "libexec/wsl"):
            os.makedirs(os.path.join(other, part))
        shutil.copy(self.installed("bin", "wslctl"), f"{other}/bin")
        for name in PROGRAMS[1:]:
            shutil.copy(self.installed("bin", name), f"{other}/libexec/wsl")
        self.run_ok("wslctl", "data", "import", "--folder", pictures, "--into", "data", cwd=self.folder)
        with open(os.path.join(self.folder, "job.yaml"), "w", encoding="ascii") as f:
            f.write("name: tiny\nkind: pretrain\ndata: data\nbatch: 4\nmax_steps: 2\n"
                    "model: {depths: [1, 1, 1, 1], groups: 8, width: 2, image_size: 32}\n")
        for number, wslctl in enumerate(("wslctl", f"{other}/bin/wslctl")):
            out = self.run_ok(wslctl, "run", "job.yaml", "--set", f"name=tiny{number}", cwd=self.folder)
            self.assertIn("succeeded", out)

    # ---- manual pages ----

    def test_manual_pages_are_clean(self):
        pages = [f for f in self.files if "/man/" in f]
        self.assertEqual(len(pages), 5)
        if not shutil.which("groff"):
            self.skipTest("groff is not installed")
        for page in pages:
            for device in ("utf8", "ascii"):
                done = subprocess.run(["groff", "-man", "-ww", f"-T{device}", self.root + page], text=True, capture_output=True,
                                      check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""), page)
                self.assertGreater(len(done.stdout.splitlines()), 20, page)

    def test_manual_pages_say_what_the_programs_say(self):
        for page, program in (("man8/wsl-worker.8", "wsl-worker"), ("man8/wsl-coordinator.8", "wsl-coordinator"),
                              ("man8/wsl-trainer.8", "wsl-trainer")):
            with open(self.installed("share/man", page), encoding="utf-8") as f:
                text = f.read().replace("\\-", "-")
            for option in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", self.run_ok(program, "--help"), re.M):
                self.assertIn(option, text, page)
        with open(self.installed("share/man/man1/wslctl.1"), encoding="utf-8") as f:
            text = f.read().replace("\\-", "-")
        for command in ("run", "submit", "data import", "tags audit", "model export", "nodes"):
            self.assertRegex(text, rf"(?m)^\.SS {command}$")
            for option in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", self.run_ok("wslctl", *command.split(), "--help"), re.M):
                self.assertIn(option, text, command)
        with open(self.installed("share/man/man5/wsl-job.5"), encoding="utf-8") as f:
            text = f.read().replace("\\-", "-")
        for field in self.run_ok("wslctl", "explain", "-o", "name").split():
            self.assertIn(field, text)

    # ---- completion ----

    def bash(self, *words, **environment):
        """What bash offers after these words, the last of which is being typed."""
        script = self.installed("share/bash-completion/completions/wslctl")
        out = self.run_ok("bash", "--norc", "-c", BASH, "bash", script, *words, cwd=self.folder, env={
            "PATH": f"{self.installed('bin')}:/usr/bin:/bin", "WSL_SERVER": "127.0.0.1:1", **environment})
        return [line for line in out.splitlines() if line]

    def test_bash_completes_commands_options_and_files(self):
        for name in ("job.yaml", "notes.txt"):
            with open(os.path.join(self.folder, name), "w", encoding="ascii"):
                pass
        os.mkdir(os.path.join(self.folder, "jobs"))
        self.assertTrue({"run", "submit", "list", "data", "explain"} <= set(self.bash("wslctl", "")))
        self.assertEqual(self.bash("wslctl", "des"), ["describe"])
        self.assertEqual(self.bash("wslctl", "--server", "x:1", "des"), ["describe"])
        self.assertEqual(self.bash("wslctl", "help", "des"), ["describe"])
        self.assertEqual(self.bash("wslctl", "data", "imp"), ["import"])
        self.assertEqual(self.bash("wslctl", "data", "import", "--mani"), ["--manifest"])
        self.assertEqual(self.bash("wslctl", "--no-c"), ["--no-color"])
        self.assertIn("--fresh", self.bash("wslctl", "run", "job.yaml", "--"))
        self.assertEqual(self.bash("wslctl", "run", "job."), ["job.yaml"])
        self.assertEqual(sorted(self.bash("wslctl", "submit", "-f", "j")), ["job.yaml", "jobs"])
        self.assertEqual(self.bash("wslctl", "data", "show", "j"), ["jobs"])
        self.assertEqual(self.bash("wslctl", "data", "import", "--into", "=", "j"), ["jobs"])
        self.assertEqual(self.bash("wslctl", "get", "-o", "y"), ["yaml"])
        self.assertEqual(self.bash("wslctl", "nodes", "rem"), ["remove"])
        self.assertEqual(self.bash("wslctl", "nodes", "remove", "rem"), [])
        self.assertEqual(self.bash("wslctl", "explain", "optimizer.mom"), ["optimizer.momentum"])
        self.assertEqual(self.bash("wslctl", "run", "--set", "optimizer.mom"), ["optimizer.momentum="])
        self.assertEqual(self.bash("wslctl", "list", "--state", "run"), ["running"])

    def test_bash_completes_jobs(self):
        self.assertEqual(self.bash("wslctl", "logs", ""), [])  # nobody answers: nothing, soon
        self.cluster.start_coordinator()
        self.cluster.start_worker("node-a")
        pictures = os.path.join(self.folder, "pictures")
        make_folder(pictures, ["a", "b"], 4)
        self.run_ok("wslctl", "data", "import", "--folder", pictures, "--into", "data", cwd=self.folder)
        job = os.path.join(self.folder, "job.yaml")
        with open(job, "w", encoding="ascii") as f:
            f.write("name: apples\nkind: pretrain\ndata: data\nbatch: 4\nmax_steps: 1\n"
                    "model: {depths: [1, 1, 1, 1], groups: 8, width: 2, image_size: 32}\n")
        for name in ("apples", "pears", "apples"):
            self.wait_for("the name to be free", lambda n=name: self.cluster.wslctl(
                "submit", "-f", job, "--set", f"name={n}", cwd=self.folder).returncode == 0)
        server = {"WSL_SERVER": self.cluster.address}
        self.assertEqual(sorted(self.bash("wslctl", "logs", "", **server)), ["apples", "pears"])
        self.assertEqual(self.bash("wslctl", "logs", "-f", "pe", **server), ["pears"])
        self.assertEqual(self.bash("wslctl", "describe", "2", **server), ["2"])
        self.assertEqual(self.bash("wslctl", "--server", self.cluster.address, "get", "ap"), ["apples"])
        self.wait_for("the worker", lambda: sorted(self.bash("wslctl", "nodes", "", **server)) == ["node-a", "remove"])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh(self):
        self.run_ok("zsh", "-n", self.installed("share/zsh/site-functions/_wslctl"))

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish(self):
        script = self.installed("share/fish/vendor_completions.d/wslctl.fish")
        self.run_ok("fish", "--no-execute", script)
        out = self.run_ok("fish", "--no-config", "-c", f"source {script}; complete -C 'wslctl des'")
        self.assertRegex(out, r"^describe\t")
        out = self.run_ok("fish", "--no-config", "-c", f"source {script}; complete -C 'wslctl data import --mani'")
        self.assertRegex(out, r"^--manifest\t")


main()
