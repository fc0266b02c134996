"""The best value so far, and whether the run should stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ivl.train.settings import Evaluations


@dataclass(frozen=True)
class EvalReport:
    """Held-out loss on one base, or of a network that is trained by itself."""

    step: int
    base: str | None
    base_loss: float | None
    loss: float
    kl: float | None
    tokens: int


@dataclass
class EarlyStopping:
    """Early stopping on the held-out loss on the base of `eval.figure`, or on the mean over all evaluated bases.

    An evaluation counts as an improvement if its figure is below that of the last improvement by more than `eval.min_improvement`. The best
    value is the one with the lowest figure; the untrained value (step 0) is never selected.
    """

    reference: float | None = None
    stale: int = 0
    best: dict[str, Any] | None = field(default=None)

    def update(self, settings: Evaluations, evals: Sequence[EvalReport], step: int, tokens: int) -> bool:
        """Records an evaluation after `step` steps and `tokens` trained tokens. Returns whether it is the best so far."""
        watched = [report.loss for report in evals if settings.figure in (None, report.base)]
        figure = sum(watched) / len(watched) if watched else math.inf
        figure = figure if math.isfinite(figure) else math.inf
        bar = math.inf if self.reference is None else self.reference - settings.min_improvement
        if figure < bar:
            self.reference, self.stale = figure, 0
        else:
            self.stale += 1
        if step == 0 or figure >= (math.inf if self.best is None else self.best["loss"]):
            return False
        self.best = {"step": step, "loss": figure, "tokens": tokens, "evals": [asdict(report) for report in evals]}
        return True

    def should_stop(self, settings: Evaluations) -> bool:
        """Whether patience has run out."""
        return 0 < settings.patience <= self.stale
