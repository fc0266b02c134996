"""Writes what lm-evaluation-harness computes on the example's models: tests/fixtures/harness.json.

    pip install "lm-eval[hf,ifeval]==0.4.13" && python make_fixtures.py
"""

import json
import pathlib

from harness import HERE, summary

EXAMPLE = HERE / "../../../examples/first-value"
CHAT = (HERE / "tasks/chat.jinja").read_text()
RUNS = [
    ("large", "choice", 256, False), ("large", "choice", 40, False), ("large", "choice", 256, True), ("small", "plain", 256, False),
    ("large", "hellaswag_rows", 256, False), ("large", "rolling", 256, False), ("small", "rolling", 7, False), ("large", "wikitext_pages", 16, False),
    ("large", "gsm8k_rows", 256, False), ("large", "gsm8k_rows", 60, False),
]


def main():
    runs = []
    for base, task, max_length, chat in RUNS:
        out = summary((EXAMPLE / base).resolve(), task, max_length, CHAT if chat else None)
        runs.append({"base": base, "task": task, "max_length": max_length, "chat": chat, **out})
    path = pathlib.Path(HERE / "../tests/fixtures/harness.json").resolve()
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(runs, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
