"""The study on real models: three skills, values at home and away, and what they compete with. Tables of docs/does-it-work.md.

    cargo build --release --workspace --bin ivl
    python studies/real/study.py MODELS DATA [SKILL/CONDITION/HOME/BASE ...]     # runs what is not in results.jsonl yet
    python studies/real/study.py MODELS DATA --measure gate CELL ...             # also speed, side-effects
    python studies/real/study.py --plan                                          # the cells in order of worth, and which are there
    python studies/real/report.py                                                # tables and picture from results.jsonl

MODELS has smollm2-135m, gemma3-270m, qwen2.5-coder-0.5b and qwen2.5-coder-1.5b as directories or NAME.gguf; DATA has
gsm8k/{train,test}.jsonl (github.com/openai/grade-school-math), self-instruct/seed_tasks.jsonl (github.com/yizhongw/self-instruct), and
ifeval/input_data.jsonl (google-research). `skills.py` fixes the skills. Everything is written below runs/real and reused; each
cell is appended to studies/real/results.jsonl, so that the study goes on after an interruption, and on another machine. Needs only the
standard library.

| condition | what answers |
|---|---|
| `alone` | the base |
| `few-shot` | the base after the first demonstrations (5 of GSM8K, 3 elsewhere) in its prompt |
| `value` | the base with the value trained on HOME; through the map `hybrid` where vocabularies differ |
| `weighted` | the same value at the weight that `ivl transfer` finds best for this base on held-out demonstrations |
| `gated` | a copy of the value with a gate that `ivl gate` fitted on HOME to held-out demonstrations of the skill |
| `bytes` | the value, fused over bytes |
| `both` | the same value trained against HOME and the base together, through the map |
| `paired` | a value made of the pair HOME and tuned HOME, which reproduces the tuned model on the demonstrations |
| `tuned` | the base with LoRA adapters trained on it: the end of the gap, and for a small base its own competitor |
| `proxy` | proxy tuning: the base, plus the tuned HOME, minus HOME |
| `difference` | the same in one pass of HOME, by `--adapter-difference` |
| `distilled` | adapters on the base that `ivl distill` fitted to base and value, on answers of both to the demonstrations' prompts |

`value+NAME` trains the value with a setting of `VARIANTS` (plan.py), `value@N` with seed N; so do the other conditions with a training.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess

from cells import Cells, run
from plan import ALPHAS, ORDER, STEPS, VARIANTS, named
from skills import SKILLS, read

HERE = pathlib.Path(__file__).parent
RUNS = pathlib.Path(os.environ.get("RUNS", "runs/real"))
IVL = os.environ.get("IVL", "target/release/ivl")


def quoted(text):
    return json.dumps(str(text))


def mean_loss(scored):
    """Nats per token in the output of `ivl score --json`: a total for demonstrations, a line for each text."""
    lines = [json.loads(line) for line in scored.split("\n") if line]
    if "total" in lines[-1]:
        return lines[-1]["total"]["loss"]
    logprobs = [logprob for line in lines for logprob in line["logprobs"] if logprob is not None]
    return -sum(logprobs) / len(logprobs)


def agreeing(points):
    """The entry of a list of agreements that is for 99%."""
    return next(point for point in points if point["agreement"] == 0.99)


def repetition(text):
    """The share of four-word sequences that occurred before in the text; Welleck et al. 2019, arXiv 1908.04319."""
    words = text.split()
    sequences = [tuple(words[at : at + 4]) for at in range(len(words) - 3)]
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0


class Study:
    """Runs cells, and the trainings that they need."""

    def __init__(self, models, data, results):
        self.models, self.data, self.cells = pathlib.Path(models), data, Cells(results)
        self.version = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HERE).stdout.strip()

    def model(self, name):
        directory = self.models / name
        return directory if directory.is_dir() else self.models / f"{name}.gguf"

    def shown(self, text):
        """A text for the results, without the place of the models on this machine."""
        return text.replace(str(self.models), "MODELS")

    def folder(self, skill):
        return SKILLS[skill].prepare(RUNS / skill, self.data)

    def trained(self, skill, kind, home, away=None, variant="", seed=""):
        """The directory of a value or of adapters, and its cell; trained unless it is there."""
        name = f"{kind}-{home}" + (f"-{away}" if away else "") + (f"+{variant}" if variant else "") + (f"@{seed}" if seed else "")
        settings = ([VARIANTS[variant]] if variant else []) + ([f"seed={seed}"] if seed else [])
        output = RUNS / skill / name
        key = f"training {skill}/{name}"

        def make():
            config = output.with_name(f"{name}.toml")
            config.write_text(self.configuration(skill, kind, home, away, output))
            options = [option for setting in settings for option in ["--set", setting]]
            # An earlier call may have finished the training without writing the cell: --resume changes nothing then.
            resume = ["--resume"] if (output / "checkpoints").is_dir() else []
            _, cost = run([IVL, "train", config, *options, *resume], RUNS / "logs" / f"{skill}-{name}.log")
            steps = [line for line in read(output / "metrics.jsonl") if "loss" in line]
            return {
                "cost": cost,
                "resumed": bool(resume),
                "configuration": self.shown(config.read_text()),
                "settings": settings,
                "last": steps[-1],
                "ivl": self.version,
            }

        return self.made(key, output, make)

    def made(self, key, output, make):
        """A directory of adapters and its cell; made again on another machine, where the cell is there and the directory is not."""
        if self.cells.get(key) and not (output / "adapter_config.json").exists():
            make()
        self.cells.once(key, make)
        return output

    def gated(self, skill, value, home):
        """The directory of a copy of a value with a gate, and its cell, with the losses before and after.

        The gate is kept even if it does not help on the rows that it was not fitted on: the cell says so.
        """
        output = value.with_name(f"gated-{value.name}")
        rows = self.folder(skill) / "held-out.jsonl"
        command = [IVL, "gate", "--base", self.model(home), "--value", output, "--data", rows, "--force", *COMMON]

        def make():
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(value, output, ignore=shutil.ignore_patterns("checkpoints"))
            report, cost = run(command, RUNS / "logs" / f"{skill}-{output.name}.log")
            found = json.loads(self.shown(report))
            return {
                "cost": cost,
                "command": self.shown(" ".join(map(str, command[1:]))),
                "helps": found["helps"],
                "gate": found["gate"],
                "ivl": self.version,
            }

        return self.made(f"gate-fit {skill}/{value.name}", output, make)

    def distilled(self, skill, value, home, base):
        """The directory of one model from a base and a value, and its cell."""
        output = RUNS / skill / f"distilled-{home}-{base}"
        command = [IVL, "distill", "--base", self.model(base), "--value", value, "--map", "hybrid", "--out", output, "--sample"]
        command += ["--data", self.folder(skill) / "train.jsonl", "--max-new-tokens", SKILLS[skill].tokens]
        command += [option for line in STEPS[skill].split("\n") for option in ["--set", f"steps.{line.replace(' ', '')}"]]

        def make():
            _, cost = run(command, RUNS / "logs" / f"{skill}-{output.name}.log")
            return {"cost": cost, "command": self.shown(" ".join(map(str, command[1:]))), "ivl": self.version}

        return self.made(f"distilling {skill}/{home}-{base}", output, make)

    def configuration(self, skill, kind, home, away, output):
        train = quoted(self.folder(skill) / "train.jsonl")
        models = self.trained_models(skill, kind, home, away)
        return f"output = {quoted(output)}\n{models}\n[data]\ntrain = [{train}]\n[steps]\n{STEPS[skill]}\n"

    def trained_models(self, skill, kind, home, away):
        """The part of a configuration that says which models are trained, and against which."""
        model = quoted(self.model(home))
        match kind:
            case "value":
                return f"base = {model}\n[value.lora]"
            case "tuned":
                return f"[value]\nmodel = {model}\n[value.lora]"
            case "paired":
                teacher = quoted(self.trained(skill, "tuned", home))
                return f'objective = "distill"\nbase = {model}\n[distill]\nteacher = {teacher}\n[value.lora]'
            case "both":
                other = quoted(self.model(away or home))
                bases = f'[[bases]]\nmodel = {model}\n[[bases]]\nmodel = {other}\nmap = "hybrid"'
                return f"{bases}\n[value]\nmodel = {model}\n[value.lora]"
        raise SystemExit(f"`{kind}` is no kind of training")

    def answering(self, skill, condition, home, base):
        """The options of a condition: base, values, maps."""
        plain, hybrid = ["--base", self.model(base)], ["--map", "hybrid"]
        condition, variant, seed = named(condition)

        def trained(kind, *models):
            return self.trained(skill, kind, *models, variant=variant, seed=seed)

        match condition:
            case "alone" | "few-shot":
                return plain
            case "tuned":
                return ["--base", trained("tuned", base)]
            case "value" | "paired":
                return [*plain, "--value", trained(condition, home), *hybrid]
            case "weighted":
                alpha = self.weight(skill, home, base)["best_alpha"]["value"]
                return [*plain, "--value", f"{trained('value', home)}:{alpha}", *hybrid]
            case "gated":
                return [*plain, "--value", self.gated(skill, trained("value", home), home), *hybrid]
            case "distilled":
                return ["--base", self.distilled(skill, trained("value", home), home, base)]
            case "bytes":
                return [*plain, "--value", trained("value", home), "--byte-fusion", self.model(home)]
            case "both":
                return [*plain, "--value", trained("both", home, base), *hybrid]
            case "difference":
                return [*plain, "--value", trained("tuned", home), "--adapter-difference", *hybrid]
            case "proxy":
                return [*plain, "--value", f"{trained('tuned', home)}:1", "--value", f"{self.model(home)}:-1", *hybrid]
        raise SystemExit(f"`{condition}` is no condition; the head of this file lists them")

    def weight(self, skill, home, base):
        """The cell of the weights of a value on a base: loss of held-out demonstrations at each, and the best."""

        def make():
            value, rows = self.trained(skill, "value", home), self.folder(skill) / "held-out.jsonl"
            command = [IVL, "transfer", "--value", value, "--bases", self.model(base), "--data", rows, "--map", "hybrid", "--no-answers"]
            command += ["--alphas", ",".join(map(str, ALPHAS)), *COMMON]
            output, cost = run(command, RUNS / "logs" / f"weight-{skill}-{home}-{base}.log")
            [found] = json.loads(output)["bases"]
            return {
                "cost": cost,
                "command": self.shown(" ".join(map(str, command[1:]))),
                "alone": found["alone"]["loss"]["mean"],
                "losses": [setting["loss"]["mean"] for setting in found["with"]],
                "alphas": ALPHAS,
                "best_alpha": found["best_alpha"],
                "covered": found["coverage"]["answers"],
                "ivl": self.version,
            }

        return self.cells.once(f"weight {skill}/value/{home}/{base}", make)

    def evaluated(self, key):
        """A cell `SKILL/CONDITION/HOME/BASE`: verdicts on every question, and the loss of the right answers."""
        skill, condition, home, base = key.split("/")
        if condition == "weighted" and self.weight(skill, home, base)["best_alpha"]["value"] == 1.0:
            return self.evaluated(f"{skill}/value/{home}/{base}")
        folder = self.folder(skill)

        def make():
            command, cost = self.answered(key)
            cell = {
                "cost": cost,
                "command": self.shown(" ".join(map(str, command[1:]))),
                "ivl": self.version,
                **self.judged(skill, self.samples(key), folder),
            }
            for name, file in [("loss", "loss.jsonl"), ("text_loss", "text.jsonl")] if condition != "few-shot" else []:
                cell[name] = self.loss(key, folder / file)
            return cell

        return self.cells.once(key, make)

    def answered(self, key):
        """Answers the test of a cell; the command and its cost."""
        skill, condition, home, base = key.split("/")
        folder, output = self.folder(skill), self.samples(key).parent
        output.mkdir(parents=True, exist_ok=True)
        shots = ["--num-fewshot", SKILLS[skill].fewshot] if condition == "few-shot" else []
        limit = ["--limit", LIMIT] if LIMIT else []
        command = [IVL, "eval", *self.answering(skill, condition, home, base), "--tasks", folder / "task.toml", "--output", output]
        command += ["--batch-size", BATCH, *shots, *limit, *COMMON]
        return command, run(command, self.log(key))[1]

    def samples(self, key):
        """The answers of a cell."""
        skill, condition, home, base = key.split("/")
        return RUNS / skill / "answers" / f"{condition}-{home}-{base}" / f"samples_{skill}.jsonl"

    def log(self, key):
        return RUNS / "logs" / f"{key.replace('/', '-')}.log"

    def loss(self, key, file):
        """Nats per token of a file's answers or texts, by what answers in a cell."""
        command = [IVL, "score", *self.answering(*key.split("/")), "--file", file, "--batch-size", 8, *COMMON]
        return mean_loss(run(command, self.log(key))[0])

    def side_effects(self, key):
        """What a condition does besides its skill: losses of the other skills' answers, repetition in its own."""
        skill, *_ = key.split("/")

        def make():
            if not self.samples(key).exists():
                self.answered(key)
            texts = [sample["answer"]["response"] for sample in read(self.samples(key))[1:]]
            others = {other: self.loss(key, self.folder(other) / "loss.jsonl") for other in SKILLS if other != skill}
            return {
                "losses": others,
                "repetition": round(sum(map(repetition, texts)) / len(texts), 4),
                "ivl": self.version,
            }

        return self.cells.once(f"side-effects {key}", make)

    def gate(self, key):
        """The share of a value's passes that a gate saves at 99% of agreement, over the right answers, beside a random one."""
        skill, *rest = key.split("/")

        def make():
            command = [IVL, "explain", *self.answering(skill, *rest), "--file", self.folder(skill) / "loss.jsonl", "--gate-curve", *COMMON]
            curve = json.loads(run(command, self.log(key))[0])
            points = {gate: agreeing(curve[gate]["best"])["point"] for gate in ("entropy", "margin")}
            return {
                "command": self.shown(" ".join(map(str, command[1:]))),
                "positions": curve["positions"],
                "changed": curve["flip_rate"],
                "random": agreeing(curve["random"])["skipped"],
                **{gate: point["skipped"] if point else 0.0 for gate, point in points.items()},
                "ivl": self.version,
            }

        return self.cells.once(f"gate {key}", make)

    def speed(self, key):
        """Tokens per second of a base alone and with what a cell adds, in turn, one row; only an idle machine tells the truth."""
        skill, condition, home, base = key.split("/")

        def make():
            plain, fused = self.answering(skill, "alone", home, base), self.answering(skill, condition, home, base)
            prompt = read(self.folder(skill) / "test.jsonl")[0]["prompt"]
            fixed = ["--prompt", prompt, "--max-new-tokens", 48, "--ignore-eos", *COMMON]
            log = RUNS / "logs" / "speed.log"
            pairs = [
                [json.loads(run([IVL, "generate", *options, *fixed], log)[0])["tokens_per_second"] for options in [plain, fused]]
                for _ in range(3)
            ]
            return {"alone": [pair[0] for pair in pairs], "with": [pair[1] for pair in pairs], "ivl": self.version}

        return self.cells.once(f"speed {key}", make)

    def judged(self, skill, file, folder):
        """Verdicts as strings of 0 and 1 in the order of the questions, and the length of the answers."""
        rows, samples = read(folder / "test.jsonl"), read(file)[1:]
        samples.sort(key=lambda sample: sample["doc_id"])
        verdicts = [SKILLS[skill].judge(sample, rows[sample["doc_id"]]) for sample in samples]
        strings = {name: "".join(str(int(verdict[name])) for verdict in verdicts) for name in SKILLS[skill].verdicts}
        texts = [sample["answer"]["response"] for sample in samples]
        return {
            "questions": len(samples),
            "verdicts": strings,
            "characters": round(sum(map(len, texts)) / len(texts), 1),
            "answers": texts[:SHOWN],
        }


# Rows per forward pass; type of the weights in evaluations; a smaller test for trying the script out.
BATCH, LIMIT = int(os.environ.get("BATCH", 16)), int(os.environ.get("LIMIT", 0))
COMMON = ["--quiet", "--json"] + (["--dtype", os.environ["DTYPE"]] if "DTYPE" in os.environ else [])
# The answers that docs show: those to the first three questions of the test, whatever they are.
SHOWN = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--plan", action="store_true", help="list the cells in order of worth, and which are done")
    parser.add_argument("--measure", choices=["speed", "gate", "side-effects"], help="this of the named cells, instead of answers")
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results.jsonl")
    options = parser.parse_args()
    if options.plan:
        there = Cells(options.results)
        for key in ORDER:
            print("done   " if there.get(key) else "missing", key)
        return
    if not options.data:
        parser.error("MODELS and DATA are required")
    study = Study(options.models, options.data, options.results)
    measures = {None: study.evaluated, "speed": study.speed, "gate": study.gate, "side-effects": study.side_effects}
    for key in options.cells or ORDER:
        measures[options.measure](key)


if __name__ == "__main__":
    main()
