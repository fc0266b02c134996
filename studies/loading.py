"""Measures how long models load and how much memory that takes. Makes a table of docs/gguf.md.

    cargo build --release --workspace --bin ivl
    python studies/loading.py MODEL... [--dtypes default,f32,int8]      MODEL: a directory or a GGUF file

Seconds and peak memory of `ivl generate --max-new-tokens 1`, from the start of the command to its end: the median of three runs after one
that brings the files into memory. `default` is a run without --dtype. Runs on Linux.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

IVL = os.environ.get("IVL", "target/release/ivl")


def run(model, dtype):
    """Seconds and MiB."""
    command = [IVL, "generate", "--base", model, "--prompt", "The", "--max-new-tokens", "1", "--device", "cpu", "--quiet"]
    began = time.perf_counter()
    child = subprocess.Popen(command + (["--dtype", dtype] if dtype != "default" else []), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def size(model):
    path = pathlib.Path(model)
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files) / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--dtypes", default="default,f32,int8")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    dtypes = args.dtypes.split(",")
    print("| model | weights, MiB | " + " | ".join(f"{dtype}: s, MiB" for dtype in dtypes) + " |\n|" + "---|" * (len(dtypes) + 2))
    for model in args.models:
        cells = []
        for dtype in dtypes:
            run(model, dtype)
            seconds, memory = zip(*(run(model, dtype) for _ in range(args.runs)))
            cells.append(f"{statistics.median(seconds):.2f}, {max(memory):.0f}")
        print(f"| {pathlib.Path(model).name} | {size(model):.0f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
