"""What a run draws at random beside its data: the base of a step, and the perturbations of the bases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ivl.train.chacha import ChaCha8
from ivl.train.settings import Mixing as MixingSettings
from ivl.train.settings import Regularization

_MASK64 = (1 << 64) - 1


class Mixing:
    """The weights of several bases over the steps.

    With normalised weights `w`: `sample` sees one base, drawn by `w`; `average` has the loss `sum_k w_k L_k`; `worst` has `sum_k q_k L_k`
    with `q = w` at first and `q_k <- q_k exp(eta L_k) / Z` after each step.
    """

    def __init__(self, settings: MixingSettings, seed: int, weights: Sequence[float]) -> None:
        self._settings, self._seed = settings, seed
        total = sum(weights)
        self.weights = [weight / total for weight in weights]

    def bases(self, step: int) -> list[tuple[int, float]]:
        """The bases that a step sees, with their weights in its loss."""
        if self._settings.strategy != "sample":
            return list(enumerate(self.weights))
        left = float(ChaCha8(self._seed ^ 0x6D6978696E67, step).uniforms(1)[0])
        for index, weight in enumerate(self.weights):
            left -= weight
            if left < 0.0:
                return [(index, 1.0)]
        return [(len(self.weights) - 1, 1.0)] if self.weights else []

    def update(self, losses: Sequence[float]) -> None:
        """Learns from the losses of a step; one for each base."""
        if self._settings.strategy == "worst":
            grown = [weight * math.exp(self._settings.eta * loss) for weight, loss in zip(self.weights, losses)]
            self.weights = [weight / sum(grown) for weight in grown]


def base_weight(fade_in: float, step: int, total: int) -> float:
    """The weight of the base at a step (counted from 0) of a run: `step / (fade_in * total)`, at most 1."""
    steps = fade_in * total
    return min(step / steps, 1.0) if steps > 0.0 else 1.0


@dataclass(frozen=True)
class Perturbation:
    """The perturbation of one base in one micro-batch, `b' = m w (b / T + noise e)`, at some of its trained positions.

    Temperature and dropout are those of the Rust library to the last bit; the noise has the same distribution.
    """

    weight: float
    temperature: float
    noise: float
    #: 0 at dropped positions, else 1; `[n]`, or `None` without dropout.
    kept: Tensor | None
    noise_seed: int

    @staticmethod
    def draw(
        settings: Regularization, weight: float, seed: int, step: int, micro_batch: int, positions: Tensor, count: int
    ) -> Perturbation | None:
        """The perturbation at `positions`, which are places among the `count` trained positions of the micro-batch."""
        plain = settings.base_temperature == 1.0 and settings.base_noise == 0.0 and settings.base_dropout == 0.0
        if plain and weight == 1.0:
            return None
        rng = ChaCha8((seed & _MASK64) ^ 0x7065727475726221, (step << 20) | micro_batch)
        span = math.log(settings.base_temperature)
        temperature = math.exp(span * (2.0 * float(rng.uniforms(1)[0]) - 1.0))
        noise_seed = int(rng.integers(1)[0]) >> 1 if settings.base_noise > 0.0 else 0
        kept = None
        if settings.base_dropout > 0.0:
            drawn = torch.from_numpy(rng.uniforms(count) >= settings.base_dropout).float()
            kept = drawn.to(positions.device)[positions]
        return Perturbation(weight, temperature, settings.base_noise, kept, noise_seed)

    def apply(self, base: Tensor, start: int) -> Tensor:
        """Perturbs logits `[rows, vocab]` in f32, the first of which is at place `start`."""
        base = base / self.temperature if self.temperature != 1.0 else base
        if self.noise > 0.0:
            generator = torch.Generator(base.device).manual_seed((self.noise_seed + start) & (_MASK64 >> 1))
            base = base + self.noise * torch.randn(base.shape, generator=generator, device=base.device)
        if self.kept is not None:
            base = base * self.kept[start : start + len(base), None]
        return base if self.weight == 1.0 else base * self.weight
