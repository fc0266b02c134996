"""The value card `ivl.json`: how a value reads its input, and at which weight it is meant to be added."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from pathlib import Path

from ivl.errors import IvlError
from ivl.json_file import read_object


class Connection(enum.Enum):
    """How a value is connected to its base."""

    #: It reads the same tokens as the base.
    RESIDUAL = "residual"
    #: It reads the expected embedding of the base's predictions.
    CASCADE = "cascade"
    #: It reads tokens and predictions in turn: twice the positions.
    CASCADE_TEXT = "cascade-text"

    @property
    def stride(self) -> int:
        """Positions of the value for each token."""
        return 2 if self is Connection.CASCADE_TEXT else 1


@dataclass(frozen=True)
class ValueCard:
    """What fusion needs of a value's card; a directory without one is a residual value of weight 1."""

    connection: Connection = Connection.RESIDUAL
    alpha: float = 1.0

    #: Name of the card's file in a value's directory.
    FILE = "ivl.json"
    #: The newest format that is read.
    FORMAT = 1

    @classmethod
    def read(cls, directory: Path) -> ValueCard:
        """The card of a directory.

        Raises `IvlError` for a card that cannot be read, or one of a later format.
        """
        path = directory / cls.FILE
        if not path.is_file():
            return cls()
        card = read_object(path)
        written = card.get("format")
        if not isinstance(written, int) or written > cls.FORMAT:
            raise IvlError(f"`format` in `{path}` is {written!r}, expected at most {cls.FORMAT}: a later version of ivl wrote this card")
        names = [connection.value for connection in Connection]
        if card.get("connection") not in names:
            raise IvlError(f"`connection` in `{path}` is {card.get('connection')!r}, expected one of {', '.join(names)}")
        alpha = card.get("alpha")
        if not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
            raise IvlError(f"`alpha` in `{path}` is {alpha!r}, expected a finite number")
        return cls(Connection(card["connection"]), float(alpha))
