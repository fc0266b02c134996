"""ivl, llama.cpp, ik_llama.cpp and mistral.rs in turn on the same GGUF files.

    benches/rivals/install_gguf.sh DIR
    python benches/rivals/gguf.py DIR FILE.gguf ... [--measures decode,'prefill 256'] [--rounds 5] [--ivl target/release/ivl]

Each round measures every program once on every file, so that a machine whose speed drifts drifts for all. Prints, for each file and
measurement, the median tokens a second of each program, and the median over the rounds of ivl over the fastest rival of its round;
with --json every single figure too. `decode` follows a prompt of 64 tokens; `16 rows` are decoded together. A program that cannot
measure something has a dash.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TOKENS = 48
MEASURES = ["decode", "decode after 4096", "decode after 16384", "prefill 256", "prefill 2048", "16 rows"]


def output(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(part) for part in command)}: {done.stderr[-2000:]}")
    return done.stdout


def asked(measure):
    """Kind of a measurement, and its number of tokens or rows."""
    number = re.search(r"\d+", measure)
    return measure.split()[-1 if measure == "16 rows" else 0], int(number[0]) if number else 64


def ivl(args, file, measure):
    kind, count = asked(measure)
    options = {
        "decode": ["--measure", "decode", "--rows", 1, "--context", count],
        "rows": ["--measure", "decode", "--rows", count, "--context", 64],
        "prefill": ["--measure", "prefill", "--prompt", count],
    }[kind]
    command = [args.ivl, "bench", file, "--json", "--rounds", 1, "--tokens", TOKENS, "--device", "cpu", *args.ivl_options.split(), *options]
    return json.loads(output(command))["tokens_per_second"]


def llama_bench(build, depth_options, has_rows=True):
    """llama.cpp and ik_llama.cpp name the option of a depth each in its own way; the llama-batched-bench of the latter aborts."""

    def measured(args, file, measure):
        folder = args.rivals / build / "bin"
        kind, count = asked(measure)
        if kind == "rows" and not has_rows:
            return None
        if kind == "rows":
            command = [folder / "llama-batched-bench", "-m", file, "-t", args.threads, "-c", 2048]
            printed = output([*command, "-npp", 64, "-ntg", TOKENS, "-npl", count])
            # The last row of its table; S_TG is the eighth column.
            lines = [line.split("|") for line in printed.splitlines() if re.match(r"\|\s+\d", line)]
            return float(lines[-1][8])
        options = depth_options(count) if kind == "decode" else ["-p", count, "-n", 0]
        return json.loads(output([folder / "llama-bench", "-m", file, "-t", args.threads, "-r", 1, "-o", "json", *options]))[-1]["avg_ts"]

    return measured


def mistral_rs(args, file, measure):
    kind, count = asked(measure)
    if kind == "rows":
        return None
    return float(output([args.rivals / "venv/bin/python", HERE / "mistral_rs.py", file, args.threads, kind, count]).splitlines()[-1])


PROGRAMS = {
    "ivl": ivl,
    "llama.cpp": llama_bench("build", lambda depth: ["-p", 0, "-n", TOKENS, "-d", depth]),
    "ik_llama.cpp": llama_bench("build-ik", lambda depth: ["-p", 0, "-n", 0, "-gp", f"{depth},{TOKENS}"], has_rows=False),
    "mistral.rs": mistral_rs,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rivals", type=pathlib.Path, help="folder of install_gguf.sh")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--ivl", default="target/release/ivl")
    parser.add_argument("--ivl-options", default="", help="further options of ivl bench, for example '--kv-cache-dtype int8'")
    parser.add_argument("--measures", default=",".join(MEASURES))
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measures, names = args.measures.split(","), args.programs.split(",")
    print("| | " + " | ".join(names) + " | ivl / fastest rival | rounds |\n" + "|---" * (len(names) + 3) + "|")
    speeds = {
        (file, measure): [{name: PROGRAMS[name](args, file, measure) for name in names} for _ in range(args.rounds)]
        for file in args.files
        for measure in measures
    }
    for (file, measure), rounds in speeds.items():
        if args.json:
            print(json.dumps({"file": file.name, "measure": measure, "rounds": rounds}), file=sys.stderr)
        shown = {name: [speed[name] for speed in rounds if speed[name] is not None] for name in names}
        ratios = [speed["ivl"] / max(speed[name] for name in names if name != "ivl" and speed[name] is not None) for speed in rounds]
        cells = [f"{statistics.median(all_speeds):.1f}" if all_speeds else "-" for all_speeds in shown.values()]
        ratio = f"{statistics.median(ratios):.2f} | {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
        print(f"| {file.name}, {measure} | " + " | ".join(cells) + f" | {ratio} |")


main()
