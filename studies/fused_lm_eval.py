"""Runs lm-evaluation-harness against vLLM and against `ivl serve`, with the same base and value. Makes a table of docs/python.md.

    cargo build --release --workspace --bin ivl
    pip install './python[vllm,transformers]' 'lm-eval[api]==0.4.13'
    python studies/fused_lm_eval.py BASE=VALUE:ALPHA...          # directories in Hugging Face layout

Three small tasks of 20 rows from examples/first-value/train.jsonl, which the value may have been trained on: a city out of eight
(log-likelihoods), whole texts (rolling log-likelihoods) and answers (greedy). The harness reads both servers as `local-completions`, with the base's tokenizer. Every sample is compared, since a
wrong server can give the same accuracy: the exit status is 1 if a log-likelihood differs by more than 1e-3 or an answer at all. f32 on a
CPU.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The servers of the tests.
sys.path.insert(0, str(ROOT / "python/tests/vllm"))
os.environ.setdefault("IVL", "target/release/ivl")

from servers import ivl_serve, ivl_vllm, serving  # noqa: E402

TOLERANCE = 1e-3
CITIES = ["Oslo", "Lima", "Cairo", "Paris", "Delhi", "Quito", "Turin", "Perth"]
COMMON = """dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
"""
TASKS = {
    "ivl_cities": """output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: {cities}
doc_to_target: "{{{{city}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
""",
    "ivl_texts": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{prompt}}}} {{{{city}}}}."
metric_list: [{{metric: word_perplexity}}]
""",
    "ivl_answers": """output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{city}}}}"
generation_kwargs: {{until: ["."], do_sample: false, max_gen_toks: 12}}
metric_list: [{{metric: exact_match, regexes_to_ignore: ['\\s']}}]
""",
}


def write_tasks(directory):
    """The tasks and their rows: every second question where somebody lives."""
    rows = [json.loads(line) for line in (ROOT / "examples/first-value/train.jsonl").open()]
    rows = [{**row, "city": row["completion"].strip(" .")} for row in rows if "live" in row["prompt"]][::2]
    file = directory / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, body in TASKS.items():
        (directory / f"{name}.yaml").write_text((f"task: {name}\n" + COMMON + body).format(file=file, cities=json.dumps(CITIES)))


def evaluated(address, base, tasks, out):
    """The figures and the samples of each task."""
    arguments = f"model=fused,base_url={address}/v1/completions,tokenizer={base},tokenizer_backend=huggingface,num_concurrent=4,max_length=256"
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments, "--tasks", ",".join(TASKS)]
    command += ["--include_path", tasks, "--batch_size", "4", "--log_samples", "--output_path", out]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{tasks}/cache"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"lm_eval ended with {done.returncode}: {done.stderr[-2000:]}")
    (results,) = out.rglob("results_*.json")
    figures = json.loads(results.read_text())["results"]
    samples = {}
    for name in TASKS:
        (file,) = out.rglob(f"samples_{name}_*.jsonl")
        samples[name] = sorted((json.loads(line) for line in file.open()), key=lambda sample: sample["doc_id"])
    return figures, samples


def log_likelihoods(sample):
    """All log-likelihoods of a sample."""
    found = []
    for response in sample["filtered_resps"]:
        found.append(float(response[0] if isinstance(response, list) else response))
    return found


def answer(sample):
    """The answer; vLLM leaves out bytes at its end that are no whole character."""
    return sample["resps"][0][0].rstrip("\ufffd")


def compared(of_ivl, of_vllm):
    """Lines of the table, and whether the two servers agree."""
    lines, agree = [], True
    for name in TASKS:
        pairs = list(zip(of_ivl[1][name], of_vllm[1][name], strict=True))
        if name == "ivl_answers":
            same = sum(answer(one) == answer(other) for one, other in pairs)
            difference, agree = f"{same} of {len(pairs)} texts equal", agree and same == len(pairs)
        else:
            values = [
                abs(a - b) for one, other in pairs for a, b in zip(log_likelihoods(one), log_likelihoods(other), strict=True)
            ]
            difference, agree = f"{max(values):.1e} nats, {len(values)} log-likelihoods", agree and max(values) < TOLERANCE
        for key, figure in of_ivl[0][name].items():
            if key.endswith(",none") and "stderr" not in key:
                lines.append(f"| `{name}`, {key.removesuffix(',none')} | {figure:.4f} | {of_vllm[0][name][key]:.4f} | {difference} |")
    return lines, agree


def main():
    """Compares the pairs on the command line."""
    agree = True
    for pair in sys.argv[1:]:
        base, _, named = pair.partition("=")
        value, _, alpha = named.rpartition(":")
        with tempfile.TemporaryDirectory() as directory:
            tasks = pathlib.Path(directory) / "tasks"
            tasks.mkdir()
            write_tasks(tasks)
            with ivl_serve(base, f"fused={value}:{alpha}") as address:
                of_ivl = evaluated(address, base, tasks, pathlib.Path(directory) / "ivl")
            with serving(ivl_vllm(base, f"{value}:{alpha}")) as address:
                of_vllm = evaluated(address, base, tasks, pathlib.Path(directory) / "vllm")
        lines, same = compared(of_ivl, of_vllm)
        agree = agree and same
        print(f"{pathlib.Path(base).name}, {pathlib.Path(value).name} at {alpha}\n")
        print("| task, figure | `ivl serve` | vLLM | samples: largest difference |\n|---|---|---|---|")
        print("\n".join(lines) + "\n", flush=True)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
