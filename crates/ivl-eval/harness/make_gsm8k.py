"""What lm-evaluation-harness takes from answers with the filters of its gsm8k.yaml, and whether that is right.

    pip install "lm-eval==0.4.13"
    python make_gsm8k.py                         writes tests/fixtures/gsm8k.jsonl from answers of our own
    python make_gsm8k.py SOLUTIONS.jsonl OUT     the same for example_model_solutions.jsonl of openai/grade-school-math
"""

import json
import pathlib
import random
import sys

import yaml
import lm_eval.tasks
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

HERE = pathlib.Path(__file__).resolve().parent
TASK = yaml.safe_load((pathlib.Path(lm_eval.tasks.__file__).parent / "gsm8k/gsm8k.yaml").read_text())
[METRIC] = TASK["metric_list"]
SETTINGS = {key: METRIC[key] for key in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")}


def verdict(response, target):
    out = {"response": response, "target": target}
    for entry in TASK["filter_list"]:
        regex = RegexFilter(**{key: value for key, value in entry["filter"][0].items() if key != "function"})
        [[taken]] = regex.apply([[response]], [{}])
        right = exact_match_hf_evaluate(predictions=[taken], references=[target], **SETTINGS)["exact_match"]
        out[entry["name"]] = [taken, bool(right)]
    return out


def own(draw):
    numbers = ["18", "1,234", "$7", "-3", "2.50", "0", "1,000,000", "$1,250.00", ".5", "12.", "٣", "007", "3/4", "5%", "", "eleven"]
    frames = ["{}", "#### {}", "x\n#### {}", "####{}", "#### ${}", "The answer is {}.", "{} apples and {} pears", "#### {}\n#### {}", "$ {}", "({})",
              "It is <<1+{}={}>> so\n#### {}.", "#### {} dollars", "... {} ...", "--{}", "#### -{}", "A: {}\n\nQuestion: {}", "\u00a0{}\u2003", "#### {}\0"]
    for _ in range(300):
        frame, number = draw.choice(frames), draw.choice(numbers)
        answer = frame.format(*(draw.choice([number, number, draw.choice(numbers)]) for _ in range(3)))
        yield verdict(answer, draw.choice(["He has that.\n#### {}", "#### {}", "#### {}."]).format(draw.choice([number, number, draw.choice(numbers)])))


def others(path):
    for row in map(json.loads, open(path)):
        for value in row.values():
            if isinstance(value, dict):
                yield verdict(value["solution"].replace("\nA: ", "\n#### "), row["ground_truth"].replace("\nA: ", "\n#### "))


def main():
    if sys.argv[1:]:
        solutions, out = sys.argv[1:]
        cases = others(solutions)
    else:
        out, cases = HERE / "../tests/fixtures/gsm8k.jsonl", own(random.Random(20261124))
    with open(out, "w") as file:
        file.writelines(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)


main()
