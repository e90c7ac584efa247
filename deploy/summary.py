#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What deploy/quickstart prints at its end. Usage: summary.py HOME PRETRAIN TRANSFER SCRATCH SECONDS

Everything is asked of the running system through wslctl (found by PATH, the coordinator by WSL_SERVER); exit 1 when a score is
not what training is there for, so that a quickstart that did not learn does not look like one that did.
"""
import json
import subprocess
import sys


def ask(*words):
    return json.loads(subprocess.run(["wslctl", *words, "-o", "json"], check=True, capture_output=True, text=True).stdout)


def job_of(word):
    return ask("get", word)["jobs"][0]


def images_per_second(word):
    """Of the whole training, evaluations included: draws over the time from the first to the last step."""
    job = job_of(word)
    seconds = (job["ended_ms"] - job["started_ms"]) / 1000
    return job["progress"]["step"] * job["spec"]["batch"] / seconds if seconds > 0 else 0.0


def print_dataset(home, name):
    data = ask("data", "show", f"{home}/data/{name}")["dataset"]
    print(f"  {name:<9} {data['train']['images']:>6,} pictures to train on, {data['heldout']['images']:,} held out, "
          f"{data['tag_count']} {data['kind']}")
    top = max(tag["train"] for tag in data["tags"])
    for tag in data["tags"][:6]:
        print(f"    {tag['name']:<16} {tag['train']:>5,}  {'#' * max(1, round(30 * tag['train'] / top))}")


def score(evaluation, key):
    return evaluation[key], evaluation["baseline_" + key]


def main():
    home, pretrain, transfer, scratch, seconds = sys.argv[1:6]
    evaluation = job_of(pretrain)["progress"]["evaluation"]
    hit1, base1 = score(evaluation, "hit1")
    hit5, base5 = score(evaluation, "hit5")
    with_weights = job_of(transfer)["progress"]["evaluation"]["hit1"]
    without = job_of(scratch)["progress"]["evaluation"]["hit1"]

    print("\n== Summary ==")
    print("Data (real pictures; tags as their users gave them, labels by folder)")
    print_dataset(home, "clipart")
    print_dataset(home, "stamps")
    print(f"Pretraining on tags, {images_per_second(pretrain):.0f} images/s over two trainers; on {evaluation['images']} held-out pictures:")
    print(f"    hit@1 {hit1:.3f}   always the most frequent tag:        {base1:.3f}   ({hit1 / base1:.2f}x)")
    print(f"    hit@5 {hit5:.3f}   always the five most frequent tags:  {base5:.3f}   ({hit5 / base5:.2f}x)")
    print("Transfer to the labelled photographs, top-1 on the held-out ones, same steps and seed:")
    print(f"    from the pretrained weights {with_weights:.3f}   from scratch {without:.3f}   "
          f"({100 * (with_weights - without):+.1f} points)")
    print("Where things are")
    print(f"    logs          {home}/*.log, and 'wslctl logs JOB'")
    print(f"    checkpoints   {job_of(pretrain)['checkpoint']}/model.safetensors (PyTorch reads it)")
    print(f"    data sets     {home}/data/clipart, {home}/data/stamps")
    print("To explore: deploy/quickstart --keep, then wslctl list, describe, logs, watch; wslctl explain for job files")
    print(f"Done in {int(seconds) // 60} min {int(seconds) % 60} s.")
    if hit1 < 1.5 * base1 or hit5 < 1.5 * base5 or with_weights <= without:
        print("quickstart: the scores are not those of a network that learnt; see 'wslctl logs'", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
