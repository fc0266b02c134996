"""Servers of vLLM with values, beside transformers and `ivl serve`. Skipped where vLLM is not installed.

Each server takes a minute to start on a CPU: pytest tests/vllm.
"""

import json
import os
import re
import urllib.error
import urllib.request

import pytest
from reference import IDS, TOLERANCE, fused, greedy, worst
from servers import ask, ivl_serve, ivl_vllm, serving, vllm_serve
from transformers import AutoTokenizer

pytest.importorskip("vllm")

VALUES = [("value", 0.7), ("adapters", -0.4)]
SPECULATION = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}


def refused(address, **body):
    """The message of the answer to a request that is refused."""
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(address, "/v1/completions", **body)
    assert error.value.code == 400
    return error.value.read().decode()


def complete(address, model, ids, **further):
    body = {"model": model, "prompt": ids, "max_tokens": 12, "temperature": 0, "return_token_ids": True, **further}
    return ask(address, "/v1/completions", **body)["choices"][0]["token_ids"]


def test_the_server_knows_each_value_by_its_name(models):
    with serving(ivl_vllm(models["base"], f"{models['value']}:0.7", f"{models['adapters']}:-0.4")) as address:
        model = fused(models, VALUES)
        for name, alpha in [("fused", None), ("base", 0.0), ("value", [0.7, 0.0]), ("adapters", [0.0, -0.4])]:
            assert complete(address, name, IDS[0]) == greedy(model, IDS[0], 12, alpha), name
        echoed = ask(address, "/v1/completions", model="fused", prompt=IDS[1], max_tokens=1, temperature=0, echo=True, logprobs=0)
        assert worst(model, IDS[1], echoed["choices"][0]["logprobs"]["token_logprobs"][1 : len(IDS[1])]) < TOLERANCE
        answer = refused(address, model="base", prompt=IDS[1], max_tokens=1, echo=True, logprobs=0)
        assert "log-probabilities of a prompt have the weights of the server" in answer


def test_vllm_serve_with_overrides_needs_nothing_else(models):
    with serving(vllm_serve(models["base"], *((models[name], alpha) for name, alpha in VALUES))) as address:
        model, tokenizer = fused(models, VALUES), AutoTokenizer.from_pretrained(models["base"])
        for ids in IDS:
            assert complete(address, models["base"], ids) == greedy(model, ids, 12)
        for alpha in (0.0, [1.5, 0.0]):
            assert complete(address, models["base"], IDS[0], vllm_xargs={"ivl_alpha": alpha}) == greedy(model, IDS[0], 12, alpha)
        wanted = {"model": models["base"], "prompt": IDS[1], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 3}
        if "IVL" in os.environ:
            with ivl_serve(models["base"], f"one={models['value']}:0.7", f"two={models['adapters']}:-0.4") as of_ivl:
                both = {"ivl": {"values": [{"id": "one", "alpha": 0.7}, {"id": "two", "alpha": -0.4}]}}
                for ids in IDS:
                    body = {"prompt": ids, "max_tokens": 12, "temperature": 0}
                    theirs = ask(of_ivl, "/v1/completions", model="one", **body, **both)["choices"][0]["text"]
                    # The ids of vLLM, not its text: these prompts end within a character, which vLLM writes again.
                    assert tokenizer.decode(complete(address, models["base"], ids), skip_special_tokens=True) == theirs
                exact = ask(of_ivl, "/v1/completions", **{**wanted, "model": "one"}, **both)["choices"][0]["prompt_logprobs"]
            found = ask(address, "/v1/completions", **wanted)["choices"][0]["prompt_logprobs"]
            for ours, theirs in zip(found[1:], exact[1:], strict=True):
                assert ours.keys() == theirs.keys()
                assert all(abs(ours[token]["logprob"] - theirs[token]["logprob"]) < TOLERANCE for token in ours)
        assert "of a prompt have the weights of the server" in refused(address, **wanted, vllm_xargs={"ivl_alpha": 0.0})
        sampled = {"model": models["base"], "prompt": IDS[1], "max_tokens": 1, "logprobs": 1, "vllm_xargs": {"ivl_alpha": 0.0}}
        assert "--logprobs-mode processed_logprobs" in refused(address, **sampled)
        assert "expected one for each of 2 values" in refused(address, **{**sampled, "vllm_xargs": {"ivl_alpha": [1.0]}})


def test_drafts_change_no_token_and_allow_no_other_weights(models):
    command = ivl_vllm(models["base"], f"{models['value']}:0.7")
    with serving([*command, "--speculative-config", json.dumps(SPECULATION)]) as address:
        model = fused(models, VALUES[:1])
        for ids in IDS:
            assert complete(address, "fused", ids, max_tokens=24) == greedy(model, ids, 24)
        metrics = urllib.request.urlopen(f"{address}/metrics").read().decode()
        accepted = re.search(r"^vllm:spec_decode_num_accepted_tokens_total\S* (\S+)", metrics, re.MULTILINE)
        assert accepted is not None
        assert float(accepted[1]) > 0
        answer = refused(address, model="fused", prompt=IDS[0], max_tokens=1, vllm_xargs={"ivl_alpha": 0.0})
        assert "does not work with speculative decoding" in answer


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("value", {"pipeline_parallel_size": 2, "distributed_executor_backend": "mp"}, "values do not work with pipeline parallelism"),
        ("value", {"enable_lora": True}, "values do not work with --enable-lora"),
        ("short", {}, "start it with --max-model-len 40"),
        ("missing", {}, "`missing` is no directory"),
        ("narrow", {}, "narrow` has attention heads of width 16, and vLLM computes 32, 64"),
    ],
)
def test_vllm_refuses_before_it_builds_the_model(models, name, options, message):
    from vllm.engine.arg_utils import EngineArgs

    overrides = {"architectures": ["IvlFused"], "ivl": {"values": [{"model": models.get(name, name)}]}}
    with pytest.raises(ValueError, match=message):
        EngineArgs(models["base"], hf_overrides=overrides, dtype="float32", **options).create_engine_config()
