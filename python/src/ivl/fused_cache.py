"""The caches of a base and its values as one cache of transformers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Protocol

from torch import Tensor
from transformers import DynamicCache, GenerationMixin
from transformers.cache_utils import Cache

#: The name of a cache among the arguments and results of a model: transformers renamed it.
CACHE_NAME = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"


class PartCache(Protocol):
    """What generation does to the cache of a part: of beam search, and of assisted generation."""

    def reset(self) -> None:
        """Forgets everything."""

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Takes these rows, in this order."""

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row."""

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows."""

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the last tokens; the number is negative, as in transformers. Before 5.24 it could be the length that stays."""


class StridedCache(DynamicCache):
    """The cache of a network that reads `stride` positions for each token."""

    def __init__(self, config: Any, stride: int) -> None:
        super().__init__(config=config)
        self.stride = stride

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the positions of the last tokens."""
        super().crop(tokens_to_remove * self.stride)


@dataclass
class TextRow:
    """One row of a value that reads texts in its own tokens."""

    #: The base's tokens so far; `None` for padding.
    ids: list[int | None] = field(default_factory=list)
    #: The value's tokens in the cache.
    held: list[int] = field(default_factory=list)
    cache: DynamicCache = field(default_factory=DynamicCache)

    def rewind(self, length: int) -> None:
        """Forgets the value's tokens from `length` on."""
        if length == 0:
            self.cache = DynamicCache()
        elif length < len(self.held):
            self.cache.crop(length - len(self.held))
        del self.held[length:]


class TextCache:
    """The rows of a value that reads texts in its own tokens."""

    def __init__(self) -> None:
        self.rows: list[TextRow] = []

    def reset(self) -> None:
        """Forgets everything."""
        self.rows = []

    def _take(self, places: Sequence[int]) -> None:
        self.rows = [copy.deepcopy(self.rows[place]) for place in places]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Takes these rows, in this order."""
        self._take(beam_idx.tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row."""
        self._take([row for row in range(len(self.rows)) for _ in range(repeats)])

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows."""
        self._take(indices.tolist())

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the base's last tokens. The value's stay in its cache: the next text shares a prefix with them."""
        if tokens_to_remove:
            for row in self.rows:
                del row.ids[tokens_to_remove:]


class FusedCache(Cache):
    """The cache of a base, whose layers it shows, and those of its values."""

    def __init__(self, base: DynamicCache, values: Sequence[PartCache]) -> None:
        super().__init__(layers=base.layers)
        self.base = base
        self.values = list(values)

    @property
    def _parts(self) -> list[PartCache]:
        return [self.base, *self.values]

    def reset(self) -> None:
        """Forgets everything."""
        for part in self._parts:
            part.reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Takes these rows, in this order."""
        for part in self._parts:
            part.reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row."""
        for part in self._parts:
            part.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows."""
        for part in self._parts:
            part.batch_select_indices(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the last tokens; the number is negative."""
        for part in self._parts:
            part.crop(tokens_to_remove)

    def activate_past_recording(self) -> None:
        """Lets layers that forget their past record it, so that they can be cropped."""
        for part in (part for part in self._parts if isinstance(part, Cache)):
            part.activate_past_recording()
