"""`ivl eval` and lm-evaluation-harness on the same model, task and rows, sample by sample.

    python compare.py MODEL MAX_LENGTH TASK...          TASK is a name in tasks/, without its ending; IVL names the command

Prints for each task how many samples were compared, the largest difference of a log-likelihood, and how many choices,
responses and scores differ.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from harness import HERE, TASKS, summary

IVL = os.environ.get("IVL", str(HERE / "../../../target/release/ivl"))


def ours(model, task, max_length):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([IVL, "eval", "--base", model, "--tasks", str(TASKS / f"{task}.toml"), "--max-length", str(max_length),
                        "--output", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        [log] = pathlib.Path(out).glob("samples_*.jsonl")
        # A text may hold separators that `splitlines` knows and JSON does not escape.
        rows = sorted(map(json.loads, log.read_text().rstrip("\n").split("\n")[1:]), key=lambda row: row["doc_id"])
        return rows, log.stem.removeprefix("samples_"), json.loads((pathlib.Path(out) / "results.json").read_text())


def compare(ours, theirs):
    """Differences of log-likelihoods, and whether all else is the same."""
    if "loglikelihood" in theirs:
        return [abs(ours["loglikelihood"] - theirs["loglikelihood"])], True
    if "choices" in theirs:
        pairs = list(zip(ours["answer"]["choices"], theirs["choices"], strict=True))
        same = all(choice["is_greedy"] == other[1] for choice, other in pairs)
        same &= all(ours[f"{metric},none"] == score for metric, score in theirs["scores"].items() if f"{metric},none" in ours)
        return [abs(sum(choice["logprobs"]) - other[0]) for choice, other in pairs], same
    same = ours["answer"]["response"] == theirs["response"] and ours["filtered"] == theirs["filtered"]
    return [], same and all(ours[f"exact_match,{name}"] == score for name, score in theirs["scores"].items())


def main():
    model, max_length, *tasks = sys.argv[1:]
    for task in tasks:
        rows, name, results = ours(model, task, max_length)
        theirs = summary(pathlib.Path(model).resolve(), name, int(max_length))
        compared = [compare(row, other) for row, other in zip(rows, theirs["samples"], strict=True)]
        worst = max((difference for differences, _ in compared for difference in differences), default=0.0)
        different = sum(not same for _, same in compared)
        figures = [abs(value - results["results"][name][key]) / max(abs(value), 1e-9) for key, value in theirs["results"].items()
                   if results["results"][name].get(key) is not None]
        print(f"{pathlib.Path(model).name} {name} {max_length}: {len(compared)} samples, log-likelihoods within {worst:.1e}, "
              f"{different} samples differ, {len(figures)} figures within {max(figures, default=0):.1e}", flush=True)


main()
