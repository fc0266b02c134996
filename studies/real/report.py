"""Tables and the picture of the study, from studies/real/results.jsonl. Prints Markdown; writes the picture beside the page.

python studies/real/report.py [--svg docs/does-it-work.svg]
"""

import argparse
import pathlib

from cells import Cells
from intervals import bits, gain, gap_share, mean, wilson
from picture import picture
from plan import named
from skills import SKILLS, read

HERE = pathlib.Path(__file__).parent
NAMES = {
    "smollm2-135m": "SmolLM2 135M",
    "gemma3-270m": "Gemma 3 270M",
    "qwen2.5-coder-0.5b": "Qwen 0.5B",
    "qwen2.5-coder-1.5b": "Qwen 1.5B",
}
# Conditions that add something to the base's logits.
FUSED = ("value", "weighted", "gated", "paired", "bytes", "both", "proxy", "difference")
CONDITIONS = ["alone", "few-shot", "tuned", *FUSED, "distilled"]
FAMILIES = {"smollm2-135m": "smollm2", "gemma3-270m": "gemma3"}


def evaluations(cells, skill):
    """Cells of a skill as (condition, home, base, cell), in the order of `CONDITIONS`."""
    found = [(*key.split("/")[1:], cell) for key, cell in cells.cells.items() if key.startswith(f"{skill}/")]
    return sorted(
        found, key=lambda cell: (CONDITIONS.index(named(cell[0])[0]), cell[0], list(NAMES).index(cell[1]) if cell[1] in NAMES else -1)
    )


def right_answers(cells, skill):
    """By condition, home and base, whether each answer is right by the first verdict of the skill."""
    verdict = SKILLS[skill].verdicts[0]
    return {(condition, home, base): bits(cell["verdicts"][verdict]) for condition, home, base, cell in evaluations(cells, skill)}


def label(condition, home, base):
    name = NAMES.get(home, "")
    condition, variant, seed = named(condition)
    notes = ([variant] if variant else []) + ([f"seed {seed}"] if seed else [])
    through = "" if FAMILIES.get(home, "qwen") == FAMILIES.get(base, "qwen") else ", through a map"
    return {
        "alone": "alone",
        "few-shot": "few-shot",
        "tuned": "LoRA of this base",
        "value": f"value of {name}{through}",
        "weighted": f"value of {name} at this base's weight{through}",
        "gated": f"value of {name} with a gate{through}",
        "distilled": f"one model, distilled from this base and the value of {name}",
        "paired": f"value made of {name} and its LoRA{through}",
        "bytes": f"value of {name}, over bytes",
        "both": f"value of {name}, trained against both{through}",
        "proxy": f"proxy tuning from {name}{through}",
        "difference": f"proxy tuning from {name} in one pass{through}",
    }[condition] + (f" ({', '.join(notes)})" if notes else "")


def percent(share):
    return f"{100 * share:.1f}"


def interval(pair):
    return f"[{100 * pair[0]:.0f}, {100 * pair[1]:.0f}]"


def table(cells, skill):
    names = SKILLS[skill].verdicts
    found = evaluations(cells, skill)
    columns = right_answers(cells, skill)
    print(f"| base | what answers | {' | '.join(names)} | loss | loss, general text | share of the gap | questions |")
    print("|---|---|" + "---:|" * (len(names) + 4))
    for base in NAMES:
        for condition, home, other, cell in found:
            if other != base:
                continue
            right = bits(cell["verdicts"][names[0]])
            first = f"{percent(mean(right))} {interval(wilson(sum(right), len(right)))}"
            others = [percent(mean(bits(cell["verdicts"][name]))) for name in names[1:]]
            losses = [f"{cell[name]:.3f}" if name in cell else "" for name in ["loss", "text_loss"]]
            share = shown_share(columns, condition, home, base)
            print(
                f"| {NAMES[base]} | {label(condition, home, base)} | "
                + " | ".join([first, *others, *losses, share, str(len(right))])
                + " |"
            )


def shown_share(columns, condition, home, base):
    """Share of the gap between the base alone and its LoRA fine-tuning, in the first verdict."""
    alone, tuned = columns.get(("alone", "-", base)), columns.get(("tuned", "-", base))
    if condition in ("alone", "tuned") or not alone or not tuned:
        return ""
    right = columns[condition, home, base]
    count = min(map(len, [alone, tuned, right]))
    found = gap_share(alone[:count], right[:count], tuned[:count])
    return "no gap" if found is None else f"{100 * found[0]:.0f}% {interval(found[1])}"


def costs(cells):
    print("| training | steps | processor minutes | peak MiB | last loss |\n|---|---:|---:|---:|---:|")
    for key, cell in cells.cells.items():
        if key.startswith("training "):
            cost, last = cell["cost"], cell["last"]
            minutes = f"{cost['processor_seconds'] / 60:.1f}" + (" (resumed: more)" if cell["resumed"] else "")
            print(f"| {key.removeprefix('training ')} | {last['step']} | {minutes} | {cost['peak_mib']} | {last['loss']:.3f} |")


def weights(cells):
    """The best weight of each value on each base, and the loss of the held-out demonstrations at it."""
    print("| skill | value of | base | best weight | loss alone | at 1 | at the best |\n|---|---|---|---:|---:|---:|---:|")
    for key, cell in cells.cells.items():
        if key.startswith("weight "):
            skill, _, home, base = key.removeprefix("weight ").split("/")
            best, losses = cell["best_alpha"], dict(zip(cell["alphas"], cell["losses"]))
            print(
                f"| {skill} | {NAMES[home]} | {NAMES[base]} | {best['value']} [{best['low']}, {best['high']}] "
                f"| {cell['alone']:.3f} | {losses[1.0]:.3f} | {losses[best['value']]:.3f} |"
            )


def gate_fits(cells):
    """Losses with and without a gate, on the base that it was fitted on, of rows that it was and was not fitted on."""
    print("| value | rows | alone | without a gate | best constant | with the gate | processor minutes |\n|---|---|" + "---:|" * 5)
    for key, cell in cells.cells.items():
        if key.startswith("gate-fit "):
            for name, rows in [("fitted", "fitted"), ("held_out", "not fitted")]:
                losses = cell["gate"][name]
                figures = [f"{losses[loss]:.4f}" for loss in ["alone", "ungated", "constant", "gated"]]
                minutes = f"{cell['cost']['processor_seconds'] / 60:.1f}"
                print(f"| {key.removeprefix('gate-fit ')} | {losses['rows']} {rows} | {' | '.join([*figures, minutes])} |")


def speeds(cells):
    """Time of a decoded token relative to the base alone: medians of three runs in turn."""
    for skill, condition, home, base, cell in measured(cells, "speed"):
        ratios = sorted(alone / fused for alone, fused in zip(cell["alone"], cell["with"]))
        print(f"- {skill}, {NAMES[base]}, {label(condition, home, base)}: {ratios[len(ratios) // 2]:.2f} times as long")


def gates(cells):
    """Passes of a value that a gate saves while 99% of the choices stay."""
    print("| skill | base | what answers | positions | changed by the value | entropy | margin | at random |\n|---|---|---|" + "---:|" * 5)
    for skill, condition, home, base, cell in measured(cells, "gate"):
        figures = " | ".join(f"{percent(cell[name])}%" for name in ["changed", "entropy", "margin", "random"])
        print(f"| {skill} | {NAMES[base]} | {label(condition, home, base)} | {cell['positions']} | {figures} |")


def side_effects(cells):
    """Losses of the other skills' answers; length and repetition of the answers of its own skill."""
    names = " | ".join(f"loss, {skill}" for skill in SKILLS)
    print(f"| skill | base | what answers | {names} | characters | repetition |\n|---|---|---|" + "---:|" * (len(SKILLS) + 2))
    for skill, condition, home, base, cell in measured(cells, "side-effects"):
        answers = cells["/".join([skill, condition, home, base])]
        losses = {**cell["losses"], skill: answers["loss"]}
        figures = [f"{losses[name]:.3f}" for name in SKILLS] + [f"{answers['characters']:.0f}", f"{percent(cell['repetition'])}%"]
        print(f"| {skill} | {NAMES[base]} | {label(condition, home, base)} | {' | '.join(figures)} |")


def measured(cells, measure):
    """Cells of `study.py --measure`, as (skill, condition, home, base, cell)."""
    found = [(*key.removeprefix(f"{measure} ").split("/"), cell) for key, cell in cells.cells.items() if key.startswith(f"{measure} ")]
    return sorted(found, key=lambda cell: (list(SKILLS).index(cell[0]), list(NAMES).index(cell[3]), CONDITIONS.index(named(cell[1])[0])))


def by_seed(cells, skill):
    """Right answers of all trainings that differ by their seed, by condition without it, home and base."""
    groups = {}
    for (condition, home, base), right in right_answers(cells, skill).items():
        groups.setdefault((condition.partition("@")[0], home, base), []).append(right)
    return groups


def seeds(cells):
    """Right answers of conditions that were trained with several seeds."""
    print("| skill | base | what answers | each seed | mean |\n|---|---|---|---|---:|")
    for skill in SKILLS:
        for (condition, home, base), runs in by_seed(cells, skill).items():
            if len(runs) > 1:
                shares = [mean(right) for right in runs]
                each = ", ".join(map(percent, shares))
                print(f"| {skill} | {NAMES[base]} | {label(condition, home, base)} | {each} | {percent(mean(shares))} |")


def gains(cells):
    """Gains of values over the base alone, paired."""
    for skill in SKILLS:
        found = right_answers(cells, skill)
        for (condition, home, base), right in found.items():
            alone = found.get(("alone", "-", base))
            if named(condition)[0] in FUSED and alone:
                difference, pair = gain(alone, right)
                print(f"- {skill}, {NAMES[base]}, {label(condition, home, base)}: {100 * difference:+.1f} points {interval(pair)}")


def samples(cells, skill, rows):
    """Answers to the first three questions, by base, alone and with a value."""
    for condition, home, base, cell in evaluations(cells, skill):
        if condition in ("alone", "value"):
            print(f"\n**{NAMES[base]}, {label(condition, home, base)}**\n")
            for row, answer in zip(rows, cell["answers"]):
                print(f"- {row['prompt'].splitlines()[-2] if skill == 'records' else row['prompt']}\n  `{answer.strip()[:160]!r}`")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=HERE / "results.jsonl")
    parser.add_argument("--svg", type=pathlib.Path)
    parser.add_argument("--samples", type=pathlib.Path, help="folder of the runs, to print the first three answers of each base")
    options = parser.parse_args()
    cells = Cells(options.results)
    for skill in SKILLS:
        if evaluations(cells, skill):
            print(f"\n### {skill}\n")
            table(cells, skill)
    for title, print_figures in {"Seeds": seeds, "Gains": gains, "Gates": gates, "Side effects": side_effects}.items():
        print(f"\n### {title}\n")
        print_figures(cells)
    print("\n### Weights\n")
    weights(cells)
    print("\n### Learned gates\n")
    gate_fits(cells)
    print("\n### Time of a decoded token\n")
    speeds(cells)
    print("\n### Trainings\n")
    costs(cells)
    for skill in SKILLS if options.samples else []:
        if evaluations(cells, skill):
            print(f"\n### Answers, {skill}")
            samples(cells, skill, read(options.samples / skill / "test.jsonl")[:3])
    if options.svg:
        options.svg.write_text(picture(bars(cells)))


def bars(cells):
    """(skill, base, label, share, low, high) of every value whose base has a gap; right answers are means over seeds."""
    for skill in SKILLS:
        found = right_answers(cells, skill)
        for (condition, home, base), runs in by_seed(cells, skill).items():
            alone, tuned = found.get(("alone", "-", base)), found.get(("tuned", "-", base))
            is_compared = condition in (*FUSED, "distilled", "few-shot") and alone and tuned
            over_seeds = [mean(answers) for answers in zip(*runs)]
            share = gap_share(alone, over_seeds, tuned) if is_compared else None
            if share:
                seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
                yield skill, NAMES[base], label(condition, home, base) + seeds, share[0], *share[1]


if __name__ == "__main__":
    main()
