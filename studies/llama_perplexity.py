"""The perplexity of a text by a GGUF file, as llama.cpp computes it. `benches/rivals/install_gguf.sh` builds llama.cpp."""

import re
import subprocess

ATTEMPTS = 20


def perplexity(program, file, text_file, *options):
    """`None` where llama.cpp does not open the file."""
    command = [str(part) for part in [program, "-m", file, "-f", text_file, *options]]
    # At its end llama-perplexity may lose the lines that it has not written yet, the result among them.
    for _ in range(ATTEMPTS):
        said = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"Final estimate: PPL = ([\d.]+)", said.stdout + said.stderr)
        if found or said.returncode:
            break
    return float(found[1]) if found else None
