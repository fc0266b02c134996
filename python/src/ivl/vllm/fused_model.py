"""Base and values as one model of vLLM."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig
from vllm.config import VllmConfig
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.models.utils import init_vllm_registered_model, maybe_prefix

from ivl.checkpoint import Checkpoint
from ivl.errors import IvlError
from ivl.projection import VocabProjection
from ivl.vllm.fused_config import refuse
from ivl.vllm.open_value import OpenValue
from ivl.vllm.served_values import values_of_overrides

#: Before the names of a value's weights.
_PREFIX = "ivl_value_{}."


class IvlFused(nn.Module):
    """A base and its values, two or more models that vLLM knows: `l = l_base + sum_i alpha_i M_i(l_value_i)`, in f32. The term of a value
    whose card has a learned gate is multiplied by it.

    The hidden states of all of them, side by side, are what vLLM moves around; `compute_logits` fuses. Each has attention layers of its own
    with pages of their own, so that prefix caches, chunked prefill and speculation see one model.
    """

    base: Any
    projections: Any

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        model_config = vllm_config.model_config
        base_config = copy.deepcopy(model_config.hf_config)
        opened = Checkpoint.open(model_config.model)
        refuse(vllm_config)
        base_config.architectures = list(AutoConfig.from_pretrained(opened.directory).architectures or ())
        values = [OpenValue(name, alpha, opened) for name, alpha in values_of_overrides(getattr(base_config, "ivl", None))]
        self.base = init_vllm_registered_model(vllm_config, hf_config=base_config, prefix=maybe_prefix(prefix, "base"))
        # Not a list of modules: vLLM takes the only number in a layer's name for its place.
        self._names = [f"value{index}" for index in range(len(values))]
        self.projections = nn.ModuleList()
        self.alphas = [value.alpha for value in values]
        self.gates = [value.gate for value in values]
        self.secondary_weights = []
        self._changes: list[dict[str, Callable[[Tensor], Tensor]]] = []
        self._widths = [int(base_config.get_text_config().hidden_size)]
        for index, value in enumerate(values):
            value.check_length(model_config.max_model_len)
            config = AutoConfig.from_pretrained(value.checkpoint.directory)
            own = _config_of_value(vllm_config, str(value.weights.directory))
            place = maybe_prefix(prefix, self._names[index])
            self.add_module(self._names[index], init_vllm_registered_model(own, hf_config=config, prefix=place))
            self.projections.append(VocabProjection(value.vocab_map))
            self._widths.append(int(config.get_text_config().hidden_size))
            source = DefaultModelLoader.Source(str(value.weights.directory), None, prefix=_PREFIX.format(index))
            self.secondary_weights.append(source)
            self._changes.append(value.changes())
        #: The values' logits in the last call of `compute_logits`, multiplied by their gates, for requests with weights of their own.
        self.last_value_logits: list[Tensor] = []
        #: The logits processor that applies these weights. One: vLLM may be told of it twice.
        self.processor: Any = None
        LIVE.append(self)

    @property
    def values(self) -> list[Any]:
        """The networks of the values."""
        return [getattr(self, name) for name in self._names]

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """The input embeddings of the base."""
        embedded: Tensor = self.base.embed_input_ids(input_ids)
        return embedded

    def forward(
        self, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None, inputs_embeds: Tensor | None = None
    ) -> Tensor:
        """Hidden states of base and values side by side, `[tokens, sum of widths]`."""
        states = [self.base(input_ids, positions, None, inputs_embeds)]
        states += [
            value(projection.tokens(input_ids), positions, None, None) for value, projection in zip(self.values, self.projections)
        ]
        return torch.cat(states, -1)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """The fused logits, `[rows, vocab]` in f32; `None` where vLLM gathers them on another process."""
        of_base, *of_values = torch.split(hidden_states, self._widths, -1)
        fused = self.base.compute_logits(of_base.contiguous())
        logits = [value.compute_logits(state.contiguous()) for value, state in zip(self.values, of_values)]
        if fused is None:
            return None
        base = fused = fused.float()
        self.last_value_logits = []
        for own, projection, gate, alpha in zip(logits, self.projections, self.gates, self.alphas):
            mapped = projection.logits(own).float()
            if gate is not None:
                # The logits of both are whole here: vLLM has gathered the parts of a vocabulary that is divided among devices.
                mapped = gate.apply(base, mapped, missing=projection.missing)
            self.last_value_logits.append(mapped)
            if alpha != 0.0:
                fused = fused + alpha * mapped
        return fused

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Loads the base's weights, then those of each value as its adapters change them."""
        loaded: set[str] = set()
        prefixes = [_PREFIX.format(index) for index in range(len(self.values))]

        def owner(item: tuple[str, Tensor]) -> int:
            return next((index for index, prefix in enumerate(prefixes) if item[0].startswith(prefix)), -1)

        for index, own in groupby(weights, key=owner):
            if index < 0:
                loaded |= {f"base.{name}" for name in self.base.load_weights(own)}
                continue
            network, changes, prefix = self.values[index], self._changes[index], prefixes[index]
            renamed = ((name.removeprefix(prefix), tensor) for name, tensor in own)
            changed = ((name, changes.pop(name, _same)(tensor)) for name, tensor in renamed)
            loaded |= {f"{self._names[index]}.{name}" for name in network.load_weights(changed)}
            if changes:
                raise IvlError(f"the adapters of value {index + 1} adapt `{next(iter(changes))}`, which the model under them does not have")
        return loaded


#: The fused models of this process; the alpha of a request is applied to the last one.
LIVE: list[IvlFused] = []


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _config_of_value(vllm_config: VllmConfig, directory: str) -> VllmConfig:
    """The configuration of vLLM with another checkpoint: the base's quantisation is not the value's."""
    model_config = copy.deepcopy(vllm_config.model_config)
    model_config.model, model_config.revision, model_config.quantization = directory, None, None
    return replace(vllm_config, model_config=model_config, quant_config=None)
