"""Copies pre-trained models to their place in the repository, with weights in half precision, and records their hashes.

    python half.py FROM TO NAME[=DIRECTORY]..        needs `numpy` and `safetensors`
"""

import hashlib
import json
import pathlib
import shutil
import sys

import numpy
from safetensors.numpy import load_file, save_file


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    for argument in sys.argv[3:]:
        name, _, directory = argument.partition("=")
        trained, model = source / (directory or name), target / name
        model.mkdir(parents=True, exist_ok=True)
        weights = load_file(trained / "model.safetensors")
        half = {key: weights[key].astype(numpy.float16) for key in sorted(weights)}
        assert all(numpy.isfinite(tensor).all() for tensor in half.values()), name
        save_file(half, model / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((trained / "config.json").read_text())
        config["dtype"] = "float16"
        (model / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(trained / file, model / file)
    files = sorted(file for file in target.rglob("*") if file.is_file() and file.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(target)}\n" for file in files]
    (target / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
