"""The objective of value learning, in chunks of positions: no tensor `[tokens, vocab]` stands whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ivl.projection import VocabProjection
from ivl.train.draws import Perturbation
from ivl.train.settings import Regularization

#: Logits held at once where the configuration does not say, in numbers: 128 MiB in f32.
LOGITS_AT_ONCE = 1 << 25

#: The terms of the loss, in order.
TERMS = ("cross_entropy", "l1", "l2", "kl")


@dataclass(frozen=True)
class BaseTerm:
    """One base at the trained positions of a batch."""

    #: Logits in f32 of rows `start..end`.
    logits: Callable[[int, int], Tensor]
    #: Its weight in the loss.
    weight: float
    projection: VocabProjection
    perturbation: Perturbation | None = None

    def perturbed(self, start: int, end: int) -> Tensor:
        """Its logits as the loss sees them, `[rows, vocab]`."""
        logits = self.logits(start, end)
        return logits if self.perturbation is None else self.perturbation.apply(logits, start)


def loss_terms(base: Tensor | None, value: Tensor, targets: Tensor, weights: Regularization) -> tuple[Tensor, Tensor]:
    """The objective at some positions and its terms, as sums over them. With `l = b + v`, `p = softmax(l)` and `q = softmax(b)`,

        L = sum_i [ -log p_i[y_i] + l1 |v_i|_1 / |vocab| + l2 |v_i|_2^2 / |vocab| + kl KL(p_i || q_i) ]

    `base` (or none to train the network by itself) and `value` have the shape `[n, vocab]`, in f32; `targets` `[n]`. The terms are
    `[4]`, as `TERMS` names them; without a weight l2 and kl are 0.
    """
    vocab = value.shape[1]
    fused = value if base is None else base + value
    # The logits of a target less the sum: no tensor of log-probabilities is kept.
    normaliser = fused.logsumexp(-1)
    objective = (normaliser - fused.gather(-1, targets[:, None])[:, 0]).sum()
    terms = [objective.detach(), *(torch.zeros((), device=value.device) for _ in range(3))]
    if base is not None:
        terms[1] = value.detach().abs().sum() / vocab
        if weights.l1 > 0.0:
            objective = objective + weights.l1 * value.abs().sum() / vocab
        if weights.l2 > 0.0:
            l2 = value.square().sum() / vocab
            objective, terms[2] = objective + weights.l2 * l2, l2.detach()
        if weights.kl > 0.0:
            # log p - log q = v + log sum e^b - log sum e^(b + v).
            shift = base.logsumexp(-1) - normaliser
            kl = ((fused - normaliser[:, None]).exp() * (value + shift[:, None])).sum()
            objective, terms[3] = objective + weights.kl * kl, kl.detach()
    return objective, torch.stack(terms)


class _ChunkedLoss(torch.autograd.Function):
    """The loss through the heads, whose gradient is computed chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[[Tensor, int], tuple[Tensor, Tensor]], rows: int, learns: list[Tensor], hidden: Tensor, *_head: Tensor
    ) -> Any:
        by_hidden = torch.empty_like(hidden)
        by_head = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in learns]
        total, sums = torch.zeros((), device=hidden.device), torch.zeros((), device=hidden.device)
        for start in range(0, len(hidden), rows):
            with torch.enable_grad():
                leaf = hidden[start : start + rows].detach().requires_grad_()
                objective, terms = compute(leaf, start)
                of_leaf, *of_head = torch.autograd.grad(objective, [leaf, *learns], allow_unused=True)
            by_hidden[start : start + rows] = of_leaf
            for sum_, gradient in zip(by_head, of_head):
                if gradient is not None:
                    sum_ += gradient
            total, sums = total + objective.detach(), sums + terms
        ctx.save_for_backward(by_hidden, *by_head)
        ctx.dtypes = [parameter.dtype for parameter in learns]
        ctx.mark_non_differentiable(sums)
        return total, sums

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> Any:
        by_hidden, *by_head = ctx.saved_tensors
        of_head = [(gradient * scales[0]).to(dtype) for gradient, dtype in zip(by_head, ctx.dtypes)]
        return None, None, None, by_hidden * scales[0].to(by_hidden.dtype), *of_head


def chunked_loss(
    hidden: Tensor,
    targets: Tensor,
    head: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter | Tensor],
    bases: Sequence[BaseTerm],
    weights: Regularization,
    rows: int,
) -> tuple[Tensor, Tensor]:
    """The summed loss at the positions of `hidden` `[n, hidden]`, with its terms for each base `[bases, 4]`.

    `head` gives the value's logits in f32, with `parameters` its own. Rows of `rows` positions go through the heads at once.
    """
    if len(hidden) == 0:
        # Processes without a position take part in every sum.
        touched = sum((parameter.sum() * 0.0 for parameter in parameters), hidden.sum() * 0.0)
        return touched, torch.zeros(max(len(bases), 1), len(TERMS), device=hidden.device)

    def compute(leaf: Tensor, start: int) -> tuple[Tensor, Tensor]:
        own, end = head(leaf), start + len(leaf)
        wanted = targets[start:end]
        if not bases:
            objective, terms = loss_terms(None, own, wanted, weights)
            return objective, terms[None]
        total: Tensor | None = None
        found = []
        for base in bases:
            objective, terms = loss_terms(base.perturbed(start, end), base.projection.logits(own), wanted, weights)
            total = base.weight * objective if total is None else total + base.weight * objective
            found.append(terms)
        assert total is not None
        return total, torch.stack(found)

    learns = [parameter for parameter in parameters if parameter.requires_grad]
    result: tuple[Tensor, Tensor] = _ChunkedLoss.apply(compute, rows, learns, hidden, *learns)  # type: ignore[no-untyped-call]
    return result
