"""The value card `ivl.json`: how a value reads its input, and at which weight it is meant to be added."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from pathlib import Path

from ivl.errors import IvlError
from ivl.json_file import read_object
from ivl.learned_gate import LearnedGate


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
    #: The gate that multiplies the value, if there is one.
    gate: LearnedGate | None = None

    #: Name of the card's file in a value's directory.
    FILE = "ivl.json"
    #: The newest format that is read: that of cards with a gate.
    FORMAT = 2

    @classmethod
    def read(cls, directory: Path) -> ValueCard:
        """The card of a directory.

        Raises `IvlError` for a card that cannot be read, one of a later format, and a gate that cannot be applied.
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
        connection, gate = Connection(card["connection"]), card.get("gate")
        if gate is not None and connection is not Connection.RESIDUAL:
            raise IvlError(
                f"`gate` in `{path}` is of a {connection.value} value, expected one of a residual value: take it out with `ivl gate "
                f"--value {directory} --remove`"
            )
        return cls(connection, float(alpha), None if gate is None else LearnedGate.parse(gate, path))
