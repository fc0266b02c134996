"""The meaning of every token id: its bytes, whether it is text, and a fingerprint of the whole."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property


class TokenKind(enum.Enum):
    """How a token appears in text."""

    #: Bytes of ordinary text.
    TEXT = "text"
    #: One byte by its number (`<0x41>` of SentencePiece), written only where no other token fits.
    BYTE = "byte"
    #: A control token, which adds nothing to decoded text.
    CONTROL = "control"


class Role(enum.Enum):
    """The purpose of a control token."""

    BEGINNING = "beginning"
    END = "end"
    PADDING = "padding"
    UNKNOWN = "unknown"
    TURN_START = "turn start"
    TURN_END = "turn end"


@dataclass(frozen=True)
class Token:
    """One entry of a `Vocab`: the bytes that it adds to a text, or the name of a control token."""

    data: bytes
    kind: TokenKind = TokenKind.TEXT

    @property
    def is_control(self) -> bool:
        """Whether the token adds nothing to a text."""
        return self.kind is TokenKind.CONTROL


@dataclass(frozen=True)
class Vocab:
    """The vocabulary of a causal LM: one slot for each logit; `None` is an id without a token.

    It equals that of the Rust library, so that both compute the same `fingerprint`.
    """

    tokens: Sequence[Token | None]
    roles: Sequence[tuple[Role, int]] = ()
    #: Whether the tokenizer begins every text with a space that is not part of it.
    adds_space: bool = False
    _role_set: frozenset[tuple[Role, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_role_set", frozenset(self.roles))

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Token | None]:
        return iter(self.tokens)

    def token(self, token_id: int) -> Token | None:
        """The token of an id; `None` for padding and for ids outside."""
        return self.tokens[token_id] if 0 <= token_id < len(self.tokens) else None

    def text_bytes(self, token_id: int) -> bytes:
        """The bytes that an id adds to a text: empty for control tokens, padding and ids outside."""
        token = self.token(token_id)
        return b"" if token is None or token.is_control else token.data

    def plays(self, token_id: int, role: Role) -> bool:
        """Whether a token plays a role."""
        return (role, token_id) in self._role_set

    def with_roles(self, role: Role, ids: Iterable[int]) -> Vocab:
        """The same vocabulary, in which some ids also play a role."""
        new = [(role, token_id) for token_id in ids if self.token(token_id) is not None]
        roles = [*self.roles, *(pair for pair in new if pair not in self._role_set)]
        return Vocab(self.tokens, roles, self.adds_space)

    def resized(self, size: int) -> Vocab:
        """The same vocabulary with exactly `size` slots; new slots hold no token."""
        tokens = [*self.tokens[:size], *[None] * (size - len(self.tokens))]
        roles = [(role, token_id) for role, token_id in self.roles if token_id < size]
        return Vocab(tokens, roles, self.adds_space)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every (id, bytes), in hexadecimal; padding, roles and kinds do not change it."""
        digest = hashlib.sha256()
        for token_id, token in enumerate(self.tokens):
            if token is not None:
                digest.update(token_id.to_bytes(8, "little"))
                digest.update(len(token.data).to_bytes(8, "little"))
                digest.update(token.data)
        return digest.hexdigest()
