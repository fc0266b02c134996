"""The output of a run: an ordinary Hugging Face directory with a card, as `ivl train` writes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from ivl.checkpoint import Checkpoint
from ivl.train.checkpoints import RunState
from ivl.train.exported_run import ExportedRun
from ivl.train.learner import Learner
from ivl.train.processes import Processes
from ivl.train.settings import Settings

#: The files of a tokenizer, as `ivl train` copies them.
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "tokenizer.model",
)  # fmt: skip

#: Prefix of the value's parameters in a state of the learner, and of PEFT in its files.
_OURS, _PEFT = "value.split.network.", "base_model.model."
#: What PEFT puts into the name of a module that is saved with adapters.
_NORM = ".modules_to_save.default."


def write_value(learner: Learner, run: ExportedRun, settings: Settings, state: RunState, processes: Processes) -> None:
    """Writes the directory; `config.json` comes last: without it the directory is no checkpoint."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=settings.adapters and not settings.merge)
    weights: dict[str, Any] = {name.removeprefix(_OURS): tensor for name, tensor in get_model_state_dict(learner, options=options).items()}
    if processes.is_first:
        output = settings.output
        output.mkdir(parents=True, exist_ok=True)
        source: Checkpoint = learner.value.source
        for name in _TOKENIZER:
            if (source.directory / name).is_file():
                shutil.copyfile(source.directory / name, output / name)
        card = run.description["card"]
        if card is not None:
            _write_card(output, card, state)
        config = dict(run.description["value"]["config"])
        if settings.adapters and not settings.merge:
            _write_adapters(output, weights, learner)
        else:
            merged = _merged(weights, learner) if settings.adapters else weights
            _write_weights(output, merged, learner)
            config.pop("torch_dtype", None)
            config["dtype"] = "float32"
        _write_whole(output / "config.json", json.dumps(config, indent=2))
    processes.wait()


def _write_card(output: Path, card: dict[str, Any], state: RunState) -> None:
    evals = [
        {key: report[key] for key in ("base", "base_loss", "loss", "kl", "tokens")} for report in state.evals if report["base"] is not None
    ]
    last = None if state.last is None else state.last["loss"]
    filled = {**card, "steps": state.step, "tokens": state.tokens, "evals": evals, "train_loss": last}
    _write_whole(output / "ivl.json", json.dumps(filled, indent=2))
    if card.get("chat_template"):
        _write_whole(output / "chat_template.jinja", card["chat_template"])


def _write_adapters(output: Path, weights: dict[str, torch.Tensor], learner: Learner) -> None:
    adapters = {name: tensor for name, tensor in weights.items() if ".lora_" in name}
    named = {f"{_PEFT}{name.replace('.default.', '.')}": tensor.float().contiguous() for name, tensor in adapters.items()}
    with safe_open(learner.value.adapters_directory / "adapter_model.safetensors", framework="pt") as started:
        # A last norm that is not the model's: it is frozen.
        names = started.keys()
        named |= {name: started.get_tensor(name) for name in names if ".lora_" not in name}
    _save(output / "adapter_model.safetensors", named)
    described = json.loads((learner.value.adapters_directory / "adapter_config.json").read_text())
    _write_whole(output / "adapter_config.json", json.dumps(described, indent=2))


def _merged(weights: dict[str, torch.Tensor], learner: Learner) -> dict[str, torch.Tensor]:
    """Weights with the adapters added, under the names of the network without them: `W + alpha / rank B A`."""
    kept = {name: tensor for name, tensor in weights.items() if ".lora_" not in name and ".original_module." not in name}
    found = {name.replace(".base_layer.", ".").replace(_NORM, "."): tensor for name, tensor in kept.items()}
    for module, layer in learner.value.split.network.named_modules():
        down = weights.get(f"{module}.lora_A.default.weight")
        if down is not None:
            up = weights[f"{module}.lora_B.default.weight"]
            found[f"{module}.weight"] = found[f"{module}.weight"].float() + layer.scaling["default"] * (up.float() @ down.float())
    return found


def _write_weights(output: Path, weights: dict[str, torch.Tensor], learner: Learner) -> None:
    network = learner.value.split.network
    tied = set(getattr(network, "all_tied_weights_keys", None) or ()) if network.config.get_text_config().tie_word_embeddings else set()
    kept = {name: tensor.float().contiguous() for name, tensor in weights.items() if name not in tied}
    _save(output / "model.safetensors", kept)


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(path)


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
