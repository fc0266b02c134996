"""Fused models in vLLM, beside the same in transformers. Skipped where vLLM is not installed.

Each engine takes a minute to start on a CPU, so that these tests are run by hand: pytest tests/vllm.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from reference import ENVIRONMENT, IDS, TOLERANCE, fused, greedy, worst

pytest.importorskip("vllm")

SCRIPT = """
import json, sys
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    overrides = {"architectures": ["IvlFused"], "ivl": {"values": task["values"]}}
    llm = LLM(task["base"], hf_overrides=overrides, dtype="float32", max_model_len=256, enforce_eager=True, **task["options"])
    found = []
    for request in task["requests"]:
        extra = request.pop("extra", [None] * len(request["ids"]))
        settings = [SamplingParams(temperature=0.0, extra_args=one, **request["settings"]) for one in extra]
        try:
            outs = llm.generate([{"prompt_token_ids": ids} for ids in request["ids"]], settings, use_tqdm=False)
        except Exception as error:  # its errors have no common base
            found.append({"error": str(error)})
            continue
        prompts = [[list(entry.values())[0].logprob for entry in (out.prompt_logprobs or [])[1:]] for out in outs]
        texts = [list(out.outputs[0].token_ids) for out in outs]
        found.append({"texts": texts, "prompts": prompts, "cached": [out.num_cached_tokens for out in outs]})
    print("RESULT" + json.dumps(found))
"""


def run(models, values, requests, **options):
    values = [{"model": models[name], "alpha": alpha} for name, alpha in values]
    task = {"base": models["base"], "values": values, "requests": requests, "options": options}
    environment = {**os.environ, **ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    script = pathlib.Path(models["base"]).parent / "task.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), json.dumps(task)], capture_output=True, text=True, env=environment)
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert result, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(result[0].removeprefix("RESULT"))


def test_texts_and_prompt_logprobs_equal_transformers(models):
    values = [("value", 0.7), ("adapters", -0.4)]
    model = fused(models, values)
    long = [[0, *((7 * at) % 300 + 20 for at in range(150))]]
    alphas = [None, 0.0, [1.5, 0.0], [0.7, 2.0]]
    refused = {"ids": IDS[:1], "settings": {"max_tokens": 1, "prompt_logprobs": 0}, "extra": [{"ivl_alpha": 0.0}]}
    requests = [
        {"ids": IDS, "settings": {"max_tokens": 16}},
        {"ids": IDS, "settings": {"max_tokens": 1, "prompt_logprobs": 0}},
        # Read in chunks of 64 tokens, then from the prefix cache.
        {"ids": long, "settings": {"max_tokens": 12}},
        {"ids": long, "settings": {"max_tokens": 12}},
        {"ids": IDS, "settings": {"max_tokens": 12}, "extra": [None if one is None else {"ivl_alpha": one} for one in alphas]},
        refused,
        {"ids": IDS[:1], "settings": {"max_tokens": 1}, "extra": [{"ivl_alpha": [1.0]}]},
    ]
    plain, prompts, first, second, by_request, echo, wrong = run(
        models, values, requests, max_num_batched_tokens=64, max_num_seqs=8, enable_prefix_caching=True,
        # vLLM knows it from the package, too: the weights are applied once.
        logits_processors=["ivl.vllm.alpha_processor:AlphaProcessor"],
    )  # fmt: skip
    assert plain["texts"] == [greedy(model, ids, 16) for ids in IDS]
    for ids, logprobs in zip(IDS, prompts["prompts"]):
        assert worst(model, ids, logprobs) < TOLERANCE
    assert first["texts"] == second["texts"] == [greedy(model, long[0], 12)]
    assert second["cached"][0] >= 64
    assert by_request["texts"] == [greedy(model, ids, 12, alpha) for ids, alpha in zip(IDS, alphas)]
    assert by_request["texts"][1] == greedy(fused(models, []), IDS[1], 12)
    assert "log-probabilities of a prompt have the weights of the server" in echo["error"]
    assert "expected one for each of 2 values" in wrong["error"]


def test_drafts_by_ngrams_change_no_token(models):
    values = [("value", 0.7)]
    model = fused(models, values)
    requests = [{"ids": IDS, "settings": {"max_tokens": 24}}]
    speculative = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    (found,) = run(models, values, requests, speculative_config=speculative)
    assert found["texts"] == [greedy(model, ids, 24) for ids in IDS]
