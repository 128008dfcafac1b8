#!/usr/bin/env python3
"""What deploy/evidence/run.sh measured.

  report.py result RUN NAME SEED BYTES   one JSON line of a student's folder
  report.py table RESULTS.jsonl          the table of docs/evidence.md: mean and spread over the seeds
"""

import json
import statistics
import sys


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def result(run, name, seed, stored_bytes):
    summary = read(f"{run}/summary.json")
    finetuned = read(f"{run}/finetuned/summary.json")
    print(json.dumps({
        "name": name,
        "seed": int(seed),
        "bytes": int(stored_bytes),
        "steps": summary["steps"],
        "train_loss": last_mean_loss(f"{run}/metrics.jsonl"),
        "fresh_views_loss": read(f"{run}/fresh_views.json")["loss"],
        "fresh_pictures_loss": read(f"{run}/fresh_pictures.json")["loss"],
        "knn": read(f"{run}/knn.json")["knn"][0]["top1"],
        "finetuned": finetuned["test_top1"],
    }))


def last_mean_loss(path):
    """Mean training loss of the last epoch."""
    mean = None
    with open(path, encoding="utf-8") as file:
        for line in file:
            mean = json.loads(line).get("mean_loss", mean)
    return mean


def spread(values):
    """Mean and, of several, the standard deviation."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def table(path):
    groups = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            groups.setdefault(entry["name"], []).append(entry)
    columns = [("train_loss", 1, 4), ("fresh_views_loss", 1, 4), ("fresh_pictures_loss", 1, 4), ("knn", 100, 2),
               ("finetuned", 100, 2)]
    print("| stored | seeds | MB | loss in training | on fresh views | on fresh pictures | k-NN, % | fine-tuned, % |")
    print("|---|---|---|---|---|---|---|---|")
    for name, entries in groups.items():
        cells = [name, str(len(entries)), f"{entries[0]['bytes'] / 1e6:.1f}"]
        for column, factor, digits in columns:
            mean, deviation = spread([factor * entry[column] for entry in entries])
            cells.append(f"{mean:.{digits}f} ± {deviation:.{digits}f}")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    {"result": result, "table": table}[sys.argv[1]](*sys.argv[2:])
