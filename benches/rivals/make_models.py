"""Random Llama checkpoints of the shapes that benches/RESULTS.md compares, and rows to train on.

    python benches/rivals/make_models.py DIR TOKENIZER.json

Needs torch and transformers, and a tokenizer.json of about 32,000 tokens (any Llama 2 model has one). Writes DIR/24m and DIR/134m
(vocabulary 32,000), and DIR/rows.jsonl: texts of more than 129 tokens.
"""

import json
import pathlib
import random
import shutil
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "24m": dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6, tie_word_embeddings=True),
    "134m": dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12),
}
WORDS = "the a river house stone bird and or walks sleeps under over green old small quiet every never morning night".split()


def main():
    root, tokenizer = pathlib.Path(sys.argv[1]), sys.argv[2]
    for name, shape in SHAPES.items():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(vocab_size=32000, max_position_embeddings=2048, **shape)).save_pretrained(root / name)
        shutil.copy(tokenizer, root / name / "tokenizer.json")
    random.seed(0)
    rows = [" ".join(random.choices(WORDS, k=200)) for _ in range(64)]
    (root / "rows.jsonl").write_text("".join(json.dumps(dict(text=text)) + "\n" for text in rows))


if __name__ == "__main__":
    main()
