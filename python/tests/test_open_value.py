"""Adapters as vLLM loads them, beside PEFT, which merges them; needs no vLLM."""

import pathlib
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from ivl.checkpoint import Checkpoint
from ivl.errors import IvlError
from ivl.vllm.open_value import OpenValue

BASE = pathlib.Path(__file__).parents[2] / "examples/first-value/large"


def adapters(directory, **settings):
    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, **settings))
    return adapted, directory


def saved(adapted, directory):
    adapted.save_pretrained(directory)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, directory / name)
    return OpenValue(str(directory), None, Checkpoint.open(BASE))


def test_every_weight_is_what_peft_makes_of_it(tmp_path):
    targets = {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["model.norm"]}
    adapted, directory = adapters(tmp_path / "value", **targets)
    # `ivl train` begins with a smaller last norm, which it saves with new adapters.
    with torch.no_grad():
        adapted.base_model.model.model.norm.modules_to_save["default"].weight *= 0.2
    changes = saved(adapted, directory).changes()
    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).state_dict()
    layers = adapted.base_model.model.config.num_hidden_layers
    assert len(changes) == 2 * layers + 1
    for name, merged in adapted.merge_and_unload().state_dict().items():
        ours = changes.pop(name)(plain[name]) if name in changes else plain[name]
        torch.testing.assert_close(ours, merged, rtol=0, atol=1e-6, msg=name)
        assert (ours is plain[name]) == torch.equal(merged, plain[name]), name
    assert not changes


def test_adapters_of_other_kinds_are_refused(tmp_path):
    adapted, directory = adapters(tmp_path / "value", target_modules=["q_proj"], use_rslora=True)
    with pytest.raises(IvlError, match="holds adapters with `use_rslora`"):
        saved(adapted, directory).changes()
