"""Measures how well values transfer between the demo models, and which settings help. Makes tables of docs/results.md.

    cargo build --release --workspace --bin ivl
    python studies/demo_models.py                # or: python studies/demo_models.py travel kinds gates

Run from the root of the repository; needs only the Python standard library. Writes below runs/family and reuses what is there. The
first table is measured on the final test set; the others, which compare ways to train, on the held-out questions, so that nothing
is tuned on the final set.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

IVL = os.environ.get("IVL", "target/release/ivl")
MODELS = pathlib.Path(os.environ.get("FAMILY", "crates/ivl-demo-models/models"))
RUNS = pathlib.Path("runs/family")
DATA = RUNS / "world"
SEEDS = [1, 2, 3]
SMALL, MEDIUM, LARGE, CONTINUED, OTHER = (str(MODELS / name) for name in ["small", "medium", "large", "continued", "other"])
BASES = [SMALL, MEDIUM, LARGE, CONTINUED, OTHER]
ALPHAS = "0.25,0.5,0.75,1,1.25,1.5,2"
# Fine-tunings of every base by itself, beside three seeds of the value.
FULL_SEEDS = [1]
FULL = {"optimizer.learning_rate": 2.5e-4, "steps.epochs": 3}
# Questions when ways to train are compared.
QUESTIONS = 300

# The recipe of `ivl demo`; whatever a variant names replaces it.
RECIPE = {
    "data.train": [str(DATA / "train.jsonl")],
    "data.max_length": 128,
    "data.batching": "by-length",
    "optimizer.learning_rate": 4e-3,
    "optimizer.warmup_ratio": 0.05,
    "steps.epochs": 2,
    "steps.batch_size": 16,
    "regularization.l1": 0.0,
}
PERTURBED = {"regularization.base_temperature": 4.0, "regularization.base_noise": 3.0, "regularization.base_dropout": 0.5}
TRAVELLING = PERTURBED | {"regularization.l1": 0.3}
# Name, settings, bases.
VARIANTS = {
    "none": ({}, [SMALL]),
    "L1, weight 0.3": ({"regularization.l1": 0.3}, [SMALL]),
    "L1, weight 1 (the paper's)": ({"regularization.l1": 1.0}, [SMALL]),
    "KL, weight 0.1": ({"regularization.kl": 0.1}, [SMALL]),
    "base temperature 4": ({"regularization.base_temperature": 4.0}, [SMALL]),
    "base noise 3": ({"regularization.base_noise": 3.0}, [SMALL]),
    "base dropout 0.5": ({"regularization.base_dropout": 0.5}, [SMALL]),
    "all three perturbations": (PERTURBED, [SMALL]),
    "the demo's: these and L1, weight 0.3": (TRAVELLING, [SMALL]),
    "two bases, small and medium": ({}, [SMALL, MEDIUM]),
    "two bases, and the demo's": (TRAVELLING, [SMALL, MEDIUM]),
    "cascade": ({"value.connection": "cascade"}, [SMALL]),
    "cascade with text": ({"value.connection": "cascade-text"}, [SMALL]),
}


def ivl(*arguments):
    result = subprocess.run([IVL, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
    return result.stdout


def recipe(settings, bases, output, seed):
    """A training configuration as TOML."""
    tables = {"": {"output": str(output), "seed": seed}}
    for key, value in (RECIPE | settings).items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    tables.setdefault("value", {}).setdefault("model", *bases[:1])
    if len(bases) == 1:
        tables[""]["base"] = bases[0]
    lines = []
    for table, entries in tables.items():
        lines += [f"[{table}]"] * bool(table) + [f"{key} = {json.dumps(value)}" for key, value in entries.items()] + [""]
    if len(bases) > 1:
        for base in bases:
            lines += ["[[bases]]", f"model = {json.dumps(base)}", ""]
    return "\n".join(lines)


def train(name, settings, bases, seed):
    """The directory of a value, trained unless it is there."""
    output = RUNS / f"{name}-{seed}"
    if not (output / "config.json").exists():
        config = RUNS / f"{name}-{seed}.toml"
        config.write_text(recipe(settings, bases, output, seed))
        resume = ["--resume"] if (output / "checkpoints").is_dir() else []
        ivl("train", config, "--quiet", *resume)
    return str(output)


def transfer(values, bases, out, *options):
    table = RUNS / out / "table.json"
    if not table.exists():
        ivl("transfer", "--value", *values, "--bases", *bases, "--out", RUNS / out, "--keep-card", "--quiet", *options)
    return json.loads(table.read_text())


def world():
    if not (DATA / "final-test.jsonl").exists():
        command = ["cargo", "run", "--quiet", "--release", "-p", "ivl-demo-models", "--example", "write_world", "--", DATA, "1"]
        subprocess.run(list(map(str, command)), check=True)


def fully(bases):
    """What values are compared with: every base after a fine-tuning by itself, as `ivl demo`'s full.toml says."""
    return [train(f"full-{pathlib.Path(base).name}", FULL | {"value.model": base}, [], seed)
            for base in bases for seed in FULL_SEEDS]


def travel():
    """The transfer table on the final test set, three seeds, with the weight that does best on the held-out questions."""
    values = [train("value", TRAVELLING, [SMALL], seed) for seed in SEEDS]
    chosen = transfer(values, BASES, "weights", "--data", DATA / "held-out.jsonl", "--alphas", ALPHAS, "--limit", QUESTIONS)
    alphas = sorted({1.0, chosen["verdict"]["alpha"]})
    for alpha in alphas:
        out = f"travel-{alpha}"
        final = ["--data", DATA / "final-test.jsonl", "--alphas", alpha, "--full-finetunes", *fully(BASES)]
        transfer(values, BASES, out, *final)
        print((RUNS / out / "table.md").read_text())
    print("### On held-out questions, by the weight of the value\n")
    print((RUNS / "weights" / "table.md").read_text())


def kinds():
    """Connections and regularisers, on the held-out questions: at home (small) and away."""
    first = None
    print("| trained | small | medium | large | continued | other | KL, large |")
    print("|---|---|---|---|---|---|---|")
    for index, (name, (settings, bases)) in enumerate(VARIANTS.items()):
        values = [train(f"kind-{index}", settings, bases, seed) for seed in SEEDS]
        # A cascade value reads the base's own vocabulary.
        asked = BASES[:4] if "cascade" in name else BASES
        options = ["--data", DATA / "held-out.jsonl", "--alphas", "1", "--limit", QUESTIONS]
        table = transfer(values, asked, f"kind-{index}", *options)
        first = first or table
        cells = []
        for base in table["bases"]:
            right = [100 * mean for mean in base["with"][0]["exact_match"]["by_seed"]]
            cells.append(f"{statistics.mean(right):.1f} ± {statistics.stdev(right):.1f}")
        cells += ["-"] * (len(BASES) - len(asked))
        kl = table["bases"][2]["with"][0]["kl"]["mean"]
        print(f"| {name} | " + " | ".join(cells) + f" | {kl:.2f} |", flush=True)
    alone = [f"{100 * base['alone']['exact_match']['mean']:.1f}" for base in first["bases"]]
    print("| nothing: the base alone | " + " | ".join(alone) + " | 0 |")


def gates():
    """Passes of the value that a gate saves while 99% of the choices stay as they are, on the held-out answers."""
    value = train("value", TRAVELLING, [SMALL], SEEDS[0])
    print("| base | choices that the value changes | entropy gate | margin gate | skipping at random |")
    print("|---|---|---|---|---|")
    for base in BASES[:4]:
        curve = json.loads(ivl("explain", "--base", base, "--value", value, "--file", DATA / "held-out.jsonl",
                               "--gate-curve", "--json", "--quiet"))
        def saved(signal):
            point = next(best["point"] for best in curve[signal]["best"] if best["agreement"] == 0.99)
            return f"{100 * point['skipped']:.1f}% (at {point['threshold']:.3f})" if point else "0%"
        random = next(best["skipped"] for best in curve["random"] if best["agreement"] == 0.99)
        cells = [pathlib.Path(base).name, f"{100 * curve['flip_rate']:.1f}%", saved("entropy"), saved("margin"),
                 f"{100 * random:.1f}%"]
        print("| " + " | ".join(cells) + " |", flush=True)


STUDIES = {"travel": travel, "kinds": kinds, "gates": gates}


def main():
    RUNS.mkdir(parents=True, exist_ok=True)
    world()
    for name in sys.argv[1:] or STUDIES:
        began = time.time()
        print(f"\n## {name}\n", flush=True)
        STUDIES[name]()
        print(f"\n{name} took {time.time() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
