"""The learning rate over the steps."""

from __future__ import annotations

import math

from ivl.train.settings import Optimizer


class Schedule:
    """Warm-up, then a fall to zero. With `w` warm-up steps of `n`, step `k` (from 0) has the factor `(k + 1) / w` for `k < w`, then with
    `p = (k - w) / (n - w)`: `(1 + cos(pi p)) / 2` (cosine), `1 - p` (linear) or 1 (constant).
    """

    def __init__(self, settings: Optimizer, peak: float, total: int) -> None:
        self._kind, self._peak, self._total = settings.schedule, peak, total
        self._warmup = math.ceil(settings.warmup_ratio * total)

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self._warmup:
            return self._peak * (step + 1) / self._warmup
        progress = (step - self._warmup) / max(self._total - self._warmup, 1)
        factors = {"cosine": 0.5 * (1.0 + math.cos(math.pi * progress)), "linear": 1.0 - progress, "constant": 1.0}
        return self._peak * factors[self._kind]
