"""One micro-batch: examples side by side, or several one after the other in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ivl.train.exported_run import Examples, Rows


@dataclass(frozen=True)
class Batch:
    """Tokens of a forward pass, and the positions whose next token is trained."""

    #: `[rows, seq]`, padded on the right.
    ids: Tensor
    #: Places in each example, `[rows, seq]`. They begin again where another example begins, by which transformers tells examples of a
    #: row apart: none sees another.
    position_ids: Tensor
    #: Indices into the flat `ids` of the positions whose next token is trained, `[n]`.
    positions: Tensor
    #: Those next tokens, `[n]`.
    targets: Tensor
    #: Places among the trained positions of the whole micro-batch, of which this may be a part, `[n]`.
    places: Tensor
    #: Trained positions of the whole micro-batch.
    count: int
    #: Examples, row by row.
    examples: list[int]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return Batch(**{**vars(self), **moved})


def make_batch(examples: Examples, rows: Rows, kept: Sequence[int] | None = None) -> Batch:
    """The rows of a micro-batch, or those of them that `kept` lists. The last token of an example predicts nothing and is left out.

    A batch without rows has one token, and no trained position: a process that has nothing to do takes part with it.
    """
    kept = range(len(rows)) if kept is None else kept
    lengths = [sum(int(examples.lengths[index]) - 1 for index in rows[row]) for row in kept]
    seq = max(lengths, default=1)
    shape = (max(len(kept), 1), seq)
    ids, position_ids = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    positions, targets, places = [], [], []
    trained = [int(examples.trained[row_examples].sum()) for row_examples in rows]
    firsts = np.cumsum([0, *trained])
    for place, row in enumerate(kept):
        at, first = 0, int(firsts[row])
        for index in rows[row]:
            example = examples[index]
            length = len(example.ids) - 1
            span = slice(at, at + length)
            ids[place, span], position_ids[place, span] = example.ids[:-1], np.arange(length)
            found = np.flatnonzero(example.loss_mask[1:])
            positions.append(place * seq + at + found)
            targets.append(example.ids[1:][found])
            places.append(first + np.arange(len(found)))
            first += len(found)
            at += length
        # Padding after one example continues its count; after several it is one more. Nothing sees it.
        begin = at if len(rows[row]) == 1 else 0
        position_ids[place, at:] = np.arange(begin, begin + seq - at)

    def joined(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64))

    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(position_ids),
        joined(positions),
        joined(targets),
        joined(places),
        sum(trained),
        [index for row in kept for index in rows[row]],
    )
