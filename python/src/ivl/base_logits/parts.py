"""The parts of a file of logits, which any number of machines write, and the whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ivl.errors import IvlError
from ivl.train.exported_run import Examples
from ivl.train.logit_file import LogitHeader, Records

#: Examples of a part, which is what a machine that stops loses.
EXAMPLES = 256

#: Bytes that are copied at once.
_BLOCK = 1 << 24


@dataclass(frozen=True)
class PartedFile:
    """A file of logits whose records are written in parts, each whole or not at all; a missing part is written again."""

    path: Path
    fingerprint: str
    vocab: int
    top_k: int
    counts: npt.NDArray[np.int64]

    @property
    def header(self) -> LogitHeader:
        """The description of the whole, without what was lost."""
        kept = 0 if self.top_k >= self.vocab else self.top_k
        return LogitHeader(self.fingerprint, self.vocab, kept, int(self.counts.sum()), 0.0, 0.0)

    @property
    def _directory(self) -> Path:
        return self.path.with_name(f"{self.path.name}.parts")

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-len(self.counts) // EXAMPLES)

    def examples(self, part: int) -> range:
        """The examples of a part."""
        return range(part * EXAMPLES, min((part + 1) * EXAMPLES, len(self.counts)))

    def _part(self, part: int) -> Path:
        return self._directory / f"{part:06}.records"

    def missing(self, worker: int, workers: int) -> Iterator[int]:
        """The parts of a worker that are not written."""
        if self.is_whole():
            return
        for part in range(worker, self.parts, workers):
            if not self._is_written(part):
                yield part

    def is_whole(self) -> bool:
        """Whether the whole is there, of this base and these examples."""
        try:
            with self.path.open("rb") as file:
                header, _ = LogitHeader.read(file)
        except (OSError, ValueError):
            return False
        return header.fingerprint == self.fingerprint and header.tokens == int(self.counts.sum())

    def _is_written(self, part: int) -> bool:
        size = int(self.counts[self.examples(part)].sum()) * (self.header.record_bytes + 8)
        return self._part(part).is_file() and self._part(part).stat().st_size == size

    def write(self, part: int, records: Records) -> None:
        """Writes a part: its records, and what each of them lost."""
        self._directory.mkdir(parents=True, exist_ok=True)
        partial = self._part(part).with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(records.data.tobytes())
            file.write(records.lost.astype("<f8").tobytes())
        partial.replace(self._part(part))

    def join(self) -> bool:
        """Puts the parts together, if all of them are written; whether the whole is there."""
        if self.is_whole():
            return True
        if not all(self._is_written(part) for part in range(self.parts)):
            return False
        lost = np.concatenate([self._lost(part) for part in range(self.parts)]) if self.parts else np.zeros(0)
        header = self.header
        mean, largest = (float(lost.mean()), float(lost.max())) if len(lost) else (0.0, 0.0)
        described = replace(header, mean_kl=mean, largest_kl=largest, mean_rest=self._mean_rest())
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        with partial.open("wb") as out:
            out.write(described.to_bytes())
            for part in range(self.parts):
                left = int(self.counts[self.examples(part)].sum()) * header.record_bytes
                with self._part(part).open("rb") as records:
                    while left:
                        block = records.read(min(left, _BLOCK))
                        if not block:
                            raise IvlError(f"`{self._part(part)}` is shorter than it was; delete it and start again")
                        out.write(block)
                        left -= len(block)
        partial.replace(self.path)
        shutil.rmtree(self._directory, ignore_errors=True)
        return True

    def _lost(self, part: int) -> npt.NDArray[np.float64]:
        count = int(self.counts[self.examples(part)].sum())
        return np.fromfile(self._part(part), "<f8", count, offset=count * self.header.record_bytes)

    def _mean_rest(self) -> float:
        left_out, total = self.vocab - self.header.top_k, 0.0
        if self.header.top_k == 0 or not self.counts.sum():
            return 0.0
        for part in range(self.parts):
            shape = (int(self.counts[self.examples(part)].sum()), self.header.record_bytes)
            if shape[0]:
                # A record ends with the logarithm of the mean probability of the rest.
                ends = np.memmap(self._part(part), np.uint8, "r", 0, shape)[:, -4:]
                total += float(np.exp(np.ascontiguousarray(ends).view("<f4").astype(np.float64)).sum()) * left_out
        return total / float(self.counts.sum())


def parted(path: Path, fingerprint: str, vocab: int, top_k: int, examples: Examples) -> PartedFile:
    """The file of a base's logits for some examples."""
    return PartedFile(path, fingerprint, vocab, top_k, examples.trained)
