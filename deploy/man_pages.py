#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Manual pages, made from what the programs themselves know: their tables of options (--help=table), wslctl's of commands
(__complete) and of job file fields (explain).

Usage: man_pages.py VERSION OUTPUT WSLCTL COORDINATOR WORKER TRAINER
writes OUTPUT/{wslctl.1,wsl-job.5,wsl-coordinator.8,wsl-worker.8,wsl-trainer.8}; meson calls it.
"""
import json
import os
import re
import subprocess
import sys

DAEMONS = {
    "wsl-coordinator": "schedules training jobs over machines",
    "wsl-worker": "runs the trainers of one machine",
    "wsl-trainer": "trains as one rank of a job",
}
STATUS = [("0", "Done; the job succeeded."), ("1", "A failure; the job failed."),
          ("2", "The command line or the job file is wrong."), ("3", "The job was cancelled."),
          ("5", "The coordinator cannot be reached."), ("6", "Timeout."), ("130", "Interrupted (Ctrl-C).")]


def ask(*command):
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "WSL_SERVER": "unix:/dev/null"})
    return done.stdout.splitlines()


def roff(text):
    """Text as groff prints it: no line may begin with a control character, and a hyphen is what one can paste."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


class Table:
    """The answer to --help=table."""

    def __init__(self, *command):
        about, self.options = [], []
        for line in ask(*command, "--help=table"):
            kind, _, rest = line.partition("\t")
            if kind == "usage":
                self.usage = rest
            elif kind == "about":
                about.append(rest)
            elif kind == "option":
                self.options.append(rest.split("\t"))
        text, _, example = "\n".join(about).partition("\nExample:\n")
        summary, _, more = text.strip().partition("\n\n")
        self.summary, self.more, self.example = summary.strip(), more.strip(), example


def paragraphs(text):
    return "\n.PP\n".join(roff(" ".join(p.split("\n"))) if not re.search(r"^  ", p, re.M) else literal(p)
                          for p in text.split("\n\n"))


def literal(text):
    return f".nf\n{roff(text)}\n.fi"


def option_lines(options):
    out = []
    for letter, name, value, help_text in options:
        left = (f"\\fB\\-{letter}\\fR, " if letter != "-" else "") + f"\\fB\\-\\-{roff(name)}\\fR"
        if value != "-":
            left += f" \\fI{roff(value)}\\fR"
        out += [".TP", left, roff(help_text)]
    return out


def synopsis(usage):
    program, _, rest = usage.partition(" ")
    return f".B {roff(program)}\n{roff(rest)}" if rest else f".B {roff(program)}"


def header(name, section, version, about):
    return [f'.TH {roff(name).upper()} {section} "" "wsl {version}" "wsl"', ".SH NAME", f"{roff(name)} \\- {roff(about)}"]


def daemon_page(name, program, version):
    table = Table(program)
    out = header(name, 8, version, DAEMONS[name]) + [".SH SYNOPSIS", synopsis(table.usage), ".SH DESCRIPTION"]
    out += [paragraphs("\n\n".join(t for t in (table.summary, table.more) if t)), ".SH OPTIONS"] + option_lines(table.options)
    others = [n for n in DAEMONS if n != name]
    return out + [".SH SEE ALSO", ", ".join([f"\\fB{roff(n)}\\fR(8)" for n in others] + ["\\fBwslctl\\fR(1)"])]


def commands(wslctl, *group):
    """[(words, summary)] of all commands, those of groups in their place."""
    answer = ask(wslctl, "__complete", *group, "")
    if not answer or answer[0] != "commands":
        return None
    found = []
    for line in answer[1:]:
        name, _, about = line.partition("\t")
        nested = commands(wslctl, *group, name) if len(group) == 0 else None
        found += nested if nested is not None else [((*group, name), about)]
    return found


def wslctl_page(wslctl, version):
    verbs = commands(wslctl)
    tables = {words: Table(wslctl, *words) for words, _ in verbs}
    common = [row for row in tables[verbs[0][0]].options
              if all(any(row[1] == other[1] for other in t.options) for t in tables.values())]
    names = {row[1] for row in common}
    out = header("wslctl", 1, version, "train networks on weakly labelled images")
    out += [".SH SYNOPSIS", ".B wslctl\n[\\fB\\-\\-server\\fR \\fIADDR\\fR] \\fICOMMAND\\fR [\\fIoptions\\fR]", ".SH DESCRIPTION",
            roff("Runs jobs on this machine, gives them to a coordinator and follows them, makes data sets, and looks at "
                 "tags and models. A job is named by its id or by its name."), ".SH COMMANDS"]
    for words, _ in verbs:
        table = tables[words]
        out += [f".SS {roff(' '.join(words))}", synopsis(table.usage), ".PP", roff(table.summary)]
        if table.more:
            out += [".PP", paragraphs(table.more)]
        out += option_lines([row for row in table.options if row[1] not in names])
        if table.example:
            out += [".PP", "Example:", literal(table.example)]
    out += [".SH OPTIONS OF EVERY COMMAND"] + option_lines(common)
    out += [".SH EXIT STATUS"] + [line for code, text in STATUS for line in (".TP", f".B {code}", roff(text))]
    out += [".SH ENVIRONMENT", ".TP", ".B WSL_SERVER", roff("The coordinator's address, for commands without --server."),
            ".TP", ".B NO_COLOR", "No colours, whatever it is set to."]
    return out + [".SH SEE ALSO", "\\fBwsl\\-job\\fR(5), " + ", ".join(f"\\fB{roff(n)}\\fR(8)" for n in DAEMONS)]


def job_page(wslctl, version):
    fields = json.loads("\n".join(ask(wslctl, "explain", "-o", "json")))["fields"]
    out = header("wsl-job", 5, version, "job files") + [".SH DESCRIPTION", roff(
        "A job file is YAML and says what to train. Fields of a section (optimizer.momentum) are written below it, or as "
        "--set optimizer.momentum=0.9 on the command line. What is left out has its default."), ".SH FIELDS"]
    for field in fields:
        out += [".TP", f"\\fB{roff(field['field'])}\\fR ({roff(field['type'])}{', required' if field['required'] else ''})",
                roff(field["help"][:1].upper() + field["help"][1:] + ".")]
        if field["allowed"]:
            out += [roff(f"Allowed: {field['allowed']}.")]
        if field["default"]:
            out += [roff(f"Default: {field['default']}.")]
    return out + [".SH SEE ALSO", "\\fBwslctl\\fR(1)"]


def main():
    version, folder, wslctl, *daemons = sys.argv[1:]
    pages = {"wslctl.1": wslctl_page(wslctl, version), "wsl-job.5": job_page(wslctl, version)}
    for name, program in zip(DAEMONS, daemons, strict=True):
        pages[f"{name}.8"] = daemon_page(name, program, version)
    for name, lines in pages.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write('.\\" Made from the tables of the programs by deploy/man_pages.py.\n' + "\n".join(lines) + "\n")


main()
