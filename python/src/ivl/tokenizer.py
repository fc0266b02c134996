"""The tokenizer of a checkpoint: text to ids, and the bytes of every id."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from ivl.errors import IvlError
from ivl.json_file import read_bounded, read_object_if_there
from ivl.special_tokens import SpecialTokens
from ivl.spelling import SPACE_MARK, Spelling, parts
from ivl.vocab import Role, Token, TokenKind, Vocab

#: Ids from here on are refused: no vocabulary is that large.
MOST_TOKENS = 1 << 24

#: The names under which tokenizers are known to write a role; what the configuration says goes before them.
_NAMES: dict[Role, tuple[str, ...]] = {
    Role.BEGINNING: ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "[BOS]", "<|endoftext|>"),
    Role.END: ("</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "[EOS]"),
    Role.PADDING: ("<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>"),
    Role.UNKNOWN: ("<unk>", "[UNK]"),
    Role.TURN_START: ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<|user|>", "<|assistant|>"),
    Role.TURN_END: ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]"),
}
_FIELDS = {"bos_token": Role.BEGINNING, "eos_token": Role.END, "pad_token": Role.PADDING, "unk_token": Role.UNKNOWN}


class UnwritableError(IvlError):
    """A text with a character that no token of a tokenizer can write."""


class TokenEnd(NamedTuple):
    """A token of a text, and the number of bytes of the text that are complete after it."""

    token_id: int
    end: int


class Tokenizer:
    """A fast tokenizer as `tokenizer.json` and the files beside it describe it; truncation and padding are off."""

    def __init__(self, directory: Path) -> None:
        """Reads the tokenizer of a directory.

        Raises `IvlError` for a directory without `tokenizer.json`, or one that cannot be read.
        """
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise IvlError(f"`{directory}` has no tokenizer.json, which a base or a value needs")
        data = read_bounded(path)
        try:
            inner = tokenizers.Tokenizer.from_str(data.decode())
            described: dict[str, Any] = json.loads(data)
        except Exception as error:
            raise IvlError(f"`{path}` is no tokenizer: {error}") from error
        inner.no_truncation()
        inner.no_padding()
        self._path, self._inner, self._directory = path, inner, directory
        self.special_tokens = SpecialTokens(directory)
        self.special_tokens.complete(inner)
        spelling = Spelling(described)
        before = parts(described.get("normalizer"), described.get("pre_tokenizer"))
        self._changes_text = any(map(_changes_text, parts(described.get("normalizer"))))
        vocab = Vocab(self._tokens(spelling), (), any(map(_adds_space, before)) or spelling.begins_with_space)
        self.vocab = self._with_roles(vocab)

    def _tokens(self, spelling: Spelling) -> list[Token | None]:
        special = self._inner.get_added_tokens_decoder()
        names = self._inner.get_vocab(with_added_tokens=True)
        added = {(token.content, token_id) for token_id, token in special.items()}
        tokens: list[Token | None] = [None] * (max(names.values(), default=-1) + 1 if names else 0)
        if len(tokens) > MOST_TOKENS:
            raise IvlError(f"`{self._path}` has the id {len(tokens) - 1}, expected ids below {MOST_TOKENS}")
        owners: dict[int, str] = {}
        # An added token may take the id of one that the model had; no other two may share one.
        for name, token_id in sorted(names.items(), key=lambda item: (item in added, item[0])):
            first = owners.setdefault(token_id, name)
            if first != name and (name, token_id) not in added:
                raise IvlError(f"`{self._path}`: the id {token_id} belongs to `{first}` and to `{name}`, expected one token")
            is_control = token_id in special and special[token_id].special
            tokens[token_id] = Token(name.encode(), TokenKind.CONTROL) if is_control else spelling.token(name)
        return tokens

    def _with_roles(self, vocab: Vocab) -> Vocab:
        for field, role in _FIELDS.items():
            declared = self.special_tokens.get(field)
            if declared is not None:
                vocab = vocab.with_roles(role, self._ids([declared]))
        for role, names in _NAMES.items():
            for token_id in self._ids(names):
                # `<|endoftext|>` begins a text only where nothing else does.
                if role is not Role.BEGINNING or all(other is not role for other, _ in vocab.roles):
                    vocab = vocab.with_roles(role, [token_id])
        return vocab

    def _ids(self, names: Sequence[str]) -> list[int]:
        return [token_id for token_id in map(self._inner.token_to_id, names) if token_id is not None]

    def token_to_id(self, name: str) -> int | None:
        """The id of a token by its name in the file."""
        return self._inner.token_to_id(name)

    def id_to_token(self, token_id: int) -> str | None:
        """The name in the file of an id."""
        return self._inner.id_to_token(token_id)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text, with the special tokens that the post-processor adds or without."""
        return list(self._inner.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids."""
        return self._inner.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def end_ids(self) -> list[int]:
        """Tokens that end a text: the tokenizer's, and `eos_token_id` of `generation_config.json` and `config.json`."""
        files = [read_object_if_there(self._directory / name) for name in ("generation_config.json", "config.json")]
        configured = [token_id for file in files for token_id in _id_list(file.get("eos_token_id"))]
        named = self.special_tokens.get("eos_token")
        own = self._ids([named]) if named is not None else []
        return sorted({*own, *configured})

    def tokenize(self, text: str) -> list[TokenEnd]:
        """The tokens of a text with those that the post-processor puts before it and without those that it puts after.

        If the text itself begins with the name of the opening token, that token is not put there twice.

        Raises `UnwritableError` for a character that no token can write.
        """
        encoding = self._inner.encode(text)
        mask, offsets = encoding.special_tokens_mask, encoding.offsets
        opening = next((at for at, added in enumerate(mask) if not added), len(mask))
        closing = next((at for at, added in enumerate(reversed(mask[opening:])) if not added), len(mask) - opening)
        ids = encoding.ids[: len(mask) - closing]
        twice = 0 < opening < len(ids) and ids[opening] == ids[opening - 1]
        written = [TokenEnd(token_id, 0) for token_id in ids[: opening - twice]]
        data = text.encode()
        # The bindings count characters.
        starts = [0, *accumulate(len(character.encode()) for character in text)]
        at = 0
        for index in range(opening, len(ids)):
            last_of_its_bytes = index + 1 >= len(offsets) or offsets[index + 1] != offsets[index]
            covered = starts[offsets[index][0]], starts[offsets[index][1]]
            at = self._end(data, at, ids[index], covered, last_of_its_bytes)
            written.append(TokenEnd(ids[index], at))
        _check_lost(data, at, len(data))
        return written

    def _end(self, data: bytes, at: int, token_id: int, covered: tuple[int, int], last: bool) -> int:
        """Bytes of the text that are complete after a token that begins at `at`.

        `covered` are the tokenizer's own offsets: whole characters, and the only clue where a normalizer changed the text.
        """
        start, end = covered
        token = self.vocab.token(token_id)
        if token is not None and token.is_control and self.vocab.plays(token_id, Role.UNKNOWN) and data[start:end] != token.data:
            raise _unwritable(data, max(start, at))
        own, rest = self.vocab.text_bytes(token_id), data[at:]
        if own and rest.startswith(own):
            return at + len(own)
        # The space that the tokenizer put there is not part of the text.
        if own.startswith(b" ") and rest.startswith(own[1:]):
            return at + len(own) - 1
        # Spaces that the tokenizer drops.
        text = rest.decode(errors="replace")
        spaces = len(text[: len(text) - len(text.lstrip())].encode())
        if own and rest[spaces:].startswith(own):
            return at + spaces + len(own)
        if not own or self._changes_text:
            _check_lost(data, at, start)
            return max(end, at) if last else at
        raise _unwritable(data, at + spaces)


def _check_lost(data: bytes, start: int, end: int) -> None:
    """Refuses text that no token covers, spaces aside."""
    lost = data[start : max(end, start)].decode(errors="replace")
    kept = len(lost) - len(lost.lstrip())
    if kept < len(lost):
        raise _unwritable(data, start + len(lost[:kept].encode()))


def _unwritable(data: bytes, byte: int) -> UnwritableError:
    character = data[byte:].decode(errors="replace")[:1]
    return UnwritableError(f"no token can write `{character}` at byte {byte} of the text; remove it, or take another tokenizer")


def _id_list(written: Any) -> list[int]:
    listed = written if isinstance(written, list) else [written]
    return [token_id for token_id in listed if isinstance(token_id, int) and not isinstance(token_id, bool) and token_id >= 0]


def _adds_space(part: dict[str, Any]) -> bool:
    """Whether a part of a `tokenizer.json` gives every text a leading space of its own."""
    kind = part.get("type")
    if kind == "Prepend":
        return part.get("prepend") in (SPACE_MARK, " ")
    if kind == "Metaspace":
        # The scheme replaced the flag; a file has one or the other.
        scheme = part.get("prepend_scheme")
        return scheme != "never" if isinstance(scheme, str) else part.get("add_prefix_space") is not False
    return kind == "ByteLevel" and part.get("add_prefix_space") is True


def _changes_text(part: dict[str, Any]) -> bool:
    """Whether a part of a normalizer changes the characters of a text."""
    kind = part.get("type")
    if kind in (None, "Sequence", "Prepend"):
        return False
    return part.get("content") != SPACE_MARK if kind == "Replace" else True
