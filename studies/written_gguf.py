"""Opens GGUF files that ivl wrote in llama.cpp. Makes a line of docs/gguf.md.

    cargo build --release --workspace --bin ivl
    python studies/written_gguf.py BIN/llama-perplexity TEXT_FILE FILE.gguf... [--context 32] [--chunks 8]

Each file is read by ivl and written again as F16 and Q8_0 (`ivl convert`); llama.cpp computes the perplexity of TEXT_FILE by the file and
by both copies. The difference of the copy in F16 is that of the numbers that the file does not have in F16. Needs only the standard
library. `benches/rivals/install_gguf.sh` builds llama.cpp.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

from llama_perplexity import perplexity

IVL = os.environ.get("IVL", "target/release/ivl")
TYPES = ["F16", "Q8_0"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    parser.add_argument("--context", type=int, default=32)
    parser.add_argument("--chunks", type=int, default=8)
    options = parser.parse_args()
    print(f"| file | perplexity | {' | '.join(f'written as {kind}' for kind in TYPES)} |\n|---|---|{'---|' * len(TYPES)}")
    failed = 0
    settings = ["-c", options.context, "--chunks", options.chunks, "-t", 2]
    for file in options.files:
        found = [perplexity(options.program, file, options.text, *settings)]
        with tempfile.TemporaryDirectory() as folder:
            for kind in TYPES:
                copy = pathlib.Path(folder) / f"{kind}.gguf"
                subprocess.run([IVL, "convert", file, "--to", f"gguf:{kind}", "--out", copy, "--quiet"], check=True, stdout=sys.stderr)
                found.append(perplexity(options.program, copy, options.text, *settings))
        failed += found[0] is not None and None in found
        print(f"| {file.stem} | " + " | ".join("not opened" if each is None else f"{each:.4f}" for each in found) + " |", flush=True)
    if failed:
        sys.exit(f"llama.cpp opens {failed} of the files and not what ivl writes of them")


if __name__ == "__main__":
    main()
