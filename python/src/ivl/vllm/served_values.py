"""The values of a server, as `--hf-overrides` carries them, and the weights that a request may ask for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ivl.errors import IvlError
from ivl.value import Value, checked_alpha

#: The argument of a request (`vllm_xargs`): one weight for all values, or one for each, as a list.
REQUEST_ARGUMENT = "ivl_alpha"

#: Why a server does not start.
NO_PIPELINE = "values do not work with pipeline parallelism: take --tensor-parallel-size instead"
NO_ADAPTERS = "values do not work with --enable-lora: the adapters would be put on base and values alike"

#: The environment variable that hands the values to the processes of a server.
_VARIABLE = "IVL_VLLM_SERVED"


@dataclass(frozen=True)
class ServedValue:
    """A value of the base's vocabulary, with the name that requests call it by and its weight."""

    model: str
    alpha: float
    name: str


@dataclass(frozen=True)
class Served:
    """What the processes of a server have to know of its values."""

    values: tuple[ServedValue, ...]
    #: The name of the base without values; each value has a name of its own, and `fused` is all of them.
    base: str
    fused: str
    #: Whether requests may ask for weights of their own, and read log-probabilities with them.
    per_request: bool
    processed_logprobs: bool

    def to_environment(self) -> None:
        """Hands it to processes that are started from here."""
        os.environ[_VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> Served | None:
        """What `to_environment` handed over; `None` without it."""
        text = os.environ.get(_VARIABLE)
        if text is None:
            return None
        parsed = json.loads(text)
        return cls(**{**parsed, "values": tuple(ServedValue(**value) for value in parsed["values"])})

    def alphas_of(self, model: str) -> list[float] | None:
        """The weights under the name of a model; `None` for a name of something else."""
        if model == self.fused:
            return [value.alpha for value in self.values]
        if model == self.base:
            return [0.0 for _ in self.values]
        if any(value.name == model for value in self.values):
            return [value.alpha if value.name == model else 0.0 for value in self.values]
        return None


def served_names(base: str, values: Sequence[tuple[str, float]], fused: str) -> Served:
    """Values by the last parts of their directories, beside the base and the name of all of them."""
    found: list[ServedValue] = []
    of_base = Value(base).called({fused})
    taken = {fused, of_base}
    for model, alpha in values:
        found.append(ServedValue(model, alpha, Value(model).called(taken)))
        taken.add(found[-1].name)
    return Served(tuple(found), of_base, fused, per_request=True, processed_logprobs=False)


def values_of_overrides(overrides: Any) -> list[tuple[str, float | None]]:
    """Directories and weights from `{"values": [..]}`: each value a text or an object with `model` and `alpha`.

    Raises `IvlError` for anything else.
    """
    listed = overrides.get("values") if isinstance(overrides, Mapping) else None
    if not isinstance(listed, list) or not listed:
        raise IvlError(
            'IvlFused needs its values: --hf-overrides \'{"architectures": ["IvlFused"], "ivl": {"values": [{"model": "DIR", "alpha": '
            "1.0}]}}', or ivl-vllm serve --base B --value V"
        )
    found: list[tuple[str, float | None]] = []
    for value in listed:
        if isinstance(value, str):
            found.append((value, None))
        elif isinstance(value, Mapping) and isinstance(value.get("model"), str) and set(value) <= {"model", "alpha"}:
            alpha = value.get("alpha")
            found.append((value["model"], None if alpha is None else checked_alpha(alpha)))
        else:
            raise IvlError(f"a value of `ivl.values` is {value!r}, expected a directory, or an object with `model` and `alpha`")
    return found


def request_alphas(argument: Any, count: int) -> list[float]:
    """The weights that a request asks for.

    Raises `IvlError` for anything but a number, or as many as there are values.
    """
    if isinstance(argument, list):
        if len(argument) != count:
            raise IvlError(f"`{REQUEST_ARGUMENT}` has {len(argument)} numbers, expected one for each of {count} values")
        return [checked_alpha(one) for one in argument]
    return [checked_alpha(argument)] * count
