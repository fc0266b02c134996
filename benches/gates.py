"""What a gate saves in decoding, and what an explanation costs beside a score.

    cargo build --release --workspace --bin ivl
    python benches/rivals/make_models.py DIR TOKENIZER.json      # random Llama shapes: 134m as base and 24m as value, say
    python benches/gates.py BASE VALUE ROWS.jsonl [ROUNDS]

Schedules are timed, since random weights have no entropy to speak of; what a threshold skips on trained models is told by
`ivl explain --gate-curve`, and a position skipped costs the same whatever skipped it. Every round runs all variants once, one after the
other; the table has medians over the rounds, and ratios of medians. Loading is not counted: generation times itself, and reading texts
is the difference of a run on all rows and one on the first.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

IVL = os.environ.get("IVL", "target/release/ivl")
BASE, VALUE, ROWS = sys.argv[1:4]
ROUNDS = int(sys.argv[4]) if len(sys.argv) > 4 else 5
PROMPT = "the old river sleeps under the stone house"
WRITE = ["generate", "--base", BASE, "--prompt", PROMPT, "--max-new-tokens", "96", "--ignore-eos", "--json"]
WITH = ["--value", VALUE]


def run(*args):
    began = time.perf_counter()
    done = subprocess.run([IVL, *args, "--quiet"], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def written(*args):
    answer = json.loads(run(*WRITE, *args)[1])
    return answer["tokens_per_second"], answer.get("gate", {})


def reading(verb, rows, *args):
    return run(verb, "--base", BASE, *args, "--file", str(rows), "--json")[0]


def main():
    gates = [["--gate", f"every={k}"] for k in (1, 2, 4, 8)] + [["--gate", "first=0"]]
    decoding = {"without values": [], "not gated": WITH} | {gate[1]: WITH + gate for gate in gates}
    speeds, saved = {name: [] for name in decoding}, {}
    costs = {"score, base alone": [], "score": [], "explain": [], "explain, two values": []}
    with tempfile.TemporaryDirectory() as directory:
        few, many = pathlib.Path(directory) / "few.jsonl", pathlib.Path(directory) / "many.jsonl"
        lines = pathlib.Path(ROWS).read_text().splitlines()[:17]
        few.write_text(lines[0] + "\n")
        many.write_text("\n".join(lines) + "\n")
        for _ in range(ROUNDS):
            for name, args in decoding.items():
                speed, gate = written(*args)
                speeds[name].append(speed)
                if gate:
                    saved[name] = 1 - gate["value_passes"] / gate["base_passes"]
            for name, verb, args in [
                ("score, base alone", "score", ["--batch-size", "1"]),
                ("score", "score", WITH + ["--batch-size", "1"]),
                ("explain", "explain", WITH),
                ("explain, two values", "explain", WITH + WITH),
            ]:
                costs[name].append(reading(verb, many, *args) - reading(verb, few, *args))
    whole = statistics.median(speeds["not gated"])
    print("| decoding | tokens a second | beside not gated | passes of the value saved |\n|---|---|---|---|")
    for name, all_speeds in speeds.items():
        speed = statistics.median(all_speeds)
        print(f"| {name} | {speed:.1f} | {speed / whole:.2f} | {100 * saved[name]:.0f}% |" if name in saved
              else f"| {name} | {speed:.1f} | {speed / whole:.2f} | |")
    scored = statistics.median(costs["score"])
    print("\n| reading 16 texts | seconds | beside score |\n|---|---|---|")
    for name, seconds in costs.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(seconds) / scored:.2f} |")


if __name__ == "__main__":
    main()
