"""The bytes of a single token, from the decoder of its `tokenizer.json`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ivl.vocab import Token, TokenKind

#: The space of SentencePiece.
SPACE_MARK = "▁"


def parts(*stages: Any) -> list[dict[str, Any]]:
    """All parts of some stages of a `tokenizer.json`, which may be nested pipelines."""
    found: list[dict[str, Any]] = []
    for stage in stages:
        if isinstance(stage, dict):
            for name in ("decoders", "pretokenizers", "normalizers", "processors"):
                found += parts(*(stage.get(name) or ()))
            found.append(stage)
    return found


def _letters_of_bytes() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 is itself, the other 68 bytes, in order, are the letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(rest)}


_BYTE_OF_LETTER = _letters_of_bytes()
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_level(token: str) -> bytes:
    # A token with any other letter is its own text, as in the decoder of the reference.
    known = [_BYTE_OF_LETTER.get(letter) for letter in token]
    return token.encode() if None in known else bytes(byte for byte in known if byte is not None)


def _cleanup(text: str) -> str:
    """The replacements of `tokenizers::decoders::wordpiece::cleanup`, in its order."""
    pairs = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")]
    pairs += [(" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]
    for old, new in pairs:
        text = text.replace(old, new)
    return text


class Spelling:
    """How the tokens of a `tokenizer.json` spell their bytes."""

    def __init__(self, tokenizer_json: dict[str, Any]) -> None:
        stages = [tokenizer_json.get(name) for name in ("decoder", "pre_tokenizer", "normalizer")]
        found = parts(*stages)
        self._byte_fallback = (tokenizer_json.get("model") or {}).get("byte_fallback") is True
        #: Whether the first space of a text is the tokenizer's, not the text's.
        self.begins_with_space = False
        self._bytes: Callable[[str], bytes] = str.encode
        decoder = parts(stages[0])
        word_piece = next((part for part in decoder if part.get("type") == "WordPiece"), None)
        suffix = next((part for part in decoder if part.get("type") == "BPEDecoder"), None)
        if any(part.get("type") == "ByteLevel" for part in found):
            self._bytes, self._byte_fallback = _byte_level, False
        elif self._byte_fallback or any(_marks_spaces(part) for part in found):
            self._bytes = lambda token: token.replace(SPACE_MARK, " ").encode()
        elif word_piece is not None:
            prefix, cleanup = word_piece.get("prefix", "##"), word_piece.get("cleanup", True)
            self._bytes = lambda token: _word_piece(token, prefix, cleanup)
            self.begins_with_space = True
        elif suffix is not None:
            end = suffix.get("suffix", "</w>")
            self._bytes = lambda token: token.replace(end, " ").encode()
        elif stages[0] is None:
            self._bytes = lambda token: f" {token}".encode()
            self.begins_with_space = True

    def token(self, name: str) -> Token:
        """A token of text, by its name in the file."""
        byte = _BYTE_TOKEN.fullmatch(name) if self._byte_fallback else None
        if byte:
            return Token(bytes([int(byte[1], 16)]), TokenKind.BYTE)
        return Token(self._bytes(name))


def _marks_spaces(part: dict[str, Any]) -> bool:
    if part.get("type") == "Metaspace":
        return True
    pattern = part.get("pattern")
    replaces = isinstance(pattern, dict) and pattern.get("String") == SPACE_MARK
    return part.get("type") == "Replace" and (replaces or part.get("content") == SPACE_MARK)


def _word_piece(token: str, prefix: str, cleanup: bool) -> bytes:
    text = token[len(prefix):] if token.startswith(prefix) else f" {token}"
    return (_cleanup(text) if cleanup else text).encode()
