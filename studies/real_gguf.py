"""Compares GGUF files of real models with transformers and llama.cpp. Makes tables of docs/gguf.md.

    cargo build --release --workspace --bin ivl
    python studies/real_gguf.py TEXT_FILE FILE.gguf... [--perplexity BIN/llama-perplexity] [--windows 8]
    python studies/real_gguf.py TEXT_FILE FILE.gguf... --types auto,f32,int8,int4    # only the perplexity of each --dtype, and with
                                                                                # --perplexity of llama.cpp
    python studies/real_gguf.py TEXT_FILE FILE.gguf=DIR    # transformers reads the directory, of the same numbers in f32

Of each file: the log-probabilities of every token of some texts and the greedy continuation of some prompts, by ivl in f32 and by
transformers on the numbers that it makes of the same file, in f32; and, unless `--windows` is 0, the perplexity of TEXT_FILE in ivl, in transformers, and with
`--perplexity` in llama.cpp, which rounds activations to 8 bits. Perplexity as `llama-perplexity -c 512` has it: windows of 512 tokens,
of which the second half counts. Tokens are those of ivl. One model is in memory at a time. Needs torch, transformers and gguf.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import torch
from llama_perplexity import perplexity
from transformers import AutoModelForCausalLM

IVL = os.environ.get("IVL", "target/release/ivl")
WINDOW, NEW = 512, 48
TEXTS = [
    "The capital of France is Paris, and the capital of Norway is Oslo.",
    "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n",
    "In 1969, 12 people said: \"One small step…\" 東京 – naïve café, Größe, привет. 3.14159 + 2.71828 = 5.85987",
    "Once upon a time there was a small town by the sea. Every morning the fishermen went out with their boats, and every evening "
    "they came back with what they had caught. One day, however, a storm came up that nobody had expected.",
]
PROMPTS = ["The capital of France is", "def quicksort(items):\n", "Once upon a time", "2, 4, 6, 8,"]


class Server:
    """`ivl serve` on a free port."""

    def __init__(self, model, dtype="f32"):
        command = [IVL, "serve", "--base", model, "--port", "0", "--json", "--dtype", dtype, "--device", "cpu", "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started = json.loads(self.process.stdout.readline())
        self.address, self.model = started["address"], started["models"][0]

    def post(self, path, body):
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        return json.loads(urllib.request.urlopen(request, timeout=1200).read())

    def tokens(self, text, special=True):
        return self.post("/tokenize", {"prompt": text, "add_special_tokens": special})["tokens"]

    def logprobs(self, ids):
        """Of every token but the first."""
        body = dict(model=self.model, prompt=[ids], echo=True, max_tokens=0, logprobs=1)
        return self.post("/v1/completions", body)["choices"][0]["logprobs"]["token_logprobs"][1:]

    def close(self):
        self.process.terminate()
        self.process.wait()


def windows(server, text, count):
    """Windows of tokens, as llama-perplexity cuts them: each begins with the token that begins a text, if there is one."""
    ids = server.tokens(text)
    begins = len(ids) > len(server.tokens(text, special=False))
    cut = [ids[at:at + WINDOW] for at in range(0, WINDOW * count, WINDOW)]
    return [[ids[0]] + window[1:] if begins else window for window in cut if len(window) == WINDOW]


def mean_loss(logprobs):
    """Of the second half of windows."""
    if not logprobs:
        return math.nan
    counted = [value for window in logprobs for value in window[WINDOW // 2:]]
    return -sum(counted) / len(counted)


def by_ivl(file, text, count):
    server = Server(file)
    try:
        texts = [server.tokens(each) for each in TEXTS]
        prompts = [server.tokens(each) for each in PROMPTS]
        cut = windows(server, text, count)
        return dict(
            texts=texts, logprobs=[server.logprobs(ids) for ids in texts], prompts=prompts, windows=cut,
            loss=mean_loss([server.logprobs(window) for window in cut]),
        )
    finally:
        server.close()


def losses(file, text, count, types):
    """Of the same windows with each `--dtype`."""
    for dtype in types:
        server = Server(file, dtype)
        try:
            yield mean_loss([server.logprobs(window) for window in windows(server, text, count)])
        finally:
            server.close()


def greedy(file, prompt):
    """The ids that `ivl generate` chooses."""
    command = [IVL, "generate", "--base", file, "--prompt", prompt, "--max-new-tokens", NEW, "--temperature", 0, "--dtype", "f32"]
    said = subprocess.run([*map(str, command), "--device", "cpu", "--json", "--quiet"], capture_output=True, text=True, check=True)
    return json.loads(said.stdout)["ids"]


def by_transformers(file, directory, ours):
    source = dict(pretrained_model_name_or_path=directory) if directory else dict(
        pretrained_model_name_or_path=file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()

    def logprobs(ids):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].float()
        chosen = torch.tensor(ids[1:])
        return logits[:-1].log_softmax(-1)[torch.arange(len(chosen)), chosen].tolist()

    def greedy(ids):
        out = model.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False, repetition_penalty=1.0, eos_token_id=None)
        return out[0, len(ids):].tolist()

    return dict(
        logprobs=[logprobs(ids) for ids in ours["texts"]], greedy=[greedy(ids) for ids in ours["prompts"]],
        loss=mean_loss([logprobs(window) for window in ours["windows"]]))


def by_llama_cpp(program, file, text, count):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as source:
        source.write(text)
        source.flush()
        found = perplexity(program, file, source.name, "-c", WINDOW, "--chunks", count, "-b", WINDOW)
    return found or sys.exit(f"{program} gives no perplexity of {file}")


def same_greedy(ours, theirs):
    """The text of ivl ends where its model ends a text; transformers was told to go on."""
    return ours == theirs[: len(ours)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--perplexity", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--types", help="values of --dtype, separated by commas")
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8")[: 16 * WINDOW * args.windows]
    if args.types:
        types = args.types.split(",")
        columns = types + (["llama.cpp"] if args.perplexity else [])
        print(f"| file | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|", flush=True)
        for file in map(pathlib.Path, args.files):
            found = [f"{math.exp(loss):.2f}" for loss in losses(file, text, args.windows, types)]
            if args.perplexity:
                found.append(f"{by_llama_cpp(args.perplexity, file, text, args.windows):.2f}")
            print(f"| {file.stem} | {' | '.join(found)} |", flush=True)
        return
    print("| file | tokens | largest difference of log-probabilities | greedy texts equal | perplexity: ivl | transformers | llama.cpp |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for argument in args.files:
        file, _, directory = argument.partition("=")
        file = pathlib.Path(file)
        ours = by_ivl(file, text, args.windows)
        theirs = by_transformers(file.resolve(), directory, ours)
        pairs = [pair for a, b in zip(ours["logprobs"], theirs["logprobs"]) for pair in zip(a, b)]
        worst = max(abs(a - b) for a, b in pairs)
        equal = sum(same_greedy(greedy(file, prompt), ids) for prompt, ids in zip(PROMPTS, theirs["greedy"]))
        other = f"{by_llama_cpp(args.perplexity, file, text, args.windows):.2f}" if args.perplexity else "-"
        both = [f"{math.exp(each['loss']):.2f}" for each in (ours, theirs)]
        print(f"| {file.stem} | {len(pairs)} | {worst:.1e} | {equal} of {len(PROMPTS)} | {both[0]} | {both[1]} | {other} |", flush=True)


if __name__ == "__main__":
    main()
