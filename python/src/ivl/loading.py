"""From directories to a base with values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ivl.attached_value import AttachedValue, CascadeValue, ResidualValue, RetokenizedValue
from ivl.chat_turns import end_ids
from ivl.checkpoint import Checkpoint, LoadOptions
from ivl.errors import IvlError
from ivl.fused_lm import FusedCausalLM
from ivl.learned_gate import LearnedGate
from ivl.projection import VocabProjection
from ivl.retokenized_value import RetokenizedNetwork
from ivl.value import Value, checked_alpha
from ivl.value_card import Connection, ValueCard
from ivl.vocab_map import VocabMap


def load(
    base: str | Path | PreTrainedModel,
    values: Sequence[str | Path | Value] = (),
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> FusedCausalLM:
    """A base with any number of values, ready to generate.

    `base` is a directory, a hub name, or a causal LM of transformers that was loaded from one; `values` are directories, hub names
    (`VALUE[:ALPHA]` as in the command `ivl`) or `Value`. `dtype` is f32 on a CPU, else that of each checkpoint's first choice: the
    `dtype` of its `config.json`. `device` is the first GPU, if there is one. Further options go to `from_pretrained` of base and values
    (`attn_implementation`, `device_map`, `quantization_config`).

    Raises `IvlError` for names that cannot be resolved, files that cannot be read, and values that do not fit the base.
    """
    place = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    opened = Checkpoint.open(base.config._name_or_path if isinstance(base, PreTrainedModel) else base)
    planned = [_Planned.open(value, opened) for value in values]
    network = base if isinstance(base, PreTrainedModel) else opened.load(_options(opened, dtype, place, options))
    attached: list[AttachedValue] = []
    for plan in planned:
        name = plan.value.called({value.name for value in attached})
        weights = plan.checkpoint.load(_options(plan.checkpoint, dtype, place, options), (opened.directory, network))
        attached.append(plan.attach(name, weights, opened).to(weights.device))
    model = FusedCausalLM(network, attached)
    ends = end_ids(opened, [plan.checkpoint for plan in planned])
    if ends and model.generation_config is not None:
        model.generation_config.eos_token_id = ends
        if model.generation_config.pad_token_id is None:
            model.generation_config.pad_token_id = ends[0]
    return model.eval()


def _options(checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device, further: dict[str, Any]) -> LoadOptions:
    if dtype is None:
        written = (checkpoint.adapted or checkpoint).config.dtype
        dtype = torch.float32 if device.type == "cpu" or not isinstance(written, torch.dtype) else written
    return LoadOptions(dtype, device, further)


@dataclass(frozen=True)
class _Planned:
    """A value that fits a base; its weights are not read yet."""

    value: Value
    checkpoint: Checkpoint
    alpha: float
    connection: Connection
    gate: LearnedGate | None
    vocab_map: VocabMap

    @classmethod
    def open(cls, value: str | Path | Value, base: Checkpoint) -> _Planned:
        """Opens a value and finds out whether it fits.

        Raises `IvlError` for files that cannot be read, or a value of another vocabulary without a map.
        """
        if not isinstance(value, Value):
            value = Value.parse(str(value))
        checkpoint = Checkpoint.open(value.model)
        card = ValueCard.read(checkpoint.directory)
        try:
            vocab_map = VocabMap.same_ids(base.vocab, checkpoint.vocab)
        except IvlError as refusal:
            if value.map is None or card.connection is not Connection.RESIDUAL:
                raise IvlError(f"`{checkpoint.name}` does not fit `{base.name}`: {refusal}") from refusal
            vocab_map = VocabMap.from_file(Path(value.map), base.vocab, checkpoint.vocab)
        alpha = checked_alpha(card.alpha if value.alpha is None else value.alpha)
        return cls(value, checkpoint, alpha, card.connection, card.gate, vocab_map)

    def attach(self, name: str, network: PreTrainedModel, base: Checkpoint) -> AttachedValue:
        """The value with its weights."""
        if self.vocab_map.neutral:
            vocabs = (base.vocab, self.checkpoint.vocab)
            reading = RetokenizedNetwork(network, self.checkpoint.name, self.checkpoint.tokenizer, vocabs, self.vocab_map)
            return RetokenizedValue(name, self.alpha, reading, self.gate)
        projection = VocabProjection(self.vocab_map).to(network.device)
        if self.connection is Connection.RESIDUAL:
            return ResidualValue(name, self.alpha, network, projection, self.gate)
        return CascadeValue(name, self.alpha, network, projection, self.connection)
