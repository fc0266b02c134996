"""Compares base logits on disk that vLLM, transformers and `ivl train` wrote, and the training from them. Makes a table of docs/python.md.

    cargo build --release --workspace --bin ivl
    pip install './python[vllm,train]'
    python studies/base_logits_engines.py CONFIG.toml      # with [base_logits], `top_k` not 0

`ivl train CONFIG.toml` writes logits of its own; `python -m ivl.base_logits` writes them with each engine; `ivl train` runs again from
those. f32 on a CPU. The exit status is 1 if a log-probability that two records keep differs by more than 2e-4, or a loss of a step by
more than 1e-4 of it.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from ivl.train.exported_run import ExportedRun
from ivl.train.logit_file import LogitFile

IVL = os.environ.get("IVL", "target/release/ivl")
LOGPROB, LOSS = 2e-4, 1e-4
#: vLLM on a CPU, with little memory for its caches.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}


def call(*command):
    """Runs a command; its output is shown if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def train(config, logits, output):
    """The losses of a run with the logits in a directory, which it writes if they are missing."""
    sets = [f'base_logits.dir="{logits}"', f'output="{output}"', 'eval.result="last"']
    call(IVL, "train", config, "--device", "cpu", *(part for one in sets for part in ("--set", one)))
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "step"]


def files(run, directory):
    """The files of a directory, training and held-out examples of every base."""
    return [
        LogitFile(directory / pathlib.Path(path).name, fingerprint, examples.trained)
        for described in run.description["base_logits"]
        for examples, (path, fingerprint) in zip((run.train, run.eval), described["files"])
    ]


def compared(ours, theirs):
    """Records, records that keep other ids, and the largest difference of a log-probability that both keep, for two lists of files."""
    count, other, largest = 0, 0, 0.0
    for one, two in zip(ours, theirs, strict=True):
        places = np.arange(one.header.tokens)
        first, second = (file.logits(places, torch.device("cpu")) for file in (one, two))
        kept = [np.ascontiguousarray(file._data[:, : 4 * file.header.top_k]).view("<i4") for file in (one, two)]
        for at in range(len(places)):
            sets = [set(ids[at].tolist()) for ids in kept]
            other += sets[0] != sets[1]
            both = torch.tensor(sorted(sets[0] & sets[1]))
            largest = max(largest, float((first[at, both] - second[at, both]).abs().max()))
        count += len(places)
    return count, other, largest


def main():
    """Compares the engines for the configuration on the command line."""
    config = sys.argv[1]
    agree = True
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        call(IVL, "data", "export", config, "--out", work / "export", "--device", "cpu")
        run = ExportedRun(work / "export")
        losses = train(config, work / "ivl", work / "run-ivl")
        of_ivl = files(run, work / "ivl")
        print("| base logits of | records | that keep other ids | kept log-probabilities | mean loss of information, nats | losses of `ivl train` |")
        print("|---|---|---|---|---|---|")
        lost = np.mean([file.header.mean_kl for file in of_ivl])
        print(f"| `ivl train` | {sum(file.header.tokens for file in of_ivl)} | | | {lost:.2e} | {len(losses)} steps |")
        options = {"transformers": [], "vllm": ["--vllm", json.dumps({"enforce_eager": True, "max_num_seqs": 8})]}
        for engine, further in options.items():
            command = [sys.executable, "-m", "ivl.base_logits", config, "--data", work / "export", "--out", work / engine]
            call(*command, "--engine", engine, *further)
            found = files(run, work / engine)
            count, other, largest = compared(found, of_ivl)
            lost = np.mean([file.header.mean_kl for file in found])
            from_them = train(config, work / engine, work / f"run-{engine}")
            change = max(abs(a - b) / abs(b) for a, b in zip(from_them, losses, strict=True))
            print(f"| `--engine {engine}` | {count} | {other} | within {largest:.1e} | {lost:.2e} | within {change:.1e} of them |", flush=True)
            agree = agree and largest < LOGPROB and change < LOSS
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
