"""Exact-match accuracy of a base without and with a value of the same vocabulary, by transformers instead of ivl.

    python exact_match.py ROWS BASE [VALUE[:ALPHA]]       needs `torch` and `transformers`

A greedy answer equals the reference if and only if each of its tokens, the end token too, is the most probable one after the
reference so far. So one pass over question and answer decides, without generating. Prints the shares (%)
of answers that are right (exact), whose fact tokens are right (facts), and whose other tokens are right (form), and the loss
per token of the answer.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH = 64


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def tokens(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def example(row, tokenizer):
    """All tokens of a row, where the answer begins, and which tokens of the answer belong to facts."""
    whole = tokenizer.apply_chat_template(row["messages"], tokenize=False).rstrip("\n")
    prompt = tokenizer.apply_chat_template(row["messages"][:1], tokenize=False, add_generation_prompt=True)
    ids, start = tokens(tokenizer, whole), len(tokens(tokenizer, prompt))
    answer, place = ids[start:], 0
    facts = torch.zeros(len(answer), dtype=torch.bool)
    for fact in row["facts"]:
        piece = tokens(tokenizer, f"x {fact}")[len(tokens(tokenizer, "x")):]
        places = (p for p in range(place, len(answer)) if answer[p:p + len(piece)] == piece)
        place = next(places) + len(piece)
        facts[place - len(piece):place] = True
    return ids, start, facts


@torch.no_grad()
def logits(models, ids):
    batch = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    return sum(alpha * model(input_ids=batch).logits for model, alpha in models)


def main():
    rows = [json.loads(line) for line in open(sys.argv[1])]
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
    models = [(load(sys.argv[2]), 1.0)]
    for value in sys.argv[3:]:
        path, _, alpha = value.partition(":")
        models.append((load(path), float(alpha or 1)))
    examples = sorted((example(row, tokenizer) for row in rows), key=lambda e: len(e[0]))
    exact = right_facts = right_form = 0
    loss, count = 0.0, 0
    for first in range(0, len(examples), BATCH):
        batch = examples[first:first + BATCH]
        for (ids, start, facts), all_logits in zip(batch, logits(models, [e[0] for e in batch])):
            answer, predicted = torch.tensor(ids[start:]), all_logits[start - 1:len(ids) - 1]
            right = predicted.argmax(-1) == answer
            exact += bool(right.all())
            right_facts += bool(right[facts].all())
            right_form += bool(right[~facts].all())
            loss += torch.nn.functional.cross_entropy(predicted, answer, reduction="sum").item()
            count += len(answer)
    percent = [f"{100 * n / len(rows):.1f}" for n in (exact, right_facts, right_form)]
    print(f"exact {percent[0]} facts {percent[1]} form {percent[2]} loss {loss / count:.3f}  {' '.join(sys.argv[2:])}")


if __name__ == "__main__":
    main()
