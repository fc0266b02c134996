"""The three skills of the study: demonstrations, tests and verdicts, fixed before anything was run.

gsm8k         Demonstrations: the first 480 training questions of GSM8K, in its own format. Test: the first 200 test questions.
              `strict`: the number after `####` is right. `flexible`: the last number is.
records       Demonstrations: 160 sentences about payments and their records, generated with seed 1. Test: 200 others, with other names
              and with other patterns in half of them. `exact`: the record and nothing else. `valid`: any record. `flexible`: the right
              record anywhere in the answer.
instructions  Demonstrations: Self-Instruct's seed tasks but the last 32. Test: the first 200 prompts of IFEval. `strict`: all verifiable
              instructions of a prompt are followed. Loss on the last 32 tasks.

The first verdict of a skill is the one that its share of the gap is about. Loss is measured on the right answers
to the first `LOSS_ROWS` rows of the test, and on general text: other instructions, other questions. The weight of a value is chosen on
`HELD_OUT` further demonstrations.
"""

import json
import pathlib

import records

LOSS_ROWS, HELD_OUT = 64, 32
TASK = """task = {name}
output_type = "generate_until"
data = "test.jsonl"
fewshot_data = "train.jsonl"
doc_to_text = {text}
doc_to_target = "{{{{completion}}}}"
target_delimiter = {delimiter}
generation_kwargs = {{ until = {until}, max_gen_toks = {tokens} }}
{metrics}
"""
GSM8K_METRICS = r"""
[[metric_list]]
metric = "exact_match"
ignore_case = true
regexes_to_ignore = [',', '\$', '(?s).*#### ', '\.$']
[[filter_list]]
name = "strict"
filter = [{ function = "regex", regex_pattern = '#### (\-?[0-9\.\,]+)' }, { function = "take_first" }]
[[filter_list]]
name = "flexible"
filter = [{ function = "regex", group_select = -1, regex_pattern = '(-?[$0-9.,]{2,})|(-?[0-9]+)' }, { function = "take_first" }]
"""


class Skill:
    """Rows of `prompt` and `completion`, written below a folder; how an answer is judged."""

    def __init__(self, name, verdicts, until, tokens, fewshot, metrics):
        self.name, self.verdicts, self.until, self.tokens, self.fewshot, self.metrics = name, verdicts, until, tokens, fewshot, metrics

    def prepare(self, folder, data):
        """Writes all rows and the task file; the same bytes whenever it is called."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in {**ROWS[self.name](data), "text": general_text(self.name, data)}.items():
            write(folder / f"{name}.jsonl", rows)
        fields = {"name": self.name, "text": "{{prompt}}", "delimiter": "", "until": self.until, "tokens": self.tokens}
        quoted = {key: json.dumps(value) for key, value in fields.items()}
        (folder / "task.toml").write_text(TASK.format(metrics=self.metrics, **quoted))
        return folder

    def judge(self, sample, row):
        """The verdicts on a line of `ivl eval`'s samples."""
        if self.name == "records":
            return records.verdicts(sample["answer"]["response"], row["completion"])
        key = {"gsm8k": "exact_match,{}", "instructions": "prompt_level_{}_acc,none"}[self.name]
        return {name: sample[key.format(name)] == 1.0 for name in self.verdicts}


def write(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def read(path):
    # Not `splitlines`, which also ends a line at separators inside a string.
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


def gsm8k(data):
    """GSM8K in the format of lm-evaluation-harness."""
    parts = {}
    for part, count in [("train", 480 + HELD_OUT), ("test", 200)]:
        rows = read(pathlib.Path(data) / f"gsm8k/{part}.jsonl")[:count]
        parts[part] = [{"prompt": f"Question: {row['question']}\nAnswer:", "completion": " " + row["answer"]} for row in rows]
    train, test = parts["train"], parts["test"]
    return {"train": train[:480], "held-out": train[480:], "test": test, "loss": test[:LOSS_ROWS]}


def payments(_):
    # The first 160 rows do not depend on how many follow.
    parts = [records.rows("train", 160 + HELD_OUT, 1), records.rows("test", 200, 1)]
    train, test = [[{"prompt": records.prompt(row["sentence"]), "completion": " " + row["record"]} for row in rows] for rows in parts]
    return {"train": train[:160], "held-out": train[160:], "test": test, "loss": test[:LOSS_ROWS]}


def instructions(data):
    tasks = []
    for task in read(pathlib.Path(data) / "self-instruct/seed_tasks.jsonl"):
        instance = task["instances"][0]
        tasks.append(
            {"prompt": f"{task['instruction']}\n\n{instance['input']}".strip() + "\n\nAnswer:", "completion": " " + instance["output"]}
        )
    tests = read(pathlib.Path(data) / "ifeval/input_data.jsonl")[:200]
    tests = [{**row, "prompt": row["prompt"] + "\n\nAnswer:", "completion": ""} for row in tests]
    # Self-Instruct has too few tasks for both: the weight is chosen on the rows of the loss, which says nothing about a weighted value.
    return {"train": tasks[:-HELD_OUT], "held-out": tasks[-HELD_OUT:], "test": tests, "loss": tasks[-HELD_OUT:]}


def general_text(skill, data):
    """English that has nothing to do with the skill, to see what a value does where it has nothing to say."""
    if skill == "instructions":
        return [{"text": row["question"]} for row in read(pathlib.Path(data) / "gsm8k/test.jsonl")[:LOSS_ROWS]]
    return [{"text": task["instruction"]} for task in read(pathlib.Path(data) / "self-instruct/seed_tasks.jsonl")[:LOSS_ROWS]]


ROWS = {"gsm8k": gsm8k, "records": payments, "instructions": instructions}
RIGHT = 'metric_list = [{ metric = "exact_match" }]'
SKILLS = {
    "gsm8k": Skill("gsm8k", ["strict", "flexible"], ["Question:"], 256, 5, GSM8K_METRICS),
    "records": Skill("records", ["exact", "valid", "flexible"], ["\nPayment:"], 80, 3, RIGHT),
    "instructions": Skill("instructions", ["strict"], ["\n\n\n"], 256, 3, 'metric_list = [{ metric = "ifeval" }]'),
}
