"""The value in training: the loss of a micro-batch, and the held-out losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ivl.train.batch import Batch
from ivl.train.draws import Perturbation
from ivl.train.models import Base, ValueNetwork
from ivl.train.objective import LOGITS_AT_ONCE, TERMS, BaseTerm, chunked_loss, loss_terms
from ivl.train.settings import Regularization, Settings
from ivl.value_card import Connection

#: Positions that go through the heads at once while the held-out loss is computed.
_EVALUATED_AT_ONCE = 256

#: A weight above 0 only makes the loss compute the term.
_OF_EVALUATION = Regularization(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Target:
    """A base that a micro-batch is trained against, with its weight in the loss."""

    base: Base
    weight: float
    perturbation: Perturbation | None = None


@dataclass(frozen=True)
class _Group:
    """Hidden states of the value at the trained positions, for the bases that they serve."""

    hidden: Tensor
    bases: list[BaseTerm]
    targets: list[Target]


class Learner(nn.Module):
    """The network that is trained. The frozen bases are no part of it: their logits are constants."""

    def __init__(self, value: ValueNetwork, settings: Settings) -> None:
        super().__init__()
        self.value = value
        self._connection, self._weights = settings.connection, settings.regularization
        self._rows = settings.steps.head_rows or max(LOGITS_AT_ONCE // value.split.vocab_size, 1)

    def forward(self, batch: Batch, targets: Sequence[Target], step_tokens: int | None) -> tuple[Tensor, Tensor]:
        """The loss of a micro-batch, divided by the trained tokens of the step, with its terms `[bases, 4]`, summed over positions.

        Without `step_tokens` the held-out losses: the terms `[bases, 5]` end with the cross-entropy of each base by itself. Without targets
        the network is trained by itself.
        """
        if step_tokens is None:
            with torch.no_grad():
                found = [self._evaluated(group, batch) for group in self._groups(batch, targets, "eval")]
            return torch.zeros(()), torch.cat(found)
        total, terms = None, []
        for group in self._groups(batch, targets, "train"):
            split = self.value.split
            loss, found_terms = chunked_loss(
                group.hidden, batch.targets, split.head, split.head_parameters, group.bases, self._weights, self._rows
            )
            total = loss if total is None else total + loss
            terms.append(found_terms)
        assert total is not None
        return total / step_tokens, torch.cat(terms)

    def _groups(self, batch: Batch, targets: Sequence[Target], split: str) -> list[_Group]:
        """A residual value reads the text once for all bases; a cascade value reads the predictions of one base at a time."""
        if self._connection is Connection.RESIDUAL:
            bases = [self._term(target, target.base.logits(batch, split, batch.positions)) for target in targets]
            hidden = self.value.split.hidden(batch.position_ids, input_ids=batch.ids)[batch.positions]
            return [_Group(hidden, bases, list(targets))]
        return [self._cascade_group(batch, target, split) for target in targets]

    def _term(self, target: Target, logits: object) -> BaseTerm:
        return BaseTerm(logits, target.weight, target.base.projection, target.perturbation)  # type: ignore[arg-type]

    def _cascade_group(self, batch: Batch, target: Target, split: str) -> _Group:
        everywhere = torch.arange(batch.ids.numel(), device=batch.ids.device)
        logits = target.base.logits(batch, split, everywhere)
        embedded = self._expected_embeddings(logits, batch)
        stride, positions = self._connection.stride, batch.position_ids
        if stride == 2:
            text = self.value.split.network.get_input_embeddings()(target.base.projection.tokens(batch.ids))
            embedded = torch.stack([text, embedded], 2).flatten(1, 2)
            positions = torch.stack([2 * positions, 2 * positions + 1], 2).flatten(1)
        hidden = self.value.split.hidden(positions, inputs_embeds=embedded)[stride - 1 :: stride][batch.positions]

        def trained(start: int, end: int) -> Tensor:
            rows = batch.positions[start:end]
            if len(rows) == 0:
                return logits(0, 0)
            first, last = int(rows.min()), int(rows.max()) + 1
            return logits(first, last)[rows - first]

        return _Group(hidden, [self._term(target, trained)], [target])

    def _expected_embeddings(self, logits: object, batch: Batch) -> Tensor:
        """The expected input embeddings of a base's predictions, `[rows, seq, hidden]`; the probabilities are computed again backward."""
        embeddings = self.value.split.network.get_input_embeddings()
        scale = getattr(embeddings, "scalar_embed_scale", 1.0)

        def of_rows(start: int, end: int, weight: Tensor) -> Tensor:
            predicted = logits(start, end).softmax(-1)[:, : self.value.split.vocab_size]  # type: ignore[operator]
            return predicted.to(weight.dtype) @ weight[: predicted.shape[1]] * scale

        count = batch.ids.numel()
        starts = range(0, count, self._rows)
        parts = [
            checkpoint(of_rows, start, min(start + self._rows, count), embeddings.weight, use_reentrant=False) for start in starts
        ]
        return torch.cat(parts).view(*batch.ids.shape, -1)

    def _evaluated(self, group: _Group, batch: Batch) -> Tensor:
        count = max(len(group.bases), 1)
        sums = torch.zeros(count, len(TERMS) + 1, device=group.hidden.device, dtype=torch.float64)
        for start in range(0, len(group.hidden), _EVALUATED_AT_ONCE):
            own = self.value.split.head(group.hidden[start : start + _EVALUATED_AT_ONCE])
            end = start + len(own)
            wanted = batch.targets[start:end]
            if not group.bases:
                sums[0, : len(TERMS)] += loss_terms(None, own, wanted, _OF_EVALUATION)[1]
            for index, base in enumerate(group.bases):
                logits = base.logits(start, end)
                sums[index, : len(TERMS)] += loss_terms(logits, base.projection.logits(own), wanted, _OF_EVALUATION)[1]
                sums[index, -1] += nn.functional.cross_entropy(logits, wanted, reduction="sum")
        return sums
