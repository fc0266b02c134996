"""Decoding, fused decoding of two models, prefill and scores in transformers: the rival of `ivl bench`.

    python benches/rivals/decode.py BASE [VALUE] [--device cuda --dtype bfloat16]

Needs torch and transformers. BASE and VALUE are shapes (24m, 134m, 1b, 7b) or Llama checkpoints of one vocabulary. With KV caches: after
a prompt of --context tokens, --tokens steps per round, each read back to the host, as choosing a token requires. With a VALUE,
decoding, prefill and scores are of both together, and `base decode` is of the base only. Prints a line of JSON per measurement: the
median over the rounds.
"""

import argparse
import json
import statistics
import time

import torch

from shapes import VOCAB, arguments, load, wait

TEXTS = 8


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("value", nargs="?")
    parser.add_argument("--rows", default="1,8,16", help="rows that are decoded together")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--measure", default="decode,prefill,score")
    return arguments(parser)


def main():
    args = parsed()

    def tokens(count, rows=1):
        return (torch.arange(count, device=args.device) * 7919 % VOCAB).repeat(rows, 1)

    def decode(models, rows):
        caches = [None] * len(models)

        def step(ids):
            total = 0
            for index, model in enumerate(models):
                out = model(ids, past_key_values=caches[index], use_cache=True, logits_to_keep=1)
                caches[index] = out.past_key_values
                total = total + out.logits[:, -1].float()
            return total.argmax(-1).tolist()

        step(tokens(args.context, rows))
        one = tokens(1, rows)
        began = time.perf_counter()
        for _ in range(args.tokens):
            step(one)
        return rows * args.tokens / (time.perf_counter() - began)

    def timed(count, work):
        wait(args.device)
        began = time.perf_counter()
        work()
        wait(args.device)
        return count / (time.perf_counter() - began)

    def prefill(models):
        ids = tokens(args.prompt)
        return timed(args.prompt, lambda: sum(model(ids, use_cache=True, logits_to_keep=1).logits for model in models))

    def score(models):
        ids = tokens(args.prompt, TEXTS)

        def work():
            logits = sum(model(ids[:, :-1], use_cache=False).logits for model in models)
            torch.log_softmax(logits.float(), -1).gather(2, ids[:, 1:, None]).sum().item()

        return timed(ids.numel(), work)

    models = [load(name, args.device, args.dtype).eval() for name in (args.base, args.value) if name]
    measures = []
    if "decode" in args.measure:
        if args.value:
            measures.append(("base decode", 1, lambda: decode(models[:1], 1)))
        measures += [("decode", rows, lambda rows=rows: decode(models, rows)) for rows in map(int, args.rows.split(","))]
    if "prefill" in args.measure:
        measures.append(("prefill", 1, lambda: prefill(models)))
    if "score" in args.measure:
        measures.append(("score", TEXTS, lambda: score(models)))
    name = " + ".join(name for name in (args.base, args.value) if name)
    with torch.inference_mode():
        for measure, rows, take in measures:
            take()
            speeds = [take() for _ in range(args.rounds)]
            line = dict(model=name, measure=measure, rows=rows, tokens_per_second=round(statistics.median(speeds), 1))
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
