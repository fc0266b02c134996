"""Compares the fused log-probabilities of ivl, transformers and vLLM. Makes the table and the figure of docs/scaling.md.

    cargo build --release --workspace --bin ivl
    pip install './python[vllm,transformers]'
    python studies/fused_engines.py TEXT_FILE FIGURE.svg BASE=VALUE:ALPHA...      # directories in Hugging Face layout

The engines read the same tokens: 8 lines of TEXT_FILE, of at most 64 tokens. At every position the 20 most probable ids and the text's
own are compared, as `ivl serve` gives them (`prompt_logprobs`), vLLM (`prompt_logprobs`) and transformers (`ivl.load`), all in f32 on a
CPU. Then each continues the beginnings of the lines by 24 greedy tokens. vLLM is left out for models that it has no kernels for.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

IVL = os.environ.get("IVL", "target/release/ivl")
LINES, LONGEST, MOST_PROBABLE, BEGINNING, NEW = 8, 64, 20, 8, 24
ENGINES = ("ivl", "transformers", "vLLM")
#: Differences below this are drawn as this.
LEAST = 1e-8


def of_ivl(base, value, alpha, lines):
    """Log-probabilities by id at every position of each line, and the greedy continuations, from `ivl serve`."""
    command = [IVL, "serve", "--base", base, "--value", f"fused={value}:{alpha}", "--port", "0", "--json", "--quiet", "--device", "cpu"]
    server = subprocess.Popen([*command, "--dtype", "f32"], stdout=subprocess.PIPE, text=True)
    try:
        address = json.loads(server.stdout.readline())["address"]

        def post(**body):
            data = json.dumps({"model": "fused", "temperature": 0, **body}).encode()
            request = urllib.request.Request(f"{address}/v1/completions", data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.loads(answer.read())["choices"][0]

        logprobs = []
        for ids in lines:
            positions = post(prompt=ids, max_tokens=1, prompt_logprobs=MOST_PROBABLE)["prompt_logprobs"][1:]
            logprobs.append([{int(token): entry["logprob"] for token, entry in position.items()} for position in positions])
        texts = [post(prompt=ids[:BEGINNING], max_tokens=NEW, ignore_eos=True) for ids in lines]
        return logprobs, [text.get("text") for text in texts]
    finally:
        server.terminate()
        server.wait()


def of_transformers(base, value, alpha, lines):
    """The same from `ivl.load`, of all ids."""
    import torch

    import ivl

    model = ivl.load(base, [ivl.Value(value, alpha)], device="cpu")
    logprobs, texts = [], []
    for ids in lines:
        with torch.no_grad():
            logprobs.append(model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1))
        settings = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
        prompt = torch.tensor([ids[:BEGINNING]])
        out = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **settings)
        texts.append(out[0, BEGINNING:].tolist())
    return logprobs, texts


def of_vllm(base, value, alpha, lines):
    """The same from vLLM, in a process of its own; `None` if it has no kernels for a model."""
    with tempfile.TemporaryDirectory() as directory:
        task = pathlib.Path(directory) / "task.json"
        task.write_text(json.dumps({"base": base, "value": value, "alpha": alpha, "lines": lines}))
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
        done = subprocess.run([sys.executable, __file__, "--vllm", str(task)], capture_output=True, text=True, env=environment)
        if not (task.parent / "found.json").exists():
            print(done.stderr[-600:], file=sys.stderr)
            return None
        found = json.loads((task.parent / "found.json").read_text())
    logprobs = [[{int(token): number for token, number in position.items()} for position in line] for line in found["logprobs"]]
    return logprobs, found["texts"]


def answer_from_vllm(path):
    """Does what `of_vllm` wants, in its process."""
    from vllm import LLM, SamplingParams

    task = json.loads(pathlib.Path(path).read_text())
    values = [{"model": task["value"], "alpha": task["alpha"]}]
    overrides = {"architectures": ["IvlFused"], "ivl": {"values": values}}
    options = {"dtype": "float32", "max_model_len": 128, "enforce_eager": True, "max_logprobs": MOST_PROBABLE, "max_num_seqs": 8}
    llm = LLM(task["base"], hf_overrides=overrides, **options)
    scored = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=MOST_PROBABLE)
    written = SamplingParams(temperature=0.0, max_tokens=NEW, ignore_eos=True)
    outs = llm.generate([{"prompt_token_ids": ids} for ids in task["lines"]], scored, use_tqdm=False)
    logprobs = [[{token: entry.logprob for token, entry in position.items()} for position in out.prompt_logprobs[1:]] for out in outs]
    outs = llm.generate([{"prompt_token_ids": ids[:BEGINNING]} for ids in task["lines"]], written, use_tqdm=False)
    texts = [list(out.outputs[0].token_ids) for out in outs]
    pathlib.Path(path).with_name("found.json").write_text(json.dumps({"logprobs": logprobs, "texts": texts}))


def differences(found, exact):
    """The largest difference at each position, over the ids that the engine gives."""
    return [
        max(abs(number - float(row[token])) for token, number in position.items())
        for line, rows in zip(found, exact, strict=True)
        for position, row in zip(line, rows, strict=True)
    ]


def largest_between(one, other):
    """The largest difference between two engines, over the ids that both give."""
    pairs = [(a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)]
    return max(abs(a[token] - b[token]) for a, b in pairs for token in a.keys() & b.keys())


def compared(name, base, value, alpha, texts):
    """The numbers of one pair of a base and a value."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    lines = [ids[:LONGEST] for ids in (tokenizer(text).input_ids for text in texts) if len(ids) > BEGINNING][:LINES]
    exact, greedy = of_transformers(base, value, alpha, lines)
    # Without the value, to see that it changes what is compared.
    plain, _ = of_transformers(base, value, 0.0, lines)
    changed = max(float((fused - base_only).abs().max()) for fused, base_only in zip(exact, plain))
    of_command, command_texts = of_ivl(base, value, alpha, lines)
    served = of_vllm(base, value, alpha, lines)
    row = {"name": name, "positions": sum(len(line) for line in of_command), "changed": changed}
    row["ivl"] = differences(of_command, exact)
    # A server leaves end tokens out of its text.
    decoded = [tokenizer.decode(text, skip_special_tokens=True) for text in greedy]
    row["texts of ivl"] = sum(a == b for a, b in zip(command_texts, decoded, strict=True))
    if served is not None:
        row["vLLM"], row["between"] = differences(served[0], exact), largest_between(of_command, served[0])
        row["texts of vLLM"] = sum(a == b for a, b in zip(served[1], greedy, strict=True))
    row["texts"] = len(lines)
    return row


def table(rows):
    """Markdown."""
    lines = ["| base, value | positions | the value changes | ivl and transformers | vLLM and transformers | ivl and vLLM | equal greedy texts |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        own = f"{max(row['ivl']):.1e}"
        served = [f"{max(row['vLLM']):.1e}", f"{row['between']:.1e}"] if "vLLM" in row else ["no kernels", ""]
        texts = f"ivl {row['texts of ivl']} of {row['texts']}"
        texts += f", vLLM {row['texts of vLLM']} of {row['texts']}" if "vLLM" in row else ""
        lines.append(f"| {row['name']} | {row['positions']} | {row['changed']:.2g} | {own} | {' | '.join(served)} | {texts} |")
    return "\n".join(lines)


def figure(rows):
    """An SVG with a panel for each row: the difference at every position, on a logarithmic scale."""
    import math

    width, height, left, top, gap = 720, 170, 60, 34, 52
    colours = {"ivl": "#1f6fb4", "vLLM": "#d9822b"}
    whole = top + len(rows) * (height + gap)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + left + 20} {whole}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width + left + 20}" height="{whole}" fill="white"/>')

    def y_of(number, y):
        exponent = math.log10(max(number, LEAST))
        return y + height * (0 - exponent) / -math.log10(LEAST)

    for at, row in enumerate(rows):
        y = top + at * (height + gap)
        parts.append(f'<text x="{left}" y="{y - 10}" font-weight="bold">{row["name"]}: largest difference to transformers</text>')
        for exponent in range(0, -9, -2):
            line = y_of(10.0**exponent, y)
            parts.append(f'<line x1="{left}" x2="{left + width}" y1="{line:.1f}" y2="{line:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 8}" y="{line + 4:.1f}" text-anchor="end">1e{exponent}</text>')
        for number, (engine, colour) in enumerate(colours.items()):
            points = row.get(engine, [])
            step = width / max(len(points), 1)
            for place, difference in enumerate(points):
                parts.append(f'<circle cx="{left + step * (place + 0.5):.1f}" cy="{y_of(difference, y):.1f}" r="1.6" fill="{colour}"/>')
            if points:
                parts.append(f'<text x="{left + width - 70 * (2 - number)}" y="{y - 10}" fill="{colour}">● {engine}</text>')
        parts.append(f'<text x="{left + width / 2}" y="{y + height + 18}" text-anchor="middle">position</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    """Compares the pairs on the command line."""
    text_file, out, *pairs = sys.argv[1:]
    texts = [line for line in pathlib.Path(text_file).read_text().splitlines() if line.strip()]
    rows = []
    for pair in pairs:
        base, _, value = pair.partition("=")
        value, _, alpha = value.rpartition(":")
        name = f"{pathlib.Path(base).name}, {pathlib.Path(value).name} at {alpha}"
        rows.append(compared(name, base, value, float(alpha), texts))
        print(table(rows[-1:]), flush=True)
    pathlib.Path(out).write_text(figure(rows))
    print(table(rows))


if __name__ == "__main__":
    if sys.argv[1] == "--vllm":
        answer_from_vllm(sys.argv[2])
    else:
        main()
