"""A value that is attached to a base: residual, cascade, or with tokens of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ivl.fused_cache import CACHE_NAME, PartCache, StridedCache, TextCache
from ivl.learned_gate import LearnedGate
from ivl.projection import VocabProjection, fuse
from ivl.retokenized_value import RetokenizedNetwork
from ivl.value_card import Connection


@dataclass(frozen=True)
class Inputs:
    """New tokens of a batch, in the base's ids."""

    #: `[batch, seq]`.
    tokens: Tensor
    #: 0 for padding, `[batch, past + seq]`; `None` without padding.
    mask: Tensor | None
    #: `[batch, seq]`; `None` for those that follow from the cache.
    positions: Tensor | None
    #: Of how many last positions logits are wanted.
    wanted: int

    def new_mask(self) -> Tensor:
        """The mask of the new tokens, `[batch, seq]`."""
        return torch.ones_like(self.tokens) if self.mask is None else self.mask[:, -self.tokens.shape[1] :]


class AttachedValue(nn.Module):
    """A value with the name that it is called by and its weight."""

    name: str
    alpha: float
    network: Any
    #: The place in the order in which values are fused: cascade values read the base's own predictions, so they come first.
    order: int
    #: Whether it reads the predictions of the values before it, at every position.
    reads_predictions = False

    def __init__(self, name: str, alpha: float, network: nn.Module) -> None:
        super().__init__()
        self.name, self.alpha, self.network = name, alpha, network

    @abstractmethod
    def new_cache(self) -> PartCache:
        """An empty cache."""

    @abstractmethod
    def add(self, fused: Tensor, base: Tensor, inputs: Inputs, alpha: Tensor | float, cache: Any) -> Tensor:
        """Reads new tokens and adds the value's logits to those of the base and the values before it.

        `fused`, `base` (without any value, which a learned gate reads) and the output have the shape `[batch, wanted, base_vocab]`, in
        f32.
        """


class ResidualValue(AttachedValue):
    """A value that reads the same tokens as the base."""

    order = 1

    def __init__(
        self,
        name: str,
        alpha: float,
        network: PreTrainedModel,
        projection: VocabProjection,
        gate: LearnedGate | None = None,
    ) -> None:
        super().__init__(name, alpha, network)
        self.projection, self.gate = projection, gate

    def new_cache(self) -> PartCache:
        """An empty cache."""
        return DynamicCache(config=self.network.config)

    def add(self, fused: Tensor, base: Tensor, inputs: Inputs, alpha: Tensor | float, cache: Any) -> Tensor:
        """See `AttachedValue.add`."""
        tokens = self.projection.tokens(inputs.tokens.to(self.network.device))
        logits = read(self.network, inputs, cache, inputs.wanted, input_ids=tokens)
        mapped = self.projection.logits(logits).to(fused.device)
        if self.gate is not None:
            missing = self.projection.missing
            mapped = self.gate.apply(base, mapped, missing=None if missing is None else missing.to(fused.device))
        return fuse(fused, mapped, alpha)


class CascadeValue(AttachedValue):
    """A value that reads the expected embedding of the predictions of base and values before it, with the text or without."""

    order = 0
    reads_predictions = True

    def __init__(self, name: str, alpha: float, network: PreTrainedModel, projection: VocabProjection, connection: Connection) -> None:
        super().__init__(name, alpha, network)
        self.projection, self.connection = projection, connection

    def new_cache(self) -> PartCache:
        """An empty cache."""
        return StridedCache(self.network.config, self.connection.stride)

    def add(self, fused: Tensor, base: Tensor, inputs: Inputs, alpha: Tensor | float, cache: Any) -> Tensor:
        """See `AttachedValue.add`; `fused` has the logits of every new position."""
        device, stride = self.network.device, self.connection.stride
        embedded = self.expected_embedding(fused.to(device))
        if stride == 2:
            text = self.network.get_input_embeddings()(self.projection.tokens(inputs.tokens.to(device)))
            embedded = torch.stack([text, embedded], 2).flatten(1, 2)
        mask = None if inputs.mask is None else inputs.mask.repeat_interleave(stride, 1)
        positions = inputs.positions
        if positions is not None and stride == 2:
            positions = torch.stack([2 * positions, 2 * positions + 1], 2).flatten(1)
        strided = Inputs(inputs.tokens, mask, positions, inputs.wanted)
        logits = read(self.network, strided, cache, stride * fused.shape[1], inputs_embeds=embedded)[:, stride - 1 :: stride]
        return fuse(fused, self.projection.logits(logits).to(fused.device), alpha)

    def expected_embedding(self, logits: Tensor) -> Tensor:
        """The expected input embedding of the next token: `softmax(l) E`, with E the value's own embedding.

        `logits` has the shape `[.., base_vocab]`, the output `[.., hidden]`. Padding ids that only one side has are cut off or get 0.
        """
        embeddings = self.network.get_input_embeddings()
        size = self.projection.value_size
        predicted = logits.float().softmax(-1)[..., :size]
        weight = embeddings.weight[: predicted.shape[-1]]
        return predicted.to(weight.dtype) @ weight * getattr(embeddings, "scalar_embed_scale", 1.0)


class RetokenizedValue(AttachedValue):
    """A value that reads the text in its own tokens and is added through a map."""

    order = 2

    def __init__(self, name: str, alpha: float, network: RetokenizedNetwork, gate: LearnedGate | None = None) -> None:
        super().__init__(name, alpha, network)
        self.gate = gate

    def new_cache(self) -> PartCache:
        """An empty cache."""
        return TextCache()

    def add(self, fused: Tensor, base: Tensor, inputs: Inputs, alpha: Tensor | float, cache: Any) -> Tensor:
        """See `AttachedValue.add`; ids without a value get the neutral value."""
        logits, unmapped = self.network(inputs.tokens, inputs.new_mask(), inputs.wanted, cache or TextCache())
        unmapped = None if unmapped is None else unmapped.to(fused.device)
        logits = logits.to(fused.device)
        if self.gate is not None:
            logits = self.gate.apply(base, logits, unmapped, unmapped)
        return fuse(fused, logits, alpha, unmapped)


def read(network: PreTrainedModel, inputs: Inputs, cache: Any, keep: int, **tokens: Tensor) -> Tensor:
    """The logits of a network at the last `keep` positions, `[batch, keep, vocab]`."""
    device = network.device
    optional = {"attention_mask": inputs.mask, "position_ids": inputs.positions, CACHE_NAME: cache}
    given = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in optional.items() if part is not None}
    logits: Tensor = network(**tokens, **given, use_cache=cache is not None, logits_to_keep=keep).logits
    return logits[:, -keep:]
