"""Values distilled from a tuned model, and one model distilled from a base and its value. Makes two tables of docs/results.md.

    cargo build --release --workspace --bin ivl
    python studies/distilled_values.py          # models of examples/first-value, three seeds; some minutes on two cores

Run from the root of the repository. Writes below runs/distilled and reuses what is there. Needs only the standard library.
"""

import json
import os
import pathlib
import statistics
import subprocess

IVL = os.environ.get("IVL", "target/release/ivl")
RUNS = pathlib.Path("runs/distilled")
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "1,2,3").split(",")]
EXAMPLE = "examples/first-value"
SMALL, LARGE, TRAIN, HELD_OUT = f"{EXAMPLE}/small", f"{EXAMPLE}/large", f"{EXAMPLE}/train.jsonl", f"{EXAMPLE}/held-out.jsonl"
STEPS = ["steps.epochs=8", "steps.batch_size=8", "optimizer.learning_rate=1e-3"]
TEACHER = f'output = "OUTPUT"\n[value]\nmodel = "{SMALL}"\n[data]\ntrain = ["{TRAIN}"]\n'
VALUE = f'output = "OUTPUT"\nbase = "{SMALL}"\n[value]\n[data]\ntrain = ["{TRAIN}"]\n'
DISTILLED = f'objective = "distill"\n{VALUE}[distill]\nteacher = "FROM"\n'
KINDS = {
    "from demonstrations": (VALUE, []),
    "distilled": (DISTILLED, []),
    "distilled, temperature 2": (DISTILLED, ["distill.temperature=2.0"]),
    "distilled, with 0.5 cross-entropy": (DISTILLED, ["distill.cross_entropy=0.5"]),
}
ONE_MODEL = {
    "one model: `--merge` (adapters of rank 16)": ["--merge"],
    "one model: `--full`": ["--full"],
    "one model: `--full --sample --max-new-tokens 16`": ["--full", "--sample", "--max-new-tokens", "16"],
}


def ivl(*arguments):
    return subprocess.run([IVL, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout


def sets(settings):
    return [part for setting in settings for part in ["--set", setting]]


def train(name, seed, text, settings, teacher=""):
    """The directory of a run, trained unless it is there."""
    output = RUNS / f"{name}-{seed}".replace(" ", "-").replace(",", "")
    if not (output / "config.json").exists():
        config = output.with_suffix(".toml")
        config.write_text(text.replace("OUTPUT", str(output)).replace("FROM", str(teacher)))
        resume = ["--resume"] if (output / "checkpoints").is_dir() else []
        ivl("train", config, "--seed", seed, "--quiet", *sets([*STEPS, *settings]), *resume)
    return output


def measure(name, base, value=None):
    """Loss and exact match (%) on the held-out questions."""
    kept = RUNS / f"{name}.json"
    if not kept.exists():
        # Without a value the base is its own, at no weight.
        table = ivl("transfer", "--value", value or base, "--bases", base, "--data", HELD_OUT, "--alphas", "1", "--json", "--quiet")
        kept.write_text(table)
    row = json.loads(kept.read_text())["bases"][0]
    found = row["with"][0] if value else row["alone"]
    return found["loss"]["mean"], 100 * found["exact_match"]["mean"]


def spread(figures):
    """Mean and standard deviation over the seeds, of losses and of exact match."""
    losses, exact = zip(*figures)
    deviation = lambda values: statistics.stdev(values) if len(values) > 1 else 0.0  # noqa: E731
    return f"{statistics.mean(losses):.3f} ± {deviation(losses):.3f} | {statistics.mean(exact):.1f} ± {deviation(exact):.1f}"


def values():
    """The table of values; returns those from demonstrations with dropout 0.5."""
    teachers = [train("teacher", seed, TEACHER, []) for seed in SEEDS]
    print(f"teacher: {spread([measure(f'teacher-{seed}-alone', path) for seed, path in zip(SEEDS, teachers)])}")
    print("| value | base dropout | loss, `small` | exact, `small` | loss, `large` | exact, `large` |\n|---|---|---|---|---|---|")
    for dropout in [0.0, 0.5]:
        for kind, (text, settings) in KINDS.items():
            settings = [*settings, "value.initial_scale=1.0", f"regularization.base_dropout={dropout}"]
            trained = [train(f"{kind}-{dropout}", seed, text, settings, teacher) for seed, teacher in zip(SEEDS, teachers)]
            row = [
                spread([measure(f"{path.name}-on-{pathlib.Path(base).name}", base, path) for path in trained]) for base in [SMALL, LARGE]
            ]
            print(f"| {kind} | {dropout} | {' | '.join(row)} |", flush=True)
    return [RUNS / f"from-demonstrations-0.5-{seed}" for seed in SEEDS]


def one_model(trained):
    print("| model | loss | exact |\n|---|---|---|")
    alone = measure("large-alone", LARGE)
    print(f"| `large` | {alone[0]:.3f} | {alone[1]:.1f} |")
    print(f"| `large` with the value | {spread([measure(f'{value.name}-on-large', LARGE, value) for value in trained])} |")
    for name, options in ONE_MODEL.items():
        figures = []
        for seed, value in zip(SEEDS, trained):
            out = RUNS / f"one{''.join(options)}-{seed}"
            if not (out / "config.json").exists():
                data = ["--data", TRAIN, "--out", out, "--seed", seed, "--quiet"]
                ivl("distill", "--base", LARGE, "--value", value, *data, *options, *sets(STEPS))
            figures.append(measure(out.name, str(out)))
        print(f"| {name} | {spread(figures)} |", flush=True)


if __name__ == "__main__":
    RUNS.mkdir(parents=True, exist_ok=True)
    one_model(values())
