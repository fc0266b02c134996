"""Trains a value against a GGUF file and one against the directory of the same model, and uses each on both. Makes a table of docs/gguf.md.

    cargo build --release --workspace --bin ivl
    python studies/gguf_values.py FILE.gguf DIRECTORY

Low-rank adapters, 10 steps of 8 of the demonstrations in examples/first-value, the same seed. Prints the held-out loss of each model
without and with each value, as `ivl train` measures it at the end on its base and on the other. Needs only the Python standard library.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

IVL = os.environ.get("IVL", "target/release/ivl")
DATA = pathlib.Path(__file__).resolve().parents[1] / "examples/first-value"


def train(folder, base, other):
    """The losses on the base of the training and on the other."""
    config = pathlib.Path(folder, "train.toml")
    texts = dict(output=folder + "/value", base=base)
    lines = [f"{key} = {json.dumps(text)}" for key, text in texts.items()] + ["seed = 1"]
    lines += ["[value.lora]", "rank = 8", "[steps]", "max_steps = 10", "batch_size = 8"]
    lines += ["[data]", f"train = [{json.dumps(str(DATA / 'train.jsonl'))}]", f"eval = [{json.dumps(str(DATA / 'held-out.jsonl'))}]"]
    lines += ["[eval]", f"bases = [{json.dumps(other)}]"]
    config.write_text("\n".join(lines) + "\n")
    said = subprocess.run([IVL, "train", config, "--json", "--quiet"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(said.stdout)["evals"]


def main():
    models = sys.argv[1:]
    print("| value trained against | on | held-out loss of the base | with the value |\n|---|---|---|---|")
    for base, other in [models, models[::-1]]:
        with tempfile.TemporaryDirectory() as folder:
            for model, losses in zip([base, other], train(folder, base, other)):
                names = [pathlib.Path(each).name for each in (base, model)]
                print(f"| {names[0]} | {names[1]} | {losses['base_loss']:.4f} | {losses['loss']:.4f} |", flush=True)


if __name__ == "__main__":
    main()
