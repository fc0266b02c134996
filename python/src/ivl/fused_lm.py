"""A base with any number of values as one causal LM of transformers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from ivl.attached_value import AttachedValue, Inputs, read
from ivl.errors import IvlError
from ivl.fused_cache import CACHE_NAME, FusedCache
from ivl.value import checked_alpha

#: Logits that a cascade value needs at once while a prompt is read, in numbers: 128 MiB in f32.
_LOGITS_AT_ONCE = 1 << 25

#: The weights of a call: one for all values, one for each value, by name, or a tensor `[batch]` or `[batch, values]`.
Alpha = float | Sequence[float] | Mapping[str, float] | Tensor


if CACHE_NAME == "cache":

    @dataclass
    class FusedOutput(CausalLMOutput):
        """The logits of a call, in f32, and the cache that it extended."""

        cache: FusedCache | None = None

else:

    @dataclass
    class FusedOutput(CausalLMOutput):  # type: ignore[no-redef]
        """The logits of a call, in f32, and the cache that it extended, under its former name."""

        past_key_values: FusedCache | None = None


class FusedCausalLM(PreTrainedModel, GenerationMixin):
    """A base with values: `l = l_base + sum_i alpha_i M_i(l_value_i)`, in f32, whatever type the models compute in. The term of a value
    whose card has a learned gate is multiplied by it.

    `ivl.load` makes one. It generates like any causal LM of transformers: in batches padded on the left, by sampling or beams, with
    caches for the base and for every value. `alpha` may be given to a call and to `generate`.
    """

    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, base: PreTrainedModel, values: Sequence[AttachedValue]) -> None:
        """Joins a base with values, in the order in which they are fused: cascade, residual, values with their own tokens."""
        super().__init__(copy.deepcopy(base.config))
        self.base = base
        self.values = nn.ModuleList([*sorted(values, key=_order)])
        self.generation_config = copy.deepcopy(base.generation_config)

    @property
    def attached(self) -> list[AttachedValue]:
        """The values, in the order in which they are fused."""
        return [cast(AttachedValue, value) for value in self.values]

    @property
    def alphas(self) -> dict[str, float]:
        """The weight of each value where a call gives none."""
        return {value.name: value.alpha for value in self.attached}

    def set_alpha(self, name: str, alpha: float) -> None:
        """Changes the weight of a value.

        Raises `IvlError` for a name that no value has, or a weight that is not finite.
        """
        found = [value for value in self.attached if value.name == name]
        if not found:
            raise IvlError(f"no value is called `{name}`, expected one of {', '.join(self.alphas) or 'none: the base has no values'}")
        found[0].alpha = checked_alpha(alpha)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the base."""
        return self.base.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """None: the logits are those of several heads."""

    def save_pretrained(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refused: base and values are saved apart, and `ivl.load` joins them."""
        raise IvlError("a base with values is no checkpoint: keep the directories of base and values, and join them with `ivl.load`")

    def _weights(self, alpha: Alpha | None, batch: int) -> list[Tensor | float]:
        """The weight of each value: a number, or `[batch, 1, 1]`."""
        values = self.attached
        if alpha is None:
            return [value.alpha for value in values]
        if isinstance(alpha, Tensor):
            rows = alpha.float().to(self.device)
            rows = rows[:, None].expand(-1, len(values)) if rows.ndim == 1 else rows
            if rows.shape != (batch, len(values)):
                raise IvlError(f"`alpha` has the shape {list(alpha.shape)}, expected [{batch}] or [{batch}, {len(values)}]")
            if not bool(torch.isfinite(rows).all()):
                raise IvlError("`alpha` holds numbers that are not finite")
            return [rows[:, at, None, None] for at in range(len(values))]
        if isinstance(alpha, Mapping):
            unknown = sorted(set(alpha) - set(self.alphas))
            if unknown:
                raise IvlError(f"no value is called `{unknown[0]}`, expected {', '.join(self.alphas)}")
            return [checked_alpha(alpha.get(value.name, value.alpha)) for value in values]
        if isinstance(alpha, (int, float)):
            return [checked_alpha(alpha)] * len(values)
        if len(alpha) != len(values):
            raise IvlError(f"`alpha` has {len(alpha)} numbers, expected one for each of {len(values)} values")
        return [checked_alpha(one) for one in alpha]

    def new_cache(self) -> FusedCache:
        """An empty cache for base and values."""
        return FusedCache(DynamicCache(config=self.base.config), [value.new_cache() for value in self.attached])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: FusedCache | None = None,
        past_key_values: FusedCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        alpha: Alpha | None = None,
        **unexpected: Any,
    ) -> FusedOutput:
        """Reads tokens `[batch, seq]` and returns logits `[batch, kept, vocab]`, in f32.

        `attention_mask` `[batch, past + seq]` is 0 for padding, `logits_to_keep` counts the last positions (0 for all) or lists positions.
        With `labels` `[batch, seq]` (-100 where there is none) the output has the mean loss of the next tokens.

        Raises `IvlError` for inputs that a fusion cannot read, such as embeddings.
        """
        given = sorted(name for name, part in unexpected.items() if part is not None and name not in _IGNORED)
        if given:
            raise IvlError(f"a base with values does not take `{given[0]}`; it reads `input_ids` with `attention_mask` and `position_ids`")
        cache = past_key_values if cache is None else cache
        if cache is None and use_cache:
            cache = self.new_cache()
        if cache is not None and not isinstance(cache, FusedCache):
            raise IvlError(f"the cache is a {type(cache).__name__}, expected one of `new_cache()`")
        if position_ids is None and attention_mask is not None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        all_wanted = isinstance(logits_to_keep, Tensor) or logits_to_keep == 0 or labels is not None
        wanted = input_ids.shape[1] if all_wanted else min(int(logits_to_keep), input_ids.shape[1])
        weights = self._weights(alpha, input_ids.shape[0])
        logits = self._read(Inputs(input_ids, attention_mask, position_ids, wanted), weights, cache)
        loss = None
        if labels is not None:
            targets = labels[:, 1:].flatten().to(logits.device)
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets)
        if isinstance(logits_to_keep, Tensor):
            logits = logits[:, logits_to_keep]
        elif labels is not None and logits_to_keep:
            logits = logits[:, -logits_to_keep:]
        return FusedOutput(loss=loss, logits=logits, **{CACHE_NAME: cache})

    def _read(self, inputs: Inputs, weights: list[Tensor | float], cache: FusedCache | None) -> Tensor:
        """Logits at the wanted positions. Where a cascade value reads predictions of a long prompt, they are made chunk by chunk."""
        batch, seq = inputs.tokens.shape
        chunk = max(_LOGITS_AT_ONCE // (batch * self.config.get_text_config().vocab_size), 1)
        cascade = any(value.reads_predictions for value in self.attached)
        if not cascade or cache is None or inputs.wanted > chunk or seq <= chunk:
            return self._read_at_once(inputs, weights, cache)
        past = 0 if inputs.mask is None else inputs.mask.shape[1] - seq
        logits = torch.empty(0)
        for start, end in _chunks(seq, chunk):
            part = Inputs(
                inputs.tokens[:, start:end],
                None if inputs.mask is None else inputs.mask[:, : past + end],
                None if inputs.positions is None else inputs.positions[:, start:end],
                min(inputs.wanted, end - start),
            )
            logits = self._read_at_once(part, weights, cache)
        return logits

    def _read_at_once(self, inputs: Inputs, weights: list[Tensor | float], cache: FusedCache | None) -> Tensor:
        values = self.attached
        cascades = [value.reads_predictions for value in values]
        keep = inputs.tokens.shape[1] if any(cascades) else inputs.wanted
        caches = [None] * len(values) if cache is None else cache.values
        tokens = inputs.tokens.to(self.base.device)
        fused = read(self.base, inputs, None if cache is None else cache.base, keep, input_ids=tokens).float()
        base = fused
        for at, (value, alpha, own) in enumerate(zip(values, weights, caches)):
            if not cascades[at]:
                fused, base = fused[:, -inputs.wanted :], base[:, -inputs.wanted :]
            fused = value.add(fused, base, inputs, alpha, own)
        return fused[:, -inputs.wanted :]

    @torch.no_grad()
    def token_logprobs(self, input_ids: Tensor, attention_mask: Tensor | None = None, alpha: Alpha | None = None) -> Tensor:
        """The log-probability of every token but the first, `[batch, seq - 1]`; 0 at padding.

        `input_ids` and `attention_mask` have the shape `[batch, seq]`.
        """
        logits = self(input_ids[:, :-1], None if attention_mask is None else attention_mask[:, :-1], alpha=alpha).logits
        targets = input_ids[:, 1:, None].to(logits.device)
        logprobs = logits.gather(-1, targets)[..., 0] - logits.logsumexp(-1)
        if attention_mask is None:
            return logprobs
        predicted = (attention_mask[:, 1:] * attention_mask[:, :-1]).to(logits.device)
        return torch.where(predicted.bool(), logprobs, 0.0)

    def prepare_inputs_for_generation(self, input_ids: Tensor, alpha: Alpha | None = None, **kwargs: Any) -> dict[str, Any]:
        """The inputs of one step of `generate`."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        return {**inputs, "alpha": alpha}

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict[str, Any], *_rest: Any) -> None:
        kind = generation_config.cache_implementation
        if kind not in (None, "dynamic", "dynamic_full"):
            raise IvlError(f"`cache_implementation` is {kind!r}, expected none: a base with values has a dynamic cache")
        if model_kwargs.get(CACHE_NAME) is None and generation_config.use_cache is not False:
            model_kwargs[CACHE_NAME] = self.new_cache()

    def _reorder_cache(self, cache: FusedCache, beam_idx: Tensor) -> FusedCache:
        cache.reorder_cache(beam_idx)
        return cache


def _chunks(seq: int, chunk: int) -> list[tuple[int, int]]:
    """Ranges of columns of which only the first may be shorter than `chunk`."""
    edges = [0, *range(seq % chunk or chunk, seq, chunk), seq]
    return list(pairwise(edges))


#: What `generate` passes to every model, and does not change its logits.
_IGNORED = frozenset({"return_dict", "output_attentions", "output_hidden_states", "token_type_ids"})


def _order(value: AttachedValue) -> int:
    return value.order
