"""What a gate saves in decoding, and what an explanation costs beside a score.

    cargo build --release --workspace --bin ivl
    python benches/rivals/make_models.py DIR TOKENIZER.json      # random Llama shapes: 134m as base and 24m as value, say
    python benches/gates.py write BASE VALUE [ROUNDS]
    python benches/gates.py read BASE VALUE ROWS.jsonl [ROUNDS]

Schedules are timed, since random weights have no entropy to speak of; what a threshold skips on trained models is told by
`ivl explain --gate-curve`, and a position skipped costs the same whatever skipped it. Every round runs all variants once, one after the
other; the tables have medians over the rounds, and ratios of medians. Loading is not counted: generation times itself, and reading texts
is the difference of a run on seven rows and one on the first.
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
PROMPT = "the old river sleeps under the stone house"


def run(*args):
    began = time.perf_counter()
    done = subprocess.run([IVL, *args, "--quiet"], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def write(base, value, rounds):
    prompt = ["--prompt", PROMPT, "--max-new-tokens", "48", "--ignore-eos", "--json"]
    gates = [["--gate", gate] for gate in ("every=1", "every=2", "every=4", "first=0")]
    variants = {"without values": [], "not gated": ["--value", value]}
    variants |= {gate[1]: ["--value", value, *gate] for gate in gates}
    speeds, saved = {name: [] for name in variants}, {}
    for _ in range(rounds):
        for name, args in variants.items():
            answer = json.loads(run("generate", "--base", base, *prompt, *args)[1])
            speeds[name].append(answer["tokens_per_second"])
            if gate := answer.get("gate"):
                saved[name] = f"{100 - 100 * gate['value_passes'] / gate['base_passes']:.0f}%"
    whole = statistics.median(speeds["not gated"])
    print("| decoding | tokens a second | beside not gated | passes of the value saved |\n|---|---|---|---|")
    for name, all_speeds in speeds.items():
        speed = statistics.median(all_speeds)
        print(f"| {name} | {speed:.1f} | {speed / whole:.2f} | {saved.get(name, '')} |")


def read(base, value, rows, rounds):
    one, two = ["--value", value], ["--value", value, "--value", value]
    variants = {
        "score, base alone": ["score", "--batch-size", "1"],
        "score": ["score", "--batch-size", "1", *one],
        "explain": ["explain", *one],
        "explain, two values": ["explain", *two],
    }
    costs = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as directory:
        few, many = pathlib.Path(directory) / "few.jsonl", pathlib.Path(directory) / "many.jsonl"
        lines = pathlib.Path(rows).read_text().splitlines()[:7]
        few.write_text(lines[0] + "\n")
        many.write_text("\n".join(lines) + "\n")
        for _ in range(rounds):
            for name, (verb, *args) in variants.items():
                seconds = [run(verb, "--base", base, *args, "--file", str(file), "--json")[0] for file in (many, few)]
                costs[name].append(seconds[0] - seconds[1])
    scored = statistics.median(costs["score"])
    print("| reading 6 texts | seconds | beside score |\n|---|---|---|")
    for name, seconds in costs.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(seconds) / scored:.2f} |")


if __name__ == "__main__":
    what, base, value, *rest = sys.argv[1:]
    if what == "write":
        write(base, value, int(rest[0]) if rest else 5)
    else:
        read(base, value, rest[0], int(rest[1]) if len(rest) > 1 else 5)
