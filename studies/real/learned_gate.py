"""Does a learned gate beat a constant weight of a value? A table of docs/explain.md.

    pip install './python[transformers]'
    python studies/real/learned_gate.py SKILL_FOLDER VALUE HOME AWAY     # models as directories in Hugging Face layout

The gate is a number g(t) at each position t, by which the value is multiplied: `logits = base + g value`, with

    g(t) = 2 sigmoid(w . f(t) + c)

of features f that need one pass of both models: entropy and largest log-probability of the base, of the value and of their sum, whether
base and value choose the same token, and the value's norm. It begins at 1. Models are read in bf16. `w` and `c` minimise the loss of the demonstrations in
SKILL_FOLDER/train.jsonl on HOME, the value's own base, plus `PENALTY * mean (g - 1)^2`. Then the loss of SKILL_FOLDER/loss.jsonl is taken
on HOME and on AWAY, with weight 1, with the constants that are best on held-out.jsonl of HOME and of AWAY, and with the gate.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

import ivl
from plan import ALPHAS

PENALTIES = [0.1, 0.01, 0.001]
TRAINED_ROWS, STEPS, RATE = 48, 300, 0.03


def value_on(value, home):
    """A copy of a directory of adapters whose base is HOME: training may have read it from another place."""
    copy = pathlib.Path(tempfile.mkdtemp()) / "value"
    shutil.copytree(value, copy, ignore=shutil.ignore_patterns("checkpoints"))
    file = copy / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": str(home)}))
    return copy


@torch.no_grad()
def positions(model, tokenizer, rows):
    """Logits of base and value, in half precision, and the answer's token, at every position of the rows' answers."""
    bases, values, targets = [], [], []
    for row in rows:
        prompt, answer = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in [row["prompt"], row["completion"]])
        ids = torch.tensor([prompt + answer + [tokenizer.eos_token_id]])
        kept = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
        base, fused = (model(ids, alpha=alpha, logits_to_keep=kept).logits[0] for alpha in [0.0, 1.0])
        bases.append(base.half())
        values.append((fused - base).half())
        targets.append(ids[0, len(prompt) :])
    return torch.cat(bases), torch.cat(values), torch.cat(targets)


def chunks(count, size=64):
    return [slice(first, first + size) for first in range(0, count, size)]


@torch.no_grad()
def features(base, value):
    """`[positions, features]`, in nats where that is their unit."""
    found = []
    for part in chunks(len(base)):
        b, v = base[part].float(), value[part].float()
        columns = []
        for logits in [b, v, b + v]:
            log_p = logits.log_softmax(-1)
            columns += [-(log_p.exp() * log_p).sum(-1), log_p.amax(-1)]
        columns.append((b.argmax(-1) == v.argmax(-1)).float())
        columns.append((v - v.mean(-1, keepdim=True)).square().mean(-1).sqrt())
        found.append(torch.stack(columns, -1))
    return torch.cat(found)


def losses(data, gate):
    """Loss at each position; `gate` is a number or one for each position."""
    base, value, target = data
    gate = gate if isinstance(gate, torch.Tensor) else torch.full((len(base),), float(gate))
    parts = [
        F.cross_entropy(base[part].float() + gate[part, None] * value[part].float(), target[part], reduction="none")
        for part in chunks(len(base))
    ]
    return torch.cat(parts)


def mean_loss(data, gate):
    with torch.no_grad():
        return losses(data, gate).mean().item()


def fitted(data, inputs, penalty):
    """`w` and `c`, by Adam. The sum over the vocabulary is replaced by values on a grid of g, between which it is interpolated."""
    grid = torch.linspace(0, 2, 21)
    with torch.no_grad():
        table = torch.stack([losses(data, g.item()) for g in grid], -1)
    w, c = torch.zeros(inputs.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([w, c], lr=RATE)
    for _ in range(STEPS):
        gate = 2 * torch.sigmoid(inputs @ w + c)
        place = (gate / 2 * (len(grid) - 1)).clamp(0, len(grid) - 1.001)
        low = place.floor().long()
        share = place - low
        loss = ((1 - share) * table.gather(1, low[:, None])[:, 0] + share * table.gather(1, low[:, None] + 1)[:, 0]).mean()
        optimizer.zero_grad()
        (loss + penalty * (gate - 1).square().mean()).backward()
        optimizer.step()
    return w.detach(), c.detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["folder", "value", "home", "away"]:
        parser.add_argument(name, type=pathlib.Path)
    options = parser.parse_args()
    rows = {
        name: [json.loads(line) for line in (options.folder / f"{name}.jsonl").read_text().split("\n") if line]
        for name in ["train", "held-out", "loss"]
    }
    rows["train"] = rows["train"][:TRAINED_ROWS]
    value, tokenizer = value_on(options.value, options.home.resolve()), AutoTokenizer.from_pretrained(options.home)
    gates, constant, center, spread = {}, None, None, None
    print(
        "| base | alone | weight 1 | constant of home | constant of this base | "
        + " | ".join(f"gate, penalty {p}" for p in PENALTIES)
        + " |"
    )
    print("|---|" + "---:|" * (4 + len(PENALTIES)))
    for base in [options.home, options.away]:
        model = ivl.load(str(base), [ivl.Value(str(value))], dtype=torch.bfloat16, device="cpu")
        data = {name: positions(model, tokenizer, rows[name]) for name in rows if name != "train" or base == options.home}
        del model
        held_out, tests = data["held-out"], data["loss"]
        own = min(ALPHAS, key=lambda alpha: mean_loss(held_out, alpha))
        if base == options.home:
            constant, inputs = own, features(*data["train"][:2])
            center, spread = inputs.mean(0), inputs.std(0) + 1e-6
            gates = {penalty: fitted(data["train"], (inputs - center) / spread, penalty) for penalty in PENALTIES}
        inputs = (features(*tests[:2]) - center) / spread
        gated = [mean_loss(tests, 2 * torch.sigmoid(inputs @ w + c)) for w, c in gates.values()]
        shown = [mean_loss(tests, 0), mean_loss(tests, 1), mean_loss(tests, constant), mean_loss(tests, own), *gated]
        print(f"| {base.name} (constants {constant}, {own}) | " + " | ".join(f"{loss:.4f}" for loss in shown) + " |", flush=True)


if __name__ == "__main__":
    main()
