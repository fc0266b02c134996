"""Compares regularisations that keep a value from depending on its training base, over three seeds.

    cargo build --release --workspace --bin ivl
    python examples/first-value/make_data.py            # the corpus; needs the package `tokenizers`
    python examples/first-value/study.py                # about ten minutes on two cores

Run from the root of the repository. Pre-trains two more bases (`sibling`, the shape of `small` from another seed, and
`medium`) into runs/study, trains values against `small` under each setting, and against several bases, and measures the
held-out loss on `small` (home) and on `large` (away), which no run trains against.
"""

import json
import os
import pathlib
import statistics
import subprocess

HERE = "examples/first-value"
IVL = os.environ.get("IVL", "target/release/ivl")
RUNS = pathlib.Path("runs/study")
SEEDS = [1, 2, 3]
SMALL = f"{HERE}/small"
FREE = {"regularization.l1": 0.0}
MANY = [SMALL, str(RUNS / "sibling"), str(RUNS / "medium")]
# Name, settings, bases.
VARIANTS = [
    ("none", FREE, [SMALL]),
    ("L1, weight 0.05", {"regularization.l1": 0.05}, [SMALL]),
    ("L1, weight 1 (the paper's)", {"regularization.l1": 1.0}, [SMALL]),
    ("L2, weight 0.05", FREE | {"regularization.l2": 0.05}, [SMALL]),
    ("KL, weight 0.1", FREE | {"regularization.kl": 0.1}, [SMALL]),
    ("base temperature 2", FREE | {"regularization.base_temperature": 2.0}, [SMALL]),
    ("base noise 1", FREE | {"regularization.base_noise": 1.0}, [SMALL]),
    ("base dropout 0.2", FREE | {"regularization.base_dropout": 0.2}, [SMALL]),
    ("base dropout 0.5", FREE | {"regularization.base_dropout": 0.5}, [SMALL]),
    ("2 bases, sample", FREE, MANY[:2]),
    ("3 bases, sample", FREE, MANY),
    ("3 bases, average", FREE | {"mixing.strategy": "average"}, MANY),
    ("3 bases, worst", FREE | {"mixing.strategy": "worst"}, MANY),
    ("3 bases, average, L1 0.05", {"regularization.l1": 0.05, "mixing.strategy": "average"}, MANY),
    ("3 bases, average, base dropout 0.2", FREE | {"regularization.base_dropout": 0.2, "mixing.strategy": "average"}, MANY),
    ("LoRA value, rank 8", FREE | {"value.lora.rank": 8, "value.lora.alpha": 16.0}, [SMALL]),
    ("cascade, none", FREE | {"value.connection": "cascade"}, [SMALL]),
    ("cascade with text, none", FREE | {"value.connection": "cascade-text"}, [SMALL]),
    ("no base: full fine-tuning of `small`", FREE, []),
]


def ivl(config, settings, output):
    report = output / "report.json"
    if report.exists():
        return json.loads(report.read_text())
    sets = [f"{key}={json.dumps(value)}" for key, value in (settings | {"output": str(output)}).items()]
    command = [IVL, "train", config, "--json", "--quiet", *[part for s in sets for part in ("--set", s)]]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report.write_text(result.stdout)
    return json.loads(result.stdout)


def pretrain(name, seed, overrides):
    settings = {f"value.overrides.{key}": value for key, value in overrides.items()}
    settings |= {"seed": seed, "value.model": f"{HERE}/shape-small"}
    ivl(f"{HERE}/pretrain.toml", settings, RUNS / name)


def train(index, variant, seed):
    name, settings, bases = variant
    config = RUNS / f"variant-{index}.toml"
    text = pathlib.Path(f"{HERE}/train.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("base =")]
    lines += [line for base in bases for line in ("[[bases]]", f'model = "{base}"')]
    if not bases:
        lines = [line for line in lines if not line.startswith("bases =")]
    config.write_text("\n".join(lines) + "\n")
    report = ivl(str(config), settings | {"seed": seed}, RUNS / f"variant-{index}-{seed}")
    losses = {eval["base"]: eval["loss"] for eval in report["evals"]}
    if not bases:
        return losses[None], None, None
    away = next(eval for eval in report["evals"] if eval["base"] == f"{HERE}/large")
    return losses[SMALL], away["loss"], away["kl"]


def main():
    RUNS.mkdir(parents=True, exist_ok=True)
    pretrain("sibling", 7, {})
    pretrain("medium", 8, {"hidden_size": 48, "intermediate_size": 144, "head_dim": 12})
    print("| setting | home: `small` | away: `large` | KL(fused, base) away |")
    print("|---|---|---|---|")
    for index, variant in enumerate(VARIANTS):
        columns = zip(*[train(index, variant, seed) for seed in SEEDS])
        cells = ["-" if None in c else f"{statistics.mean(c):.3f} ± {statistics.stdev(c):.3f}" for c in columns]
        print(f"| {variant[0]} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
