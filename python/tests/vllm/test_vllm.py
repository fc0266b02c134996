"""Fused models in vLLM, beside the same in transformers. Skipped where vLLM is not installed.

Each engine takes a minute to start on a CPU, so that these tests are run by hand: pytest tests/vllm. Models are random, since vLLM has
no attention kernels for the head widths of the tiny models that ivl ships.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

pytest.importorskip("vllm")

import ivl

ROOT = pathlib.Path(__file__).parents[3]
TOKENIZER = ROOT / "examples/first-value/large"
IDS = [[0, *range(50 + 7 * row, 80 + 9 * row)] for row in range(4)]
TOLERANCE = 2e-4
PORT = 8765


def make_model(directory, seed, **shape):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=384, head_dim=64, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, initializer_range=0.15,
        tie_word_embeddings=False, **shape,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, directory / name)
    return str(directory)


def make_adapters(directory, base, seed):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(network, LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    adapted.save_pretrained(directory)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(base) / name, directory / name)
    return str(directory)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    of_base = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    of_value = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    base = make_model(root / "base", 1, **of_base)
    value = make_model(root / "value", 2, **of_value)
    return {"base": base, "value": value, "adapters": make_adapters(root / "adapters", base, 3)}


SCRIPT = """
import json, sys
from vllm import LLM, SamplingParams
from ivl.vllm.served_values import Served, ServedValue

if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    served = tuple(ServedValue(value["model"], value["alpha"], str(at)) for at, value in enumerate(task["values"]))
    Served(served, "base", "fused", True, False).to_environment()
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
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    script = pathlib.Path(models["base"]).parent / "task.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), json.dumps(task)], capture_output=True, text=True, env=environment)
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert result, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(result[0].removeprefix("RESULT"))


def fused(models, values):
    return ivl.load(models["base"], [ivl.Value(models[name], alpha) for name, alpha in values], device="cpu")


def greedy(model, ids, count, alpha=None):
    out = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=count, do_sample=False, alpha=alpha)
    return out[0, len(ids) :].tolist()


def worst(model, ids, prompts):
    expected = model.token_logprobs(torch.tensor([ids]))[0]
    return float((torch.tensor(prompts) - expected).abs().max())


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
        models, values, requests, logits_processors=["ivl.vllm.alpha_processor:AlphaProcessor"], max_num_batched_tokens=64, max_num_seqs=8,
        enable_prefix_caching=True,
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


def ask(path, **body):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_the_server_knows_each_value_by_its_name(models):
    command = [sys.executable, "-m", "ivl.vllm.command", "serve", "--base", models["base"], "--value", f"{models['value']}:0.7"]
    command += ["--value", f"{models['adapters']}:-0.4", "--port", str(PORT), "--dtype", "float32", "--max-model-len", "256"]
    command += ["--enforce-eager"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 600
        while server.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5)
                break
            except OSError:
                time.sleep(1)
        model = fused(models, [("value", 0.7), ("adapters", -0.4)])
        for name, alpha in [("fused", None), ("base", 0.0), ("value", [0.7, 0.0]), ("adapters", [0.0, -0.4])]:
            body = {"model": name, "prompt": IDS[0], "max_tokens": 12, "temperature": 0, "return_token_ids": True}
            answer = ask("/v1/completions", **body)
            assert answer["choices"][0]["token_ids"] == greedy(model, IDS[0], 12, alpha), name
        echoed = ask("/v1/completions", model="fused", prompt=IDS[1], max_tokens=1, temperature=0, echo=True, logprobs=0)
        assert worst(model, IDS[1], echoed["choices"][0]["logprobs"]["token_logprobs"][1 : len(IDS[1])]) < TOLERANCE
        with pytest.raises(urllib.error.HTTPError):
            ask("/v1/completions", model="base", prompt=IDS[1], max_tokens=1, echo=True, logprobs=0)
    finally:
        os.killpg(server.pid, 9)
        server.wait()
