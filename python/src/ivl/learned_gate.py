"""A weight of a value for each position, learned from what base and value predict there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ivl.errors import IvlError
from ivl.projection import NOTHING, fuse

#: What a gate reads of a position, in the order of its weights.
FEATURES = (
    "base_entropy",
    "base_top_logprob",
    "value_entropy",
    "value_top_logprob",
    "fused_entropy",
    "fused_top_logprob",
    "same_choice",
    "value_rms",
)

#: Below it `e^x` is 0 in single precision. It stands for minus infinity, which times 0 would not be 0.
_IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class LearnedGate:
    """`l = b + alpha g v` with `g = 2 sigmoid(w . f + c)`, where `f` are the `FEATURES` of a position.

    They are entropy and largest log-probability of the base, of the value, and of both at weight 1, in nats; whether base and value choose
    the same token; and the root mean square of the value's logits around their mean. `b` are the logits of the base without any value.
    Ids without a logit of the value take no part in those of the value.
    """

    weights: tuple[float, ...]
    bias: float

    @classmethod
    def parse(cls, gate: Any, path: Path) -> LearnedGate:
        """The gate of a card, whose file is named in errors.

        Raises `IvlError` for a feature that does not exist, one without a weight, and a number that is not finite.
        """
        weights = gate.get("weights") if isinstance(gate, Mapping) else None
        if not isinstance(weights, Mapping):
            raise IvlError(f"`gate` in `{path}` has no `weights`, expected a weight for each of {', '.join(FEATURES)}")
        unknown = sorted(set(weights) - set(FEATURES))
        missing = [name for name in FEATURES if name not in weights]
        if unknown or missing:
            fault = f"a weight for `{unknown[0]}`" if unknown else f"no weight for `{missing[0]}`"
            raise IvlError(f"`gate.weights` in `{path}` has {fault}, expected one for each of {', '.join(FEATURES)}: take the gate out")
        numbers = {**weights, "bias": gate.get("bias")}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise IvlError(f"`{name}` of `gate` in `{path}` is {number!r}, expected a finite number")
        return cls(tuple(float(weights[name]) for name in FEATURES), float(numbers["bias"]))

    def apply(self, base: Tensor, value: Tensor, unmapped: Tensor | None = None, missing: Tensor | None = None) -> Tensor:
        """The value's logits, multiplied by `g`, in f32.

        `base`, `value` and the output have the shape `[.., vocab]`; `value` is 0 where `missing` is 1, which is for every id without a
        logit. `unmapped` is 1 for those of them that get the neutral value. Masks are `[vocab]` or as `value`.
        """
        found = features(base.float(), value.float(), unmapped, missing)
        weights = torch.tensor(self.weights, device=found.device)
        gate: Tensor = 2 * torch.sigmoid((found * weights).sum(-1, keepdim=True) + self.bias)
        return value.float() * gate


def features(base: Tensor, value: Tensor, unmapped: Tensor | None, missing: Tensor | None) -> Tensor:
    """What a gate reads, `[.., 8]`; see `LearnedGate.apply` for the shapes of the inputs."""
    possible = value if missing is None else value + missing * NOTHING
    same = base.argmax(-1, keepdim=True) == possible.argmax(-1, keepdim=True)
    both = fuse(base, value, 1.0, unmapped)
    parts = [part for logits in (base, possible, both) for part in _entropy_and_top(logits)]
    return torch.cat([*parts, same.float(), _root_mean_square(value, missing)], -1)


def _entropy_and_top(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy and largest log-probability in nats, `[.., 1]` each."""
    below = (logits - logits.amax(-1, keepdim=True)).clamp(min=_IMPOSSIBLE)
    weights = below.exp()
    total = weights.sum(-1, keepdim=True)
    return total.log() - (weights * below).sum(-1, keepdim=True) / total, -total.log()


def _root_mean_square(value: Tensor, missing: Tensor | None) -> Tensor:
    """Of the value around its mean, over the ids that have a logit; `[.., 1]`."""
    known = torch.ones_like(value) if missing is None else (1 - missing).expand_as(value)
    count = known.sum(-1, keepdim=True).clamp(min=1)
    mean = value.sum(-1, keepdim=True) / count
    return (((value - mean) * known).square().sum(-1, keepdim=True) / count).sqrt()
