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

from shapes import load

WORDS = "the a river house stone bird and or walks sleeps under over green old small quiet every never morning night".split()


def main():
    root, tokenizer = pathlib.Path(sys.argv[1]), sys.argv[2]
    for name in "24m", "134m":
        load(name).save_pretrained(root / name)
        shutil.copy(tokenizer, root / name / "tokenizer.json")
    random.seed(0)
    rows = [" ".join(random.choices(WORDS, k=200)) for _ in range(64)]
    (root / "rows.jsonl").write_text("".join(json.dumps(dict(text=text)) + "\n" for text in rows))


if __name__ == "__main__":
    main()
