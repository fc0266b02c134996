"""The answers of tasks/ on all of their rows, beside the tasks of the same names in lm-evaluation-harness.

    python bundled.py MODEL MAX_LENGTH MAX_GEN_TOKS TASK...      gsm8k, humaneval, ifeval, mbpp; IVL names the command

Rows are read from where the task files say that they are put (TASKS names another copy of the folder). The harness's own YAML is used
but for that, for GSM8K's examples, which are the first ones, and for metrics that are functions: some run programs. Prints how many
rows were compared and how many prompts, responses and scores differ.
"""

import ast
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

from harness import HERE, HFLM, TaskManager, simple_evaluate

import lm_eval.tasks
import yaml

IVL = os.environ.get("IVL", str(HERE / "../../../target/release/ivl"))
OURS = pathlib.Path(os.environ.get("TASKS", HERE / "../../../tasks")).resolve()
THEIRS = pathlib.Path(lm_eval.tasks.__file__).parent


class Loader(yaml.SafeLoader):
    """Reads a function as its name."""


Loader.add_constructor("!function", lambda loader, node: {"function": node.value})


def is_function(metric):
    return isinstance(metric["metric"], dict)


def their_task(task):
    """The harness's configuration on local rows."""
    config = yaml.load((THEIRS / task / f"{task}.yaml").read_text(), Loader)
    local = tomllib.loads((OURS / f"{task}.toml").read_text())
    files = {config["test_split"]: str(OURS / local["data"])}
    if split := config.get("fewshot_split"):
        files[split] = str(OURS / local["fewshot_data"])
        config["fewshot_config"] = {"sampler": "first_n"}
    elif "fewshot_config" in config:
        # The examples are a list in a file that cannot be imported where programs must not be run.
        source = (THEIRS / task / "utils.py").read_text()
        [listed] = [node for node in ast.parse(source).body if getattr(node, "name", "") == "list_fewshot_samples"]
        config["fewshot_config"]["samples"] = ast.literal_eval(listed.body[-1].value)
    config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    for key in ("dataset_name", "tag", "unsafe_code"):
        config.pop(key, None)
    if config.pop("process_results", None):
        config |= {"metric_list": [{"metric": "bypass"}], "doc_to_target": ""}
    if any(map(is_function, config["metric_list"])):
        config["metric_list"] = [{"metric": "bypass"}]
        config.pop("filter_list", None)
    return config


def ours(model, task, max_length, tokens):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([IVL, "eval", "--base", model, "--tasks", str(OURS / f"{task}.toml"), "--max-length", max_length,
                        "--max-gen-toks", tokens, "--output", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        lines = (pathlib.Path(out) / f"samples_{task}.jsonl").read_text().rstrip("\n").split("\n")[1:]
        return {row["doc_id"]: row for row in map(json.loads, lines)}


def theirs(model, task, max_length, tokens):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / f"{task}.yaml").write_text(yaml.safe_dump(their_task(task)))
        out = simple_evaluate(
            model=HFLM(pretrained=model, dtype="float32", max_length=int(max_length), batch_size=8, device="cpu"), tasks=[task],
            task_manager=TaskManager(include_path=folder, include_defaults=False), log_samples=True, bootstrap_iters=0,
            random_seed=None, gen_kwargs=f"max_gen_toks={tokens}",
        )
    return out["samples"][task]


def main():
    model, max_length, tokens, *tasks = sys.argv[1:]
    for task in tasks:
        rows, samples = ours(model, task, max_length, tokens), theirs(model, task, max_length, tokens)
        differ = {"prompts": set(), "responses": set(), "scores": set()}
        for sample in samples:
            doc = sample["doc_id"]
            row, name = rows[doc], sample["filter"]
            same = {
                "prompts": row["context"] == sample["arguments"][0][0],
                "responses": row["answer"]["response"] == sample["resps"][0][0],
                "scores": "exact_match" not in sample or row[f"exact_match,{name}"] == sample["exact_match"],
            }
            for what in differ:
                if not same[what]:
                    differ[what].add(doc)
        assert rows.keys() == {sample["doc_id"] for sample in samples}
        print(f"{task}: {len(rows)} rows;", ", ".join(f"{len(docs)} {what} differ" for what, docs in differ.items()), flush=True)


main()
