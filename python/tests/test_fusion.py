"""Log-probabilities and greedy texts of fused models, beside those of the command `ivl` (fixtures/make_fusion.py)."""

import json
import os
import pathlib
import subprocess

import pytest
import torch
from transformers import AutoTokenizer

import ivl

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
ROOT = pathlib.Path(__file__).parents[2]
CASES = json.loads((FIXTURES / "fusion.json").read_text())
#: What f32 in another order of sums changes.
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    # Adapters name their base relative to the root of the repository.
    monkeypatch.chdir(ROOT)


def opened(case):
    values = [ivl.Value.parse(value) for value in case["values"]]
    mapped = FIXTURES / case["map"] if case["map"] else None
    return ivl.load(case["base"], [ivl.Value(value.model, value.alpha, mapped) for value in values], device="cpu")


def worst(logprobs, expected):
    return max(abs(own - other) for own, other in zip(logprobs, expected, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_logprobs_equal_ivl(case):
    model = opened(case)
    for score in case["scores"]:
        ids = torch.tensor([score["ids"]])
        expected = score["logprobs"][1:]
        assert worst(model.token_logprobs(ids)[0].tolist(), expected) < TOLERANCE, score["text"]
        # Token by token, from the caches.
        cache, rows = model.new_cache(), []
        with torch.no_grad():
            rows = [model(ids[:, at : at + 1], cache=cache).logits[0, -1] for at in range(ids.shape[1] - 1)]
        stepwise = [float(row.log_softmax(-1)[token]) for row, token in zip(rows, ids[0, 1:])]
        assert worst(stepwise, expected) < TOLERANCE, score["text"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_greedy_text_equals_ivl(case):
    model, tokenizer = opened(case), AutoTokenizer.from_pretrained(case["base"])
    prompt = tokenizer(case["generated"]["prompt"], return_tensors="pt")
    settings = {"max_new_tokens": 24, "do_sample": False}
    out = model.generate(input_ids=prompt.input_ids, attention_mask=prompt.attention_mask, **settings)
    new = out[0, prompt.input_ids.shape[1] :].tolist()
    assert new == case["generated"]["ids"]
    without = model.generate(input_ids=prompt.input_ids, attention_mask=prompt.attention_mask, use_cache=False, **settings)
    assert torch.equal(without, out)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_row_does_not_depend_on_its_batch(case):
    model = opened(case)
    rows = [torch.tensor(score["ids"]) for score in case["scores"]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left")
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
    together = model.token_logprobs(ids, mask)
    for row, alone in enumerate(rows):
        expected = model.token_logprobs(alone[None])[0]
        assert (together[row, -len(expected) :] - expected).abs().max() < TOLERANCE
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    generated = model.generate(input_ids=ids, attention_mask=mask, **settings)[:, ids.shape[1] :]
    for row, alone in enumerate(rows):
        new = model.generate(input_ids=alone[None], attention_mask=torch.ones_like(alone)[None], **settings)[0, len(alone) :]
        assert generated[row, : len(new)].tolist() == new.tolist()


def test_alpha_of_a_call_is_that_of_the_model():
    case = next(case for case in CASES if case["name"] == "several")
    model = opened(case)
    ids = torch.tensor([CASES[1]["scores"][0]["ids"]]).repeat(3, 1)
    names = list(model.alphas)
    by_row = torch.tensor([[0.0, 0.0], [0.5, -0.25], [1.0, 2.0]])
    rows = model.token_logprobs(ids, alpha=by_row)
    for row, alphas in enumerate(by_row.tolist()):
        of_list = model.token_logprobs(ids[:1], alpha=alphas)
        of_names = model.token_logprobs(ids[:1], alpha=dict(zip(names, alphas)))
        assert torch.equal(of_list, of_names)
        assert (rows[row] - of_list[0]).abs().max() < 1e-5
    base = CASES[0]["scores"][0]["logprobs"][1:]
    assert worst(rows[0].tolist(), base) < TOLERANCE
    for name, alpha in zip(names, by_row[2].tolist()):
        model.set_alpha(name, alpha)
    assert torch.equal(model.token_logprobs(ids[:1]), model.token_logprobs(ids[:1], alpha=[1.0, 2.0]))
    settings = {"max_new_tokens": 8, "do_sample": False}
    prompt = ids[:, :4]
    mixed = model.generate(input_ids=prompt, alpha=by_row, **settings)
    for row, alphas in enumerate(by_row.tolist()):
        alone = model.generate(input_ids=prompt[:1], alpha=alphas, **settings)[0]
        assert mixed[row, : len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize("name", ["cascades and residual", "another vocabulary"])
def test_other_ways_of_decoding_keep_their_caches_right(name):
    model = opened(next(case for case in CASES if case["name"] == name))
    case = next(case for case in CASES if case["name"] == name)
    prompt = torch.tensor([case["scores"][0]["ids"][:5]])
    for settings in [{"num_beams": 3}, {"prompt_lookup_num_tokens": 3}, {"do_sample": True, "num_return_sequences": 2}]:
        config = {"max_new_tokens": 10, "do_sample": False, **settings}
        torch.manual_seed(5)
        cached = model.generate(input_ids=prompt, **config)
        if "prompt_lookup_num_tokens" in settings:
            expected = model.generate(input_ids=prompt, max_new_tokens=10, do_sample=False)
        else:
            torch.manual_seed(5)
            expected = model.generate(input_ids=prompt, use_cache=False, **config)
        assert torch.equal(cached, expected), settings


def test_long_prompts_of_cascade_values_are_read_in_chunks(monkeypatch):
    model = opened(next(case for case in CASES if case["name"] == "cascades and residual"))
    ids = torch.tensor([CASES[0]["scores"][1]["ids"]])
    whole = model(ids, use_cache=True, logits_to_keep=1).logits
    monkeypatch.setattr("ivl.fused_lm._LOGITS_AT_ONCE", 7 * 384)
    assert (model(ids, use_cache=True, logits_to_keep=1).logits - whole).abs().max() < TOLERANCE


def test_adapters_share_the_weights_of_their_base():
    model = opened(next(case for case in CASES if case["name"] == "lora on its own base"))
    own = {parameter.data_ptr() for parameter in model.base.parameters()}
    of_value = {name: parameter.data_ptr() for name, parameter in model.attached[0].named_parameters() if "lora" not in name}
    assert set(of_value.values()) <= own
    assert any("lora" in name for name, _ in model.attached[0].named_parameters())
    assert not any("lora" in name for name, _ in model.base.named_parameters())


def test_what_does_not_fit_is_refused(tmp_path):
    small, other = "examples/first-value/small", "crates/ivl-demo-models/models/other"
    with pytest.raises(ivl.IvlError, match=r"different vocabularies: .* of 384 tokens differ; the id .*ivl align"):
        ivl.load(small, [other])
    with pytest.raises(ivl.IvlError, match="was made for a base vocabulary with the fingerprint"):
        ivl.load(small, [ivl.Value(other, map=FIXTURES / "other-small.safetensors")])
    with pytest.raises(ivl.IvlError, match="does-not-exist` is no directory"):
        ivl.load("does-not-exist")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ivl.IvlError, match=r"`missing\.gguf` is a GGUF file: .*`ivl convert missing\.gguf --to hf --out DIR`"):
        ivl.load("missing.gguf")
    with pytest.raises(ivl.IvlError, match=r"holds GGUF files and no config\.json: .*`ivl convert .*model\.gguf --to hf"):
        ivl.load(small, [tmp_path])
    with pytest.raises(ivl.IvlError, match="expected VALUE or VALUE:ALPHA"):
        ivl.load(small, ["x:much"])
    model = ivl.load(small, [f"{small}:0.5"])
    with pytest.raises(ivl.IvlError, match="no value is called `x`, expected small"):
        model.generate(input_ids=torch.tensor([[0, 52]]), alpha={"x": 1.0})
    with pytest.raises(ivl.IvlError, match="expected one for each of 1 values"):
        model(torch.tensor([[0, 52]]), alpha=[1.0, 2.0])
    with pytest.raises(ivl.IvlError, match="does not take `inputs_embeds`"):
        model(torch.tensor([[0, 52]]), inputs_embeds=torch.zeros(1, 2, 32))
    mapped = opened(next(case for case in CASES if case["name"] == "another vocabulary"))
    with pytest.raises(ivl.IvlError, match="expected at most 192; shorten it"):
        mapped(torch.tensor([[5] * 400]))


@pytest.mark.skipif("IVL" not in os.environ, reason="IVL names no command to compare with")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_command_still_says_what_the_fixtures_say(case):
    values = [part for value in case["values"] for part in ("--value", value)]
    mapped = ["--map", str(FIXTURES / case["map"])] if case["map"] else []
    for score in case["scores"]:
        command = [os.environ["IVL"], "score", "--base", case["base"], *values, *mapped, "--text", score["text"], "--json"]
        out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert out["ids"] == score["ids"]
        assert worst(out["logprobs"][1:], score["logprobs"][1:]) < 1e-5
