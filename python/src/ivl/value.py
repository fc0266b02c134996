"""A value, and how it is attached to a base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivl.errors import IvlError


@dataclass(frozen=True)
class Value:
    """A value, and how it is attached to a base."""

    #: A directory or a hub name.
    model: str | Path
    #: The weight; the card's, else 1, unless set.
    alpha: float | None = None
    #: For a value of another vocabulary: a map that `ivl align` wrote.
    map: str | Path | None = None
    #: The name that the value is called by; the last part of its directory's, unless set.
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> Value:
        """The value of `VALUE[:ALPHA]`, as the command `ivl` writes it. An existing path of this whole name takes precedence.

        Raises `IvlError` for an alpha that is no finite number.
        """
        name, colon, alpha = text.rpartition(":")
        if not colon or Path(text).exists():
            return cls(text)
        try:
            number = float(alpha)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise IvlError(f"the value is `{text}`, expected VALUE or VALUE:ALPHA with a finite number for ALPHA")
        return cls(name, alpha=number)

    def called(self, taken: set[str]) -> str:
        """Its name; the name of a value that is attached twice gets a number."""
        name = self.name or str(self.model).rstrip("/").rpartition("/")[2]
        free, number = name, 2
        while free in taken:
            free, number = f"{name}#{number}", number + 1
        return free


def checked_alpha(alpha: Any) -> float:
    """A weight as a number.

    Raises `IvlError` for anything that is not a finite number.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise IvlError(f"alpha is {alpha!r}, expected a finite number")
    return float(alpha)
