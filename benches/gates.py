"""Measures what a gate saves in decoding, and what an explanation costs compared with a score.

    cargo build --release --workspace --bin ivl
    python benches/rivals/make_models.py DIR TOKENIZER.json      # random Llama shapes, for example 134m as base and 24m as value
    python benches/gates.py write BASE VALUE [ROUNDS]
    python benches/gates.py read BASE VALUE ROWS.jsonl [ROUNDS]

The gates are schedules, since the entropy of random weights is hardly ever low; `ivl explain --gate-curve` tells what a threshold
skips on trained models, and a skipped position costs the same under every gate. Every round runs all variants once, one after the
other; the tables have medians over the rounds, of seconds and of ratios within a round. Seconds are processor time, which other
processes change least: run the script on one core (`taskset -c 0`), so that no thread waits for another. Loading is not counted: the
time of decoding is the difference of a long answer and a short one, that of reading the difference of seven rows and the first.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

IVL = os.environ.get("IVL", "target/release/ivl")
PROMPT = "the old river sleeps under the stone house"


def run(*args):
    """Processor time of a command, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([IVL, *args, "--quiet"], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def table(title, costs, whole, notes=None):
    """Medians over rounds, and ratios to one of the variants."""
    print(f"| {title} | seconds | beside {whole} |{' passes of the value saved |' if notes else ''}\n|---|---|---|{'---|' if notes else ''}")
    for name, seconds in costs.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, costs[whole], strict=True))
        print(f"| {name} | {statistics.median(seconds):.2f} | {ratio:.2f} |{f' {notes.get(name, str())} |' if notes else ''}")


def write(base, value, rounds):
    gates = [["--gate", gate] for gate in ("every=1", "every=2", "every=4", "first=0")]
    variants = {"without values": [], "not gated": ["--value", value]}
    variants |= {gate[1]: ["--value", value, *gate] for gate in gates}
    costs, saved = {name: [] for name in variants}, {}
    for _ in range(rounds):
        for name, args in variants.items():
            prompt = ["generate", "--base", base, "--prompt", PROMPT, "--ignore-eos", "--json", *args]
            (many, answer), (few, _) = (run(*prompt, "--max-new-tokens", str(tokens)) for tokens in (400, 16))
            costs[name].append(many - few)
            if gate := json.loads(answer).get("gate"):
                saved[name] = f"{100 - 100 * gate['value_passes'] / gate['base_passes']:.0f}%"
    table("writing 384 tokens", costs, "not gated", saved)


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
    table("reading 6 texts", costs, "score")


if __name__ == "__main__":
    what, base, value, *rest = sys.argv[1:]
    if what == "write":
        write(base, value, int(rest[0]) if rest else 5)
    else:
        read(base, value, rest[0], int(rest[1]) if len(rest) > 1 else 5)
