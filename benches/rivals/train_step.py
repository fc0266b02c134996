"""One training step of a value against a frozen base in PyTorch: the rival of `ivl train` in benches/RESULTS.md.

    python benches/rivals/train_step.py BASE VALUE [STEPS]

Needs torch and transformers. BASE and VALUE are Llama checkpoints (benches/rivals/make_models.py); 8 rows of 128 random tokens,
all learnt, AdamW, f32, two threads. Prints the median time of a step and the peak resident memory.
"""

import resource
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    base_dir, value_dir, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 6
    torch.set_num_threads(2)
    base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32).eval()
    value = AutoModelForCausalLM.from_pretrained(value_dir, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(value.parameters(), lr=1e-4, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    times = []
    for _ in range(steps):
        ids = torch.randint(3, base.config.vocab_size, (8, 129), generator=generator)
        began = time.perf_counter()
        with torch.no_grad():
            frozen = base(ids[:, :-1]).logits
        logits = value(ids[:, :-1]).logits
        vocab = logits.shape[-1]
        loss = torch.nn.functional.cross_entropy((frozen + logits).reshape(-1, vocab), ids[:, 1:].reshape(-1))
        loss = loss + logits.abs().sum(-1).mean() / vocab
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(value.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"PyTorch {torch.__version__}: {statistics.median(times[1:]):.2f} s a step (median of {len(times) - 1}), peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
