"""lm-evaluation-harness against `ivl serve`: every log-probability of every sample is what `ivl score` says.

A wrong server gives plausible accuracies and no error, so samples are compared, not scores. With a tokenizer behind HTTP
the harness ignores `add_bos_token`, so the tasks write `<s>` themselves.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from server import EXAMPLE, ivl, serving

CITIES = ["Oslo", "Lima", "Cairo", "Paris", "Delhi", "Quito", "Turin", "Perth"]
CHOICE = """task: ivl_cities
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "<s>{{{{prompt}}}}"
doc_to_choice: {cities}
doc_to_target: "{{{{city}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
ROLLING = """task: ivl_texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{prompt}}}} {{{{city}}}}."
metric_list: [{{metric: word_perplexity}}]
"""
GENERATE = """task: ivl_answers
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "<s>{{{{prompt}}}}"
doc_to_target: "{{{{city}}}}"
generation_kwargs: {{until: ["."], do_sample: false, max_gen_toks: 12}}
metric_list: [{{metric: exact_match}}]
"""


def samples(directory, task):
    [file] = pathlib.Path(directory).rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.open()]


def scores(base, texts, directory, *value):
    file = pathlib.Path(directory) / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return ivl("score", "--base", base, *value, "--file", file)


def lm_eval(tasks, names, arguments):
    subprocess.run(
        [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments,
         "--tasks", names, "--include_path", tasks, "--batch_size", "4", "--log_samples", "--output_path", tasks / "out"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{tasks}/cache"},
    )


def run(address, base, model, value, directory):
    questions = [json.loads(line) for line in (EXAMPLE / "held-out.jsonl").open()]
    rows = [q | {"city": q["completion"].strip(" .")} for q in questions if "live" in q["prompt"]]
    tasks = pathlib.Path(directory)
    (tasks / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, yaml in (("choice", CHOICE), ("rolling", ROLLING), ("generate", GENERATE)):
        (tasks / f"{name}.yaml").write_text(yaml.format(file=tasks / "rows.jsonl", cities=json.dumps(CITIES)))
    common = f"model={model},base_url={address}/v1/completions,num_concurrent=4,max_length=256"
    lm_eval(tasks, "ivl_cities,ivl_answers", common)
    # Windows begin with the token given here, so that the text is the one that `ivl score` reads.
    lm_eval(tasks, "ivl_texts", f"{common},custom_prefix_token_id=0")
    worst, compared = 0.0, 0
    choices = samples(tasks / "out", "ivl_cities")
    texts = [sample["doc"]["prompt"] + " " + city for sample in choices for city in CITIES]
    lines = scores(base, texts, directory, *value)
    contexts = scores(base, [sample["doc"]["prompt"] for sample in choices], directory, *value)
    for i, sample in enumerate(choices):
        start = len(contexts[i]["ids"])
        for j, response in enumerate(sample["filtered_resps"]):
            ours = sum(lines[i * len(CITIES) + j]["logprobs"][start:])
            worst, compared = max(worst, abs(float(response[0]) - ours)), compared + 1
    rolling = samples(tasks / "out", "ivl_texts")
    for sample, line in zip(rolling, scores(base, [s["target"] for s in rolling], directory, *value)):
        theirs = float(sample["filtered_resps"][0])
        worst, compared = max(worst, abs(theirs - line["sum"])), compared + 1
    assert compared == 9 * len(rows) and worst < 2e-5, (compared, worst)
    for sample in samples(tasks / "out", "ivl_answers")[::4]:
        prompt = sample["doc"]["prompt"]
        alone = ivl("generate", "--base", base, *value, "--prompt", prompt, "--max-new-tokens", 12, "--stop", ".")[0]
        assert sample["resps"][0][0] == alone["text"], (sample["resps"], alone["text"])
    print(f"lm-evaluation-harness: {model}: {compared} log-probabilities as `ivl score` says, largest difference {worst:.1e}")


def main():
    with serving() as (address, base):
        for model, value in (("large", ()), ("small", ("--value", f"{EXAMPLE / 'small'}:0.5"))):
            with tempfile.TemporaryDirectory() as directory:
                run(address, base, model, value, directory)


main()
