#!/usr/bin/env python3
"""Compares models whose layers are on several devices with the same models on one.

    scripts/check-devices.py [--devices cpu,wgpu] [--dtype f32] [IVL]

IVL is the command, built with the backends of the devices (docs/cuda.md); default target/release/ivl. The first device is the
reference: `ivl generate`, `score`, `serve` (several rows at once) and `transfer` run on it, then with the layers of base and value on all
devices, in both orders, and with base and value on different devices. Greedy texts have to be equal, and log-probabilities within
1e-4 (--tolerance). Values are trained here, a few steps each: residual, cascade and low-rank adapters.

Without a GPU a software driver for Vulkan is the second device: on Debian, `apt-get install mesa-vulkan-drivers`, and an ivl with
the feature `wgpu`. Prints one line for each comparison. The exit status is 1 if one fails.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/first-value"
DEMO = ROOT / "crates/ivl-demo-models/models"
TEXTS = ["Suna lives in Oslo.", "Question: Where does Nemas live?\nAnswer: Nemas lives in Oslo.", "Vina is a teacher."]
PROMPTS = ["Question: Where does Nemas live?\nAnswer:", "Vina is", "Question: What is the work of Mira?\nAnswer:"]


class Check:
    def __init__(self, args, work):
        self.args, self.work, self.failed = args, Path(work), False
        self.texts = self.work / "texts.jsonl"
        self.texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))

    def ivl(self, *words):
        """Standard output of a command."""
        command = [self.args.ivl, *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout

    def train(self, name, *settings):
        out = self.work / name
        sets = [f"output='{out}'", "steps.max_steps=12", *settings]
        self.ivl("train", EXAMPLE / "train.toml", "--device", "cpu", "--quiet", *[w for s in sets for w in ("--set", s)])
        return out

    def generate(self, models, device):
        texts = [
            self.ivl("generate", *models, *device, "--prompt", prompt, "--max-new-tokens", 24, "--quiet")
            for prompt in PROMPTS
        ]
        return texts, []

    def score(self, models, device):
        lines = self.ivl("score", *models, *device, "--file", self.texts, "--json", "--quiet").splitlines()
        return [], [p for line in lines for p in json.loads(line)["logprobs"] if p is not None]

    def serve(self, models, device):
        """Greedy completions of several rows at once, of the base and of the value."""
        command = [self.args.ivl, "serve", *map(str, models), *device, "--port", "0", "--json"]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            started = json.loads(server.stdout.readline())
            requests = [(model, prompt) for model in started["models"] for prompt in PROMPTS]
            answers = [None] * len(requests)

            def ask(index):
                model, prompt = requests[index]
                body = {"model": model, "prompt": prompt, "max_tokens": 24, "temperature": 0, "logprobs": 1}
                request = urllib.request.Request(
                    started["address"] + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
                )
                answers[index] = json.load(urllib.request.urlopen(request))["choices"][0]

            threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        finally:
            server.terminate()
            server.wait()
        return [a["text"] for a in answers], [p for a in answers for p in a["logprobs"]["token_logprobs"]]

    def transfer(self, base, value, device):
        words = ["--value", value, "--bases", base, "--data", EXAMPLE / "held-out.jsonl", "--limit", 6, "--alphas", 1]
        study = json.loads(self.ivl("transfer", *words, *device, "--json", "--quiet"))
        return [], list(numbers(study))

    def compare(self, what, run, places):
        reference = run(["--device", self.args.devices[0]] + self.dtype())
        for place in places:
            texts, logprobs = run(place + self.dtype())
            equal = sum(a == b for a, b in zip(texts, reference[0]))
            difference = max((abs(a - b) for a, b in zip(logprobs, reference[1])), default=0.0)
            same = equal == len(reference[0]) and len(texts) == len(reference[0]) and len(logprobs) == len(reference[1])
            passed = same and difference <= self.args.tolerance
            self.failed |= not passed
            shown = " ".join(word for word in place if not word.startswith("--"))
            counts = f"{equal}/{len(reference[0])} texts equal" if texts else ""
            numbers = f"{len(logprobs)} numbers within {difference:.1e}" if logprobs else ""
            print(f"{what:44} {shown:34} {', '.join(filter(None, [counts, numbers]))}{'' if passed else '  DIFFERS'}", flush=True)

    def dtype(self):
        return ["--dtype", self.args.dtype]


def numbers(value):
    """The numbers in JSON, in order."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from numbers(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        yield value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ivl", nargs="?", default=str(ROOT / "target/release/ivl"))
    parser.add_argument("--devices", default="cpu,wgpu", type=lambda names: names.split(","))
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--tolerance", default=1e-4, type=float)
    args = parser.parse_args()
    both, reverse = ",".join(args.devices), ",".join(reversed(args.devices))
    first, last = args.devices[0], args.devices[-1]
    lists = [["--device", both], ["--device", reverse]]
    apart = [["--place", f"base={a}", "--place", f"value={b}"] for a, b in ((first, last), (last, first))]
    with tempfile.TemporaryDirectory() as work:
        check = Check(args, work)
        large = EXAMPLE / "large"
        values = {
            "full": (large, check.train("full")),
            "cascade": (large, check.train("cascade", "value.connection='cascade'")),
            "LoRA": (EXAMPLE / "small", check.train("lora", "value.lora={rank=4}")),
        }
        cases = {f"base and {name} value": ["--base", base, "--value", value] for name, (base, value) in values.items()}
        cases["untied base, mapped value"] = ["--base", DEMO / "other", "--value", values["full"][1], "--map", "hybrid"]
        cases["base"] = ["--base", DEMO / "large"]
        for case, models in cases.items():
            places = lists + (apart if "--value" in models else [])
            for verb in (check.generate, check.score, check.serve):
                check.compare(f"{verb.__name__}, {case}", lambda place: verb(models, place), places)
        base, value = values["full"]
        check.compare("transfer, base and full value", lambda place: check.transfer(base, value, place), lists + apart)
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
