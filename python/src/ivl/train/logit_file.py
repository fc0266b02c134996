"""A frozen base's logits on disk: the files of `base_logits.dir`, as `ivl train` writes and reads them.

One record for each trained token, in the order of the examples: log-probabilities of all ids, or of the `k` most probable ones (the
target always among them) and the logarithm of the mean probability of the rest.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ivl.errors import IvlError

_MAGIC = b"ivllogit"
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class LogitHeader:
    """The description of a file."""

    fingerprint: str
    vocab: int
    #: Ids in a record; 0 for all.
    top_k: int
    tokens: int
    mean_kl: float
    largest_kl: float
    #: Mean probability of the ids that a record leaves out; files that older versions wrote do not say it.
    mean_rest: float = 0.0

    @staticmethod
    def read(file: BinaryIO) -> tuple[LogitHeader, int]:
        """The description at the beginning of a file, and the bytes before the first record.

        Raises `ValueError` for anything else.
        """
        start = file.read(16)
        length = int.from_bytes(start[8:], "little")
        if start[:8] != _MAGIC or length > _LONGEST_HEADER:
            raise ValueError("no description of logits")
        try:
            return LogitHeader(**json.loads(file.read(length))), 16 + length
        except TypeError as error:
            raise ValueError(str(error)) from error

    @property
    def record_bytes(self) -> int:
        """The size of a record."""
        return 8 * self.top_k + 4 if self.top_k else 4 * self.vocab

    def to_bytes(self) -> bytes:
        """The beginning of the file."""
        text = json.dumps(asdict(self), separators=(",", ":")).encode()
        return _MAGIC + len(text).to_bytes(8, "little") + text


@dataclass(frozen=True)
class Records:
    """Records of some trained tokens."""

    #: Their bytes, `[n, record_bytes]`.
    data: npt.NDArray[np.uint8]
    #: `KL(p || p~)` of each, in nats: what is lost by spreading the rest's mass evenly.
    lost: npt.NDArray[np.float64]


def records(logprobs: Tensor, targets: Tensor, top_k: int) -> Records:
    """The records of log-probabilities `[n, vocab]` in f32, with the next tokens `[n]`; `top_k` 0 keeps all ids."""
    count, vocab = logprobs.shape
    if top_k == 0:
        return Records(_bytes(logprobs, "<f4"), np.zeros(count))
    kept, ids = logprobs.topk(top_k, -1)
    absent = ~(ids == targets[:, None]).any(-1)
    # The least probable of the kept makes room for the target.
    ids[absent, -1] = targets[absent]
    kept[absent, -1] = logprobs.gather(-1, targets[:, None])[absent, 0]
    rest = logprobs.double().scatter(-1, ids, -torch.inf)
    mass = rest.exp().sum(-1)
    even = (mass / (vocab - top_k)).log()
    lost = (rest.exp() * torch.where(rest.isfinite(), rest - even[:, None], 0.0)).sum(-1).clamp(min=0.0)
    parts = [_bytes(ids, "<u4"), _bytes(kept, "<f4"), _bytes(even[:, None].float(), "<f4")]
    return Records(np.concatenate(parts, 1), lost.cpu().numpy())


def _bytes(numbers: Tensor, kind: str) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers.cpu().numpy().astype(kind)).view(np.uint8)


class LogitFile:
    """A file that is there to be read."""

    def __init__(self, path: Path, fingerprint: str, counts: npt.NDArray[np.int64]) -> None:
        """Opens a file of examples with `counts` trained tokens each.

        Raises `IvlError` for a file that is missing, of another base, of other examples, or not whole.
        """
        rewrite = "write it with python -m ivl.base_logits, or by `ivl train`"
        try:
            with path.open("rb") as file:
                self.header, first = LogitHeader.read(file)
        except OSError as error:
            raise IvlError(f"cannot read the logits `{path}`: {error}; {rewrite}") from error
        except ValueError as error:
            raise IvlError(f"`{path}` holds no logits; {rewrite}") from error
        tokens, size = int(counts.sum()), self.header.record_bytes
        whole = path.stat().st_size == first + tokens * size
        if self.header.fingerprint != fingerprint or self.header.tokens != tokens or not whole:
            raise IvlError(f"`{path}` is not whole, or of another base or other examples; {rewrite}")
        self._data = np.memmap(path, np.uint8, "r", first, (tokens, size))
        self._starts = np.cumsum([0, *counts])

    def places(self, examples: list[int]) -> npt.NDArray[np.int64]:
        """The places of the records of some examples, in order."""
        spans = [np.arange(self._starts[index], self._starts[index + 1]) for index in examples]
        return np.concatenate(spans) if spans else np.zeros(0, np.int64)

    def logits(self, places: npt.NDArray[np.int64], device: torch.device) -> Tensor:
        """Logits of some records, up to a constant for each, `[n, vocab]` in f32."""
        data, k = self._data[places], self.header.top_k

        def numbers(part: npt.NDArray[np.uint8], kind: str) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(part).view(kind).copy()).to(device)

        if k == 0:
            return numbers(data, "<f4")
        ids, kept, even = numbers(data[:, : 4 * k], "<i4"), numbers(data[:, 4 * k : 8 * k], "<f4"), numbers(data[:, 8 * k :], "<f4")
        return even.repeat(1, self.header.vocab).scatter(1, ids.long(), kept)
