"""Decoding, fused decoding of two models, and prefill in transformers: the rival of `ivl bench` in benches/RESULTS.md.

    python benches/rivals/decode.py BASE [VALUE] [ROUNDS]

Needs torch and transformers. BASE and VALUE are Llama checkpoints of one vocabulary (benches/rivals/make_models.py), f32, two
threads, with key-value caches. After a prompt of 64 tokens, 32 steps a round; prefill of 256; 8 texts of 256 scored. Prints the
median over the rounds as JSON.
"""

import json
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

CONTEXT, STEPS, PROMPT, TEXTS = 64, 32, 256, 8


def tokens(count, rows=1):
    return (torch.arange(count) * 7919 % 32000).repeat(rows, 1)


def decode(models, rows=1):
    caches = [None] * len(models)

    def step(ids):
        total = 0
        for index, model in enumerate(models):
            out = model(ids, past_key_values=caches[index], use_cache=True, logits_to_keep=1)
            caches[index] = out.past_key_values
            total = total + out.logits[:, -1]
        return total

    step(tokens(CONTEXT, rows))
    one = tokens(1, rows)
    began = time.perf_counter()
    for _ in range(STEPS):
        step(one)
    return rows * STEPS / (time.perf_counter() - began)


def prefill(model):
    began = time.perf_counter()
    model(tokens(PROMPT), use_cache=True, logits_to_keep=1)
    return PROMPT / (time.perf_counter() - began)


def score(model):
    ids = tokens(PROMPT, TEXTS)
    began = time.perf_counter()
    logits = model(ids[:, :-1], use_cache=False).logits
    torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])
    return ids.numel() / (time.perf_counter() - began)


def main():
    names = [name for name in sys.argv[1:] if not name.isdigit()]
    rounds = next((int(text) for text in sys.argv[1:] if text.isdigit()), 5)
    torch.set_num_threads(2)
    models = [AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval() for name in names]
    measures = {
        "decode": lambda: decode(models),
        "decode 8 rows": lambda: decode(models, 8),
        "decode 16 rows": lambda: decode(models, 16),
        "prefill of the first": lambda: prefill(models[0]),
        "score of the first": lambda: score(models[0]),
    }
    with torch.inference_mode():
        found = {name: [] for name in measures}
        for _ in range(rounds):
            for name, measure in measures.items():
                found[name].append(measure())
    print(json.dumps({name: round(statistics.median(speeds), 1) for name, speeds in found.items()}))


if __name__ == "__main__":
    main()
