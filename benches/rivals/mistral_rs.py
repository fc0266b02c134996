"""One measurement of mistral.rs (package mistralrs): `python mistral_rs.py FILE.gguf THREADS decode|prefill COUNT` prints tokens a second.

Its own figures, which include sampling; COUNT is the length of the prompt. It has no batch of a given number of rows.
"""

import os
import pathlib
import sys

path, threads, kind, count = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ["RAYON_NUM_THREADS"] = threads

from mistralrs import CompletionRequest, Runner, Which  # noqa: E402

runner = Runner(which=Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name))


def run(words, tokens):
    request = CompletionRequest(model="", prompt=" dog" * words, max_tokens=tokens, temperature=0.0)
    return runner.send_completion_request(request).usage


run(16, 4)
print(run(count, 1).avg_prompt_tok_per_sec if kind == "prefill" else run(count, 48).avg_compl_tok_per_sec)
