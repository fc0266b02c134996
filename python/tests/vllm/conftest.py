"""Models that vLLM has kernels for: random ones, since it has no attention kernels for the head widths of the tiny models of ivl."""

import pathlib
import shutil

import pytest
import torch

TOKENIZER = pathlib.Path(__file__).parents[3] / "examples/first-value/large"


def make_model(directory, seed, **shape):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        **{"vocab_size": 384, "head_dim": 64, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
           "initializer_range": 0.15, "tie_word_embeddings": False, **shape}
    )  # fmt: skip
    # In f16, as most checkpoints are: vLLM computes in f32, adapters included.
    LlamaForCausalLM(config).half().save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, directory / name)
    return str(directory)


def make_adapters(directory, base, seed):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["model.norm"]}
    adapted = get_peft_model(network, LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, **targets))
    # A last norm of their own, as `ivl train` saves one with new adapters.
    with torch.no_grad():
        adapted.base_model.model.model.norm.modules_to_save["default"].weight *= torch.linspace(0.2, 0.6, network.config.hidden_size)
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
    short = make_model(root / "short", 2, max_position_embeddings=40, **of_value)
    narrow = make_model(root / "narrow", 2, **{**of_value, "head_dim": 16})
    return {"base": base, "value": value, "short": short, "narrow": narrow, "adapters": make_adapters(root / "adapters", base, 3)}
