"""Runs recipes for a few steps and measures them. Makes the table of recipes/README.md.

    cargo build --release --workspace --bin ivl
    python studies/recipes.py MODELS [NAME...]      # NAME: recipes, by default every one whose base is in MODELS

MODELS has the bases as NAME or NAME.gguf, with the names of the recipes: smollm2-135m, gemma-3-270m, .. The data are sentences about
payments (`studies/real/records.py`), 8 rows of about 110 tokens per step, of which 36% are trained. The seconds are those of
the fastest step after the first, on an idle machine; the memory is the peak of the process. Writes below runs/recipes; the values are of
no use.
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "real"))
import records
from cells import run

IVL = os.environ.get("IVL", "target/release/ivl")
RUNS = pathlib.Path("runs/recipes")
STEPS = int(os.environ.get("STEPS", 4))


def data():
    """Rows for training, and one for the held-out loss that recipes ask for."""
    for name, part, count in [("train", "train", 8 * STEPS), ("held-out", "test", 2)]:
        rows = [{"prompt": records.prompt(row["sentence"]), "completion": " " + row["record"]} for row in records.rows(part, count, 1)]
        RUNS.mkdir(parents=True, exist_ok=True)
        (RUNS / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def base(models, name):
    directory = models / name.removesuffix("-full")
    return directory if directory.is_dir() else directory.with_name(directory.name + ".gguf")


def measure(recipe, model):
    """Seconds of the fastest step and peak memory."""
    output = RUNS / recipe.stem
    settings = {
        "output": str(output),
        "base": str(model),
        "data.train": [str(RUNS / "train.jsonl")],
        "data.eval": [],
        "steps.max_steps": STEPS,
    }
    options = [option for key, value in settings.items() for option in ["--set", f"{key}={json.dumps(value)}"]]
    subprocess.run(["rm", "-rf", output], check=True)
    _, cost = run([IVL, "train", recipe, *options], RUNS / f"{recipe.stem}.log")
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    steps = [line["tokens"] / line["tokens_per_second"] for line in lines if line.get("kind") == "step"]
    print(f"| {recipe.stem} | {min(steps[1:]):.2f} | {cost['peak_mib']} |", flush=True)


def main():
    models = pathlib.Path(sys.argv[1])
    found = sorted((pathlib.Path(__file__).parent.parent / "recipes").glob("*.toml"))
    chosen = [recipe for recipe in found if recipe.stem in sys.argv[2:] or not sys.argv[2:]]
    data()
    print("| recipe | seconds per step | peak MiB |\n|---|---:|---:|")
    for recipe in chosen:
        if base(models, recipe.stem).exists():
            measure(recipe, base(models, recipe.stem))


if __name__ == "__main__":
    main()
