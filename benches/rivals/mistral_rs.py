"""One measurement of mistral.rs (package mistralrs): `python mistral_rs.py FILE.gguf THREADS` prints a line of JSON.

Its own figures, which include sampling. It has no batch of a given number of rows.
"""

import json
import os
import pathlib
import sys

path, threads = pathlib.Path(sys.argv[1]), sys.argv[2]
os.environ["RAYON_NUM_THREADS"] = threads

from mistralrs import CompletionRequest, Runner, Which  # noqa: E402

runner = Runner(which=Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name))


def run(words, tokens):
    request = CompletionRequest(model="", prompt=" dog" * words, max_tokens=tokens, temperature=0.0)
    return runner.send_completion_request(request).usage


run(16, 4)
speeds = {f"prefill {words}": run(words, 1).avg_prompt_tok_per_sec for words in (256, 2048)}
speeds["decode"] = run(64, 48).avg_compl_tok_per_sec
print(json.dumps(speeds))
