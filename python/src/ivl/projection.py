"""The equation of the method, and a vocabulary map on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ivl.vocab_map import VocabMap

#: Below every logit, and finite: sums and gradients stay free of NaN.
NOTHING = -1e30


def fuse(base: Tensor, value: Tensor, alpha: Tensor | float, unmapped: Tensor | None = None) -> Tensor:
    """Fuses base and value logits in f32: `l = b + alpha v`, and where `unmapped` is 1, `l = b + n` with the neutral value

        n = log sum_M e^(b + alpha v) - log sum_M e^b

    over the other tokens M. It is the one constant that leaves the probability of the tokens without a value, taken together, as the
    base gave it. Where `alpha` is 0 the result is the base to the last bit.

    `base` and `value` have the shape `[batch, seq, vocab]`, `value` is 0 where `unmapped` is 1, and `alpha` is a number or has the
    shape `[batch, 1, 1]`.
    """
    base = base.float()
    if isinstance(alpha, float):
        if alpha == 0.0:
            return base
        scaled = value.float() if alpha == 1.0 else value.float() * alpha
    else:
        scaled = value.float() * alpha
    fused = base + scaled
    if unmapped is not None:
        known = base + unmapped * NOTHING
        neutral = torch.logsumexp(known + scaled, -1, keepdim=True) - torch.logsumexp(known, -1, keepdim=True)
        fused = fused + neutral * unmapped
    # Infinities of a value must not reach rows that do not take it.
    return fused if isinstance(alpha, float) else torch.where(alpha == 0.0, base, fused)


class VocabProjection(nn.Module):
    """A `VocabMap` on a device. It does no work where base and value agree on every id."""

    gather: Tensor | None
    translate: Tensor | None
    scale: Tensor | None
    unmapped: Tensor | None
    #: 1 for every id without a logit of the value; `None` if every id has one.
    missing: Tensor | None

    def __init__(self, vocab_map: VocabMap) -> None:
        super().__init__()
        ids = torch.from_numpy(vocab_map.value_of_base)
        self.base_size, self.value_size = len(ids), vocab_map.value_size
        places = torch.arange(self.base_size)
        mapped = ids >= 0
        same_ids = bool((~mapped | (ids == places)).all())
        masked = bool((~mapped[: self.value_size] if same_ids else ~mapped).any())
        # A base token that the value cannot read is shown to it as the value's own (untrained) row where there is one, else
        # as a control token.
        readable = places < self.value_size if same_ids else torch.zeros_like(mapped)
        shown = torch.where(mapped, ids, torch.where(readable, places, torch.tensor(vocab_map.fallback)))
        factors = mapped.float()
        if vocab_map.weights is not None:
            factors = factors * torch.from_numpy(vocab_map.weights)
        translates = not same_ids or self.base_size > self.value_size
        buffers = {
            "gather": None if same_ids else ids.clamp(min=0),
            "translate": shown if translates else None,
            "scale": factors if masked or vocab_map.weights is not None else None,
            "unmapped": (~mapped).float() if vocab_map.neutral and masked else None,
            "missing": None if bool(mapped.all()) else (~mapped).float(),
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def logits(self, value: Tensor) -> Tensor:
        """Brings value logits `[.., value_vocab]` to the base's ids, `[.., base_vocab]`; ids without a value get 0."""
        if self.gather is not None:
            value = value.index_select(-1, self.gather)
        elif self.base_size < self.value_size:
            value = value[..., : self.base_size]
        elif self.base_size > self.value_size:
            value = nn.functional.pad(value, (0, self.base_size - self.value_size))
        return value if self.scale is None else value * self.scale.to(value.dtype)

    def tokens(self, tokens: Tensor) -> Tensor:
        """Brings the base's token ids to the value's; any shape."""
        return tokens if self.translate is None else self.translate[tokens]
