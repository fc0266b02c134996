"""What a run sees, as `ivl data export` wrote it: examples, their order, and the value's start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ivl.errors import IvlError
from ivl.json_file import read_object

#: Version of the layout that is read.
FORMAT = 1

#: Longest header of a safetensors file that is read.
_LONGEST_HEADER = 1 << 20

_TYPES: dict[str, np.dtype[Any]] = {"I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}


class MappedFile:
    """The lists of numbers in a safetensors file, mapped into memory, not read."""

    def __init__(self, path: Path) -> None:
        """Opens a file.

        Raises `IvlError` for a file that is not one of an export.
        """
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length <= _LONGEST_HEADER else None
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise IvlError(f"cannot read `{path}`: {error}; run `ivl data export` again") from error
        if not isinstance(header, dict):
            raise IvlError(f"`{path}` is no file of an export; run `ivl data export` again")
        self._path, self._start, self._size, self._header = path, 8 + length, size, header

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """One list.

        Raises `IvlError` if the file does not have it, or is not whole.
        """
        entry = self._header.get(name)
        if not isinstance(entry, dict) or entry.get("dtype") not in _TYPES:
            raise IvlError(f"`{self._path}` has no list `{name}`; run `ivl data export` again")
        dtype, offsets = _TYPES[entry["dtype"]], entry.get("data_offsets")
        if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
            raise IvlError(f"`{self._path}` does not say where its list `{name}` is; run `ivl data export` again")
        begin, end = offsets
        if not 0 <= begin <= end <= self._size - self._start or (end - begin) % dtype.itemsize:
            raise IvlError(f"`{self._path}` is not whole; run `ivl data export` again")
        if begin == end:
            return np.zeros(0, dtype)
        return np.memmap(self._path, dtype, "r", self._start + begin, ((end - begin) // dtype.itemsize,))


@dataclass(frozen=True)
class Example:
    """A tokenised demonstration, with the mask of its loss."""

    ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.uint8]


class Examples:
    """Consecutive examples, in one or more files."""

    def __init__(self, directory: Path, shards: Sequence[dict[str, Any]]) -> None:
        files = [MappedFile(directory / shard["file"]) for shard in shards]
        self._ids = [file.numbers("ids") for file in files]
        self._masks = [file.numbers("loss_mask") for file in files]
        self._offsets = [np.asarray(file.numbers("offsets")) for file in files]
        for shard, ids, mask, offsets in zip(shards, self._ids, self._masks, self._offsets):
            lengths = np.diff(offsets)
            whole = len(offsets) == shard["examples"] + 1 > 1 and len(ids) == len(mask) == shard["tokens"] == offsets[-1]
            if not whole or offsets[0] != 0 or (lengths < 2).any() or int(mask.max()) > 1:
                raise IvlError(f"`{directory / shard['file']}` does not fit export.json; run `ivl data export` again")
        self._firsts = np.cumsum([0, *(len(offsets) - 1 for offsets in self._offsets)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, index: int) -> Example:
        shard = int(np.searchsorted(self._firsts, index, "right")) - 1
        place = index - int(self._firsts[shard])
        start, end = self._offsets[shard][place : place + 2]
        return Example(self._ids[shard][start:end], self._masks[shard][start:end])

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The tokens of each example."""
        return np.concatenate([np.diff(offsets) for offsets in self._offsets]) if self._offsets else np.zeros(0, np.int64)

    @cached_property
    def trained(self) -> npt.NDArray[np.int64]:
        """The trained tokens of each example that something precedes."""
        counts = []
        for mask, offsets in zip(self._masks, self._offsets):
            sums = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
            counts.append(sums[offsets[1:]] - sums[offsets[:-1]] - mask[offsets[:-1]])
        return np.concatenate(counts) if counts else np.zeros(0, np.int64)

    def longest_first(self, batch_size: int) -> list[list[list[int]]]:
        """Every example once; similar lengths share a micro-batch."""
        order = np.argsort(-self.lengths, kind="stable").tolist()
        return [[[index] for index in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]


#: Examples of each row of a micro-batch.
Rows = list[list[int]]


@dataclass(frozen=True)
class Step:
    """The micro-batches of one optimizer step."""

    micro_batches: list[Rows]
    #: Trained tokens of the whole step.
    tokens: int


class ExportedRun:
    """The directory of an export."""

    def __init__(self, directory: Path) -> None:
        """Opens an export.

        Raises `IvlError` for a directory without one, or of another version.
        """
        path = directory / "export.json"
        if not path.is_file():
            raise IvlError(f"`{directory}` holds no whole export; write one with `ivl data export CONFIG.toml --out {directory}`")
        self.directory, self.description = directory, read_object(path)
        if self.description.get("format") != FORMAT:
            raise IvlError(f"`{path}` has the format {self.description.get('format')!r}, expected {FORMAT}; use the package of your `ivl`")
        try:
            self.train = Examples(directory, self.description["train"])
            self.eval = Examples(directory, self.description["eval"])
            self.total_steps = int(self.description["steps"])
        except (KeyError, TypeError) as error:
            raise IvlError(f"`{path}` is not what `ivl data export` writes ({error}); run it again") from error

    def check_config(self, path: Path) -> None:
        """Refuses a configuration file that was changed after the export.

        Raises `IvlError`.
        """
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise IvlError(f"cannot read `{path}`: {error}") from error
        if digest != self.description["config_sha256"]:
            raise IvlError(
                f"`{path}` is not the file that `{self.directory}` was exported from: run `ivl data export {path} --out "
                f"{self.directory} --force` (tokens are cached), or change keys with --set"
            )

    def steps(self, first: int) -> Iterator[Step]:
        """The steps of the run, from one on."""
        accumulation = int(self.description["config"]["steps"]["accumulation"])
        for epoch in self.description["order"]:
            if first >= epoch["steps"]:
                first -= epoch["steps"]
                continue
            examples, rows, micro_batches = self._order(epoch["file"])
            for start in range(first * accumulation, len(micro_batches) - 1, accumulation):
                found = [
                    [examples[rows[row] : rows[row + 1]].tolist() for row in range(micro_batches[at], micro_batches[at + 1])]
                    for at in range(start, min(start + accumulation, len(micro_batches) - 1))
                ]
                indices = [index for micro_batch in found for row in micro_batch for index in row]
                yield Step(found, int(self.train.trained[indices].sum()))
            first = 0

    def _order(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The examples of an epoch in order, and the offsets of rows in them and of micro-batches in the rows.

        Raises `IvlError` for a file that names examples or rows that are not there.
        """
        file = MappedFile(self.directory / name)
        examples, rows, micro_batches = (file.numbers(part) for part in ("examples", "rows", "micro_batches"))
        named = len(examples) == 0 or 0 <= int(examples.min()) <= int(examples.max()) < len(self.train)
        if not named or not _are_offsets(rows, len(examples)) or not _are_offsets(micro_batches, len(rows) - 1):
            raise IvlError(f"`{self.directory / name}` does not fit export.json; run `ivl data export` again")
        return examples, rows, micro_batches


def _are_offsets(offsets: npt.NDArray[Any], end: int) -> bool:
    """Whether the numbers rise from 0 to `end`."""
    return len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == end and bool((np.diff(offsets) > 0).all())
