"""ivl, llama.cpp, ik_llama.cpp and mistral.rs in turn on the same GGUF files.

    benches/rivals/install_llama.sh DIR
    python benches/rivals/gguf.py FILE.gguf ... --llama DIR/build/bin --python DIR/venv/bin/python [--ivl target/release/ivl]

Each round measures every program once on every file, so that a machine whose speed drifts drifts for all. Prints, for each file and
measurement, the median tokens a second of each program and ivl's over the best rival's; with --json every single figure too.
Decoding follows a prompt of 64 tokens; `16 rows` are decoded together. A program that cannot measure something has a dash.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
MEASURES = ["decode", "prefill 256", "prefill 2048", "16 rows"]


def output(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(str(part) for part in command)}: {done.stderr[-2000:]}")
    return done.stdout


def ivl(args, file):
    speeds = {}
    for prompt, measure, rows in [(256, "decode,prefill", "1,16"), (2048, "prefill", "1")]:
        command = [args.ivl, "bench", file, "--json", "--rounds", "1", "--measure", measure, "--rows", rows]
        command += ["--prompt", prompt, "--context", "64", "--tokens", "48", "--device", "cpu"]
        for line in output(command + (["--dtype", args.dtype] if args.dtype else [])).splitlines():
            row = json.loads(line)
            if row["measure"] == "prefill":
                speeds[f"prefill {prompt}"] = row["tokens_per_second"]
            else:
                speeds["decode" if row["rows"] == 1 else "16 rows"] = row["tokens_per_second"]
    return speeds


def llama_cpp(args, file):
    command = [args.llama / "llama-bench", "-m", file, "-t", args.threads, "-r", "1", "-o", "json"]
    speeds = {}
    for line in json.loads(output(command + ["-p", "256,2048", "-n", "48"])):
        name = "decode" if line["n_gen"] else f"prefill {line['n_prompt']}"
        speeds[name] = line["avg_ts"]
    command = [args.llama / "llama-batched-bench", "-m", file, "-t", args.threads, "-c", "4096", "--output-format", "jsonl"]
    rows = [json.loads(line) for line in output(command + ["-npp", "64", "-ntg", "48", "-npl", "16"]).splitlines() if line.startswith("{")]
    speeds["16 rows"] = rows[-1]["speed_tg"]
    return speeds


def by_python(name):
    return lambda args, file: json.loads(output([args.python, HERE / f"{name}.py", file, args.threads]).splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--ivl", default="target/release/ivl")
    parser.add_argument("--dtype", help="for ivl")
    parser.add_argument("--llama", type=pathlib.Path, help="folder of llama-bench")
    parser.add_argument("--python", help="an interpreter with ik_llama_cpp and mistralrs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    programs = {"ivl": ivl}
    if args.llama:
        programs["llama.cpp"] = llama_cpp
    if args.python:
        programs |= {"ik_llama.cpp": by_python("ik_llama"), "mistral.rs": by_python("mistral_rs")}
    speeds = {}
    for _ in range(args.rounds):
        for file in args.files:
            for name, measure in programs.items():
                for what, speed in measure(args, file).items():
                    speeds.setdefault((file.name, what, name), []).append(speed)
    if args.json:
        for (file, what, name), all_speeds in speeds.items():
            print(json.dumps({"file": file, "measure": what, "program": name, "tokens_per_second": all_speeds}))
    print("| | " + " | ".join(programs) + " | ivl / best rival |\n" + "|---" * (len(programs) + 2) + "|")
    for file in args.files:
        for what in MEASURES:
            medians = {name: statistics.median(speeds[file.name, what, name]) for name in programs if (file.name, what, name) in speeds}
            rivals = [speed for name, speed in medians.items() if name != "ivl"]
            ratio = f"{medians['ivl'] / max(rivals):.2f}" if rivals and "ivl" in medians else "-"
            cells = [f"{medians[name]:.1f}" if name in medians else "-" for name in programs]
            print(f"| {file.name}, {what} | " + " | ".join(cells) + f" | {ratio} |")


main()
