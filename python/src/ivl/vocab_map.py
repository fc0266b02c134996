"""The map from the tokens of a base to the logits of a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ivl.errors import IvlError
from ivl.vocab import Token, Vocab

#: The layout of map files, which `ivl align` writes.
FORMAT = "ivl-map-1"


@dataclass(frozen=True)
class VocabMap:
    """For every id of a base vocabulary, the id of the value vocabulary whose logit is added to it, or -1.

    Ids without a value keep the base's logit between vocabularies of one family. If `neutral`, they receive the neutral value, which
    leaves their joint probability as the base gave it.
    """

    value_of_base: npt.NDArray[np.int64]
    value_size: int
    #: A value id to show where the value cannot read a token of the base.
    fallback: int
    neutral: bool
    #: The factor of the logit of each base id; 1 unless the map has weights.
    weights: npt.NDArray[np.float32] | None = field(default=None)

    @staticmethod
    def same_ids(base: Vocab, value: Vocab) -> VocabMap:
        """The map of two vocabularies in which equal ids mean equal tokens: the only place where vocabularies are compared.

        An id that only one side knows gets no value, and so does a control token that the two sides name differently.

        Raises `IvlError` if any ordinary token differs or no id is shared.
        """
        value_of_base = np.full(len(base), -1, np.int64)
        differing: list[int] = []
        compared = 0
        for token_id, (own, other) in enumerate(zip(base, value)):
            if own is None or other is None:
                continue
            compared += 1
            if own.data == other.data:
                value_of_base[token_id] = token_id
            elif not (own.is_control and other.is_control):
                differing.append(token_id)
        if differing or not (value_of_base >= 0).any():
            first = ""
            if differing:
                own, other = base.token(differing[0]), value.token(differing[0])
                first = f"; the id {differing[0]} is {_shown(own)} for the base and {_shown(other)} for the value"
            raise IvlError(
                f"base and value have different vocabularies: {len(differing)} of {compared} tokens differ{first}. Make a map with "
                "`ivl align --from BASE --to VALUE --out FILE` and give it as the value's `map`"
            )
        return VocabMap(value_of_base, len(value), _first_control(value), neutral=False)

    @staticmethod
    def from_file(path: Path, base: Vocab, value: Vocab) -> VocabMap:
        """The map in a file that `ivl align` wrote, between two vocabularies, padded as they are.

        Raises `IvlError` for a file that is no map, or a map of other vocabularies.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                names = set(file.keys())
                tensors = {name: file.get_tensor(name) for name in names & {"value_of_base", "weights"}}
        except (OSError, SafetensorError) as error:
            raise IvlError(f"cannot read the map `{path}`: {error}. `ivl align` writes maps") from error
        if metadata.get("format") != FORMAT:
            raise IvlError(f"`{path}` has the format {metadata.get('format')!r}, expected {FORMAT!r}; `ivl align` writes maps")
        for side, vocab in (("base", base), ("value", value)):
            expected = metadata.get(f"{side}_fingerprint")
            if expected != vocab.fingerprint:
                raise IvlError(
                    f"`{path}` was made for a {side} vocabulary with the fingerprint {expected}, got {vocab.fingerprint}; make "
                    "one for these two with `ivl align`"
                )
        ids = tensors.get("value_of_base")
        if ids is None or ids.dtype != np.int32 or ids.ndim != 1:
            raise IvlError(f"`{path}` has no list `value_of_base` of I32; `ivl align` writes maps")
        # Equal fingerprints mean equal tokens; what is beyond them is padding on one side or the other.
        value_of_base = np.full(len(base), -1, np.int64)
        value_of_base[: len(ids)] = ids[: len(base)]
        if (value_of_base >= len(value)).any():
            raise IvlError(f"`{path}` names the value's id {value_of_base.max()}, expected ids below {len(value)}")
        weights = tensors.get("weights")
        if weights is not None:
            if weights.dtype != np.float32 or weights.shape != ids.shape or not np.isfinite(weights).all():
                raise IvlError(f"`weights` in `{path}` are not {len(ids)} finite numbers of F32")
            weights = np.pad(weights[: len(base)], (0, max(len(base) - len(weights), 0)))
        return VocabMap(value_of_base, len(value), _first_control(value), neutral=True, weights=weights)

    def value_id(self, base_id: int) -> int | None:
        """The value id of a base id."""
        found = int(self.value_of_base[base_id]) if base_id < len(self.value_of_base) else -1
        return found if found >= 0 else None

    def weight(self, base_id: int) -> float:
        """The factor of the logit of a base id."""
        return 1.0 if self.weights is None else float(self.weights[base_id])


def _first_control(vocab: Vocab) -> int:
    return next((token_id for token_id, token in enumerate(vocab) if token is not None and token.is_control), 0)


def _shown(token: Token | None) -> str:
    return repr(token.data.decode(errors="replace")) if token else "no token"
