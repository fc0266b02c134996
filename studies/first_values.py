"""Measures first values on real models: nothing set but the base, the data and `[value.lora]`. Makes tables of docs/regularization.md.

    cargo build --release --workspace --bin ivl
    python studies/first_values.py HOME_MODEL AWAY_MODEL DATA              # the defaults on three data sets
    python studies/first_values.py HOME_MODEL AWAY_MODEL DATA --rates      # learning rates of full values
    SETS=MBPP,Self-Instruct python studies/first_values.py ..              # some of the data sets

HOME_MODEL is the training base and AWAY_MODEL another one, whatever its vocabulary (`--map hybrid`); both are directories or GGUF files
with a chat template. DATA has gsm8k/{train,test}.jsonl (github.com/openai/grade-school-math), mbpp/mbpp.jsonl (google-research/mbpp) and
self-instruct/seed_tasks.jsonl (github.com/yizhongw/self-instruct). Writes below runs/first-values and reuses what is there. Needs only
the Python standard library. Every model is scored on the same held-out responses, alone by its own chat template and with the value by
the value's, as `ivl score` does it.
"""

import json
import os
import pathlib
import subprocess
import sys

IVL = os.environ.get("IVL", "target/release/ivl")
RUNS = pathlib.Path("runs/first-values")
ROWS, HELD_OUT = int(os.environ.get("ROWS", 60)), int(os.environ.get("HELD_OUT", 32))
RATES = ["2.5e-5", "8.6e-5", "3e-4", "1e-3"]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def gsm8k(data):
    rows = [[(row["question"], row["answer"]) for row in read(data / f"gsm8k/{part}.jsonl")] for part in ["train", "test"]]
    return rows[0][:ROWS], rows[1][:HELD_OUT]


def mbpp(data):
    """The published split: tasks 601 to 974 train, 11 to 510 test; the published prompt."""
    train, test = [], []
    for row in read(data / "mbpp/mbpp.jsonl"):
        tests = "\n".join(row["test_list"])
        prompt = f"You are an expert Python programmer, and here is your task: {row['text']} Your code should pass these tests:\n\n{tests}"
        part = train if row["task_id"] > 600 else test if 10 < row["task_id"] <= 510 else []
        part.append((prompt, row["code"].replace("\r\n", "\n")))
    return train[:ROWS], test[:HELD_OUT]


def self_instruct(data):
    rows = []
    for task in read(data / "self-instruct/seed_tasks.jsonl"):
        instance = task["instances"][0]
        rows.append((f"{task['instruction']}\n\n{instance['input']}".strip(), instance["output"]))
    return rows[:ROWS], rows[-HELD_OUT:]


SETS = {"GSM8K": gsm8k, "MBPP": mbpp, "Self-Instruct": self_instruct}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    turns = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in rows]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))


def train(name, home, data, lora, *settings):
    """The directory of a value, trained unless it is there."""
    output = RUNS / name
    if not (output / "config.json").exists() and not (output / "adapter_config.json").exists():
        config = RUNS / f"{name}.toml"
        value = "[value.lora]" if lora else "[value]"
        config.write_text(f"output = {json.dumps(str(output))}\nbase = {json.dumps(home)}\n{value}\n[data]\ntrain = {json.dumps([data])}\n")
        resume = ["--resume"] if (output / "checkpoints").is_dir() else []
        options = [option for setting in settings for option in ["--set", setting]]
        subprocess.run([IVL, "train", config, *options, *resume], check=True, stdout=sys.stderr)
    return str(output)


def loss(base, file, *values):
    """The loss of the responses of a file, in nats per token; kept beside the runs."""
    kept = RUNS / "losses.json"
    losses = json.loads(kept.read_text()) if kept.exists() else {}
    key = " ".join([base, str(file), *values])
    if key not in losses:
        options = ["--value", values[0], "--map", "hybrid"] if values else []
        command = [IVL, "score", "--base", base, "--file", file, "--json", "--quiet", "--batch-size", "4", *options]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        losses[key] = json.loads(lines[-1])["total"]["loss"]
        kept.write_text(json.dumps(losses, indent=1))
    return losses[key]


def defaults(home, away, data):
    print(f"| data | {pathlib.Path(home).name}: alone | with the value | {pathlib.Path(away).name}: alone | with the value |")
    print("|---|---|---|---|---|")
    for name in os.environ.get("SETS", ",".join(SETS)).split(","):
        rows = SETS[name]
        files = [RUNS / f"{name}-{part}.jsonl" for part in ["train", "held-out"]]
        for file, part in zip(files, rows(data)):
            write(file, part)
        value = train(name, home, str(files[0]), lora=True)
        figures = [loss(base, files[1], *values) for base in [home, away] for values in [[], [value]]]
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


def rates(home, away, data):
    """Full values on the first data set, one epoch each."""
    files = [RUNS / f"GSM8K-{part}.jsonl" for part in ["train", "held-out"]]
    for file, part in zip(files, gsm8k(data)):
        write(file, part)
    print(f"| rate | {pathlib.Path(home).name} | {pathlib.Path(away).name} |\n|---|---|---|")
    print(f"| alone | {loss(home, files[1]):.3f} | {loss(away, files[1]):.3f} |", flush=True)
    for rate in RATES:
        settings = [f"optimizer.learning_rate={rate}", "steps.epochs=1", "checkpoint.minutes=60"]
        value = train(f"full-{rate}", home, str(files[0]), False, *settings)
        print(f"| {rate} | {loss(home, files[1], value):.3f} | {loss(away, files[1], value):.3f} |", flush=True)


if __name__ == "__main__":
    RUNS.mkdir(parents=True, exist_ok=True)
    home, away, data = sys.argv[1:4]
    study = rates if "--rates" in sys.argv else defaults
    study(home.rstrip("/"), away.rstrip("/"), pathlib.Path(data))
