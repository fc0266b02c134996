"""The same models in transformers, which the tests compare vLLM with."""

import torch

import ivl

IDS = [[0, *range(50 + 7 * row, 80 + 9 * row)] for row in range(4)]
#: Of log-probabilities in f32.
TOLERANCE = 2e-4
#: vLLM on a CPU, with little memory for its caches.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}


def fused(models, values):
    return ivl.load(models["base"], [ivl.Value(models[name], alpha) for name, alpha in values], device="cpu")


def greedy(model, ids, count, alpha=None):
    out = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=count, do_sample=False, alpha=alpha)
    return out[0, len(ids) :].tolist()


def worst(model, ids, prompts):
    expected = model.token_logprobs(torch.tensor([ids]))[0]
    return float((torch.tensor(prompts) - expected).abs().max())
