"""One training step of a value against a frozen base in PyTorch: the rival of `ivl train` and `ivl bench --measure train`.

    python benches/rivals/train_step.py BASE VALUE [--device cuda --dtype bfloat16]

Needs torch and transformers. BASE and VALUE are shapes (24m, 134m, 1b, 7b) or Llama checkpoints; 8 rows of --context random
tokens, all trained, clipping, AdamW. With bfloat16 the base is stored in it and the value's passes are autocast to it, with weights in
f32. Prints a line of JSON: the median of the rounds, and the peak memory, which is resident on a CPU.
"""

import argparse
import json
import resource
import statistics
import time

import torch

from shapes import arguments, load, wait

ROWS = 8


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("value")
    parser.add_argument("--context", type=int, default=128)
    args = arguments(parser)
    base = load(args.base, args.device, args.dtype).eval()
    value = load(args.value, args.device).train()
    optimizer = torch.optim.AdamW(value.parameters(), lr=1e-4, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)

    def step():
        ids = torch.randint(3, base.config.vocab_size, (ROWS, args.context + 1), generator=generator).to(args.device)
        wait(args.device)
        began = time.perf_counter()
        with torch.no_grad():
            frozen = base(ids[:, :-1]).logits.float()
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.dtype == torch.bfloat16):
            logits = value(ids[:, :-1]).logits.float()
        vocab = logits.shape[-1]
        loss = torch.nn.functional.cross_entropy((frozen + logits).reshape(-1, vocab), ids[:, 1:].reshape(-1))
        loss = loss + logits.abs().sum(-1).mean() / vocab
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(value.parameters(), 1.0)
        optimizer.step()
        wait(args.device)
        return time.perf_counter() - began

    step()
    seconds = statistics.median(step() for _ in range(args.rounds))
    if args.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    line = dict(
        model=f"{args.base} + {args.value}",
        measure="training step",
        rows=ROWS,
        tokens_per_second=round(ROWS * args.context / seconds, 1),
        seconds=round(seconds, 4),
        peak_mib=round(peak),
        torch=torch.__version__,
    )
    print(json.dumps(line))


if __name__ == "__main__":
    main()
