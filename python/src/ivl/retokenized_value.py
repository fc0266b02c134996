"""A value that cuts texts into other tokens than the base."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ivl.errors import IvlError
from ivl.fused_cache import CACHE_NAME, TextCache, TextRow
from ivl.projection import VocabProjection
from ivl.tokenizer import Tokenizer, UnwritableError
from ivl.vocab import Role, TokenKind, Vocab
from ivl.vocab_map import VocabMap


class Transcript:
    """Turns base tokens into text, one at a time. Bytes that do not yet make a character wait."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        #: Complete characters.
        self.text = ""
        self.started = False

    @property
    def pending(self) -> bytes:
        """Bytes of the character that is not complete."""
        return self._decoder.getstate()[0]

    def push(self, data: bytes, adds_space: bool) -> None:
        """Adds the bytes of a token. The space that a tokenizer gave the text's beginning is not part of the text."""
        if not data:
            return
        if not self.started and adds_space:
            data = data.removeprefix(b" ")
        self.started = True
        self.text += self._decoder.decode(data)


@dataclass(frozen=True)
class Context:
    """What a value has to read at one position of the base."""

    #: The text so far in the value's tokens; `None` if there is nothing that the value can read.
    tokens: tuple[int, ...] | None
    #: Bytes of a character that is not complete.
    pending: bytes


class Reader:
    """Turns base tokens into the tokens of one value."""

    def __init__(self, tokenizer: Tokenizer, base: Vocab, value: Vocab, vocab_map: VocabMap) -> None:
        self._tokenizer, self._base = tokenizer, base
        # A control token is written by the name that the value has for it, so that the value's tokenizer finds its own.
        self._control_names: dict[int, bytes] = {}
        for token_id, token in enumerate(base):
            if token is not None and token.is_control and not base.plays(token_id, Role.PADDING):
                counterpart = vocab_map.value_id(token_id)
                named = None if counterpart is None else value.token(counterpart)
                if named is not None:
                    self._control_names[token_id] = named.data

    def _push(self, transcript: Transcript, token_id: int) -> None:
        name = self._control_names.get(token_id)
        if name is None:
            transcript.push(self._base.text_bytes(token_id), self._base.adds_space)
        elif transcript.started or not self._base.plays(token_id, Role.BEGINNING):
            # The value's tokenizer writes the beginning of every text.
            transcript.push(name, False)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The value's tokens of a text.

        Raises `UnwritableError` for a character that its tokenizer cannot write.
        """
        return tuple(token.token_id for token in self._tokenizer.tokenize(text))

    def text(self, ids: Sequence[int | None]) -> str:
        """The complete characters of base tokens, as the value reads them."""
        transcript = Transcript()
        for token_id in ids:
            if token_id is not None:
                self._push(transcript, token_id)
        return transcript.text

    def contexts(self, ids: Sequence[int | None], wanted: int) -> list[Context]:
        """What a value has to read at the last `wanted` of some base tokens; `None` is padding, which has no text."""
        transcript, found = Transcript(), []
        last: tuple[int, tuple[int, ...] | None] | None = None
        for position, token_id in enumerate(ids):
            if token_id is not None:
                self._push(transcript, token_id)
            if position < len(ids) - wanted:
                continue
            length = len(transcript.text)
            if token_id is not None and (last is None or last[0] != length):
                try:
                    last = (length, self.tokenize(transcript.text))
                except UnwritableError:
                    last = (length, None)
            found.append(Context(last[1] if last else None, transcript.pending))
        return found


class RetokenizedNetwork(torch.nn.Module):
    """A network that reads the base's tokens and answers with logits `M(v)` of the base's ids.

    The value always reads *its own* tokenisation of the text so far. When new base tokens change the last of the value's tokens, its
    cache is cut back to what the two tokenisations share and the rest is read again. `M` is a `VocabMap`. Where the base's text ends
    inside a character, a base token that goes on with it gets the logit of the value token that holds the pending bytes and its own. Where
    the value cannot read the text at all it gives no logits, and the base predicts without it.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        name: str,
        tokenizer: Tokenizer,
        vocabs: tuple[Vocab, Vocab],
        vocab_map: VocabMap,
    ) -> None:
        """`vocabs` are those of the base and of the value.

        Raises `IvlError` for a network whose cache cannot be cut back.
        """
        super().__init__()
        if any(DynamicCache(config=network.config).is_linear):
            raise IvlError(
                f"`{name}` has another vocabulary than the base and recurrent layers, whose state cannot be cut back; take a value with "
                "attention in every layer"
            )
        self.network = network
        self.projection = VocabProjection(vocab_map)
        self._name, self._map = name, vocab_map
        self._base, value = vocabs
        self._reader = Reader(tokenizer, self._base, value, vocab_map)
        limit = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        self._limit: int | None = limit if isinstance(limit, int) else None
        # Of tokens with the same bytes, the one that tokenizers write first: text before single bytes, then lower ids.
        self._id_of_bytes: dict[bytes, int] = {}
        for kind in (TokenKind.TEXT, TokenKind.BYTE):
            for token_id, token in enumerate(value):
                if token is not None and token.kind is kind and token.data:
                    self._id_of_bytes.setdefault(token.data, token_id)

    def forward(self, tokens: Tensor, mask: Tensor, wanted: int, cache: TextCache) -> tuple[Tensor, Tensor | None]:
        """Logits for the next base token at the last `wanted` of new positions, and 1 where the value has none.

        `tokens` and `mask` have the shape `[batch, seq]`, the outputs `[batch, wanted, base_vocab]`. The logits are 0 where there are none.

        Raises `IvlError` for a prompt that the value cannot read.
        """
        if not cache.rows:
            cache.rows = [TextRow() for _ in range(tokens.shape[0])]
        logits, silent = [], []
        for row, new, real in zip(cache.rows, tokens.tolist(), mask.tolist()):
            if not row.ids:
                self._check_readable(new, real)
            row.ids += [token_id if kept else None for token_id, kept in zip(new, real)]
            contexts = self._reader.contexts(row.ids, wanted)
            after = self._read(row, [self._readable(context) for context in contexts])
            for context, of_value in zip(contexts, after):
                mapped, unmapped = self._of_base(of_value, context.pending)
                logits.append(mapped)
                silent.append(unmapped)
        shape = (tokens.shape[0], wanted, len(self._base))
        all_silent = torch.stack(silent).view(shape)
        return torch.stack(logits).view(shape), all_silent if bool(all_silent.any()) else None

    def _check_readable(self, new: list[int], real: list[int]) -> None:
        text = self._reader.text([token_id for token_id, kept in zip(new, real) if kept])
        try:
            length = len(self._reader.tokenize(text))
        except UnwritableError as error:
            raise IvlError(f"`{self._name}` cannot read the text: {error}") from error
        if self._limit is not None and length > self._limit:
            raise IvlError(f"the text has {length} tokens of `{self._name}`, expected at most {self._limit}; shorten it")

    def _readable(self, context: Context) -> tuple[int, ...] | None:
        tokens = context.tokens
        return tokens if tokens and (self._limit is None or len(tokens) <= self._limit) else None

    def _of_base(self, value: Tensor | None, pending: bytes) -> tuple[Tensor, Tensor]:
        """Logits `[base_vocab]` of the base's ids from the value's, in f32, and 1 where there are none."""
        device = self.network.device
        size = len(self._base)
        if value is None:
            return torch.zeros(size, device=device), torch.ones(size, device=device)
        if not pending:
            unmapped = self.projection.unmapped
            return self.projection.logits(value), torch.zeros(size, device=device) if unmapped is None else unmapped
        mapped, silent = torch.zeros(size, device=device), torch.ones(size, device=device)
        for token_id in range(size):
            own = self._base.text_bytes(token_id)
            if own and 0x80 <= own[0] < 0xC0:
                found = self._id_of_bytes.get(pending + own)
                if found is not None:
                    mapped[token_id] = value[found] * self._map.weight(token_id)
                    silent[token_id] = 0.0
        return mapped, silent

    def _read(self, row: TextRow, texts: Sequence[tuple[int, ...] | None]) -> list[Tensor | None]:
        """Logits `[value_vocab]` after each of some texts, which grow one out of the other.

        One pass over the longest, with a short detour for every text that is not a prefix of it.
        """
        whole = next((text for text in reversed(texts) if text is not None), None)
        if whole is None:
            return [None] * len(texts)
        is_prefix = [text is not None and whole[: len(text)] == text for text in texts]
        first = min((len(text) - 1 for text, prefix in zip(texts, is_prefix) if text and prefix), default=len(whole) - 1)
        row.rewind(min(_shared(row.held, whole), first))
        path = _Path(self.network, row, whole, first)
        found: list[Tensor | None] = []
        for text, prefix in zip(texts, is_prefix):
            found.append(path.detour(text) if text is not None and not prefix else None)
        path.advance(len(whole))
        for place, text in enumerate(texts):
            if text is not None and is_prefix[place]:
                found[place] = path.after[len(text) - 1]
        return found


class _Path:
    """The pass over the longest of some texts."""

    def __init__(self, network: PreTrainedModel, row: TextRow, whole: tuple[int, ...], first: int) -> None:
        self._network, self._row, self._whole, self._first = network, row, whole, first
        #: Logits after token `i` of the whole, for every token from the first wanted one on.
        self.after: dict[int, Tensor] = {}

    def _feed(self, tokens: Sequence[int], keep: int) -> Tensor:
        """Reads tokens after those that the row holds; logits `[keep, value_vocab]` after the last of them, in f32."""
        ids = torch.tensor([tokens], device=self._network.device)
        output = self._network(input_ids=ids, use_cache=True, logits_to_keep=keep, **{CACHE_NAME: self._row.cache})
        self._row.held += tokens
        return output.logits[0].float()

    def advance(self, to: int) -> None:
        """Reads the whole up to some length."""
        at = len(self._row.held)
        if at < to:
            start = min(max(at, self._first), to - 1)
            logits = self._feed(self._whole[at:to], to - start)
            self.after.update(zip(range(start, to), logits))

    def detour(self, text: tuple[int, ...]) -> Tensor:
        """Logits after a text that leaves the path; the row then holds what the two share."""
        fork = min(_shared(text, self._whole), len(text) - 1)
        self.advance(fork)
        self._row.rewind(fork)
        logits = self._feed(text[fork:], 1)
        self._row.rewind(fork)
        return logits[0]


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of leading tokens that are equal."""
    return next((at for at, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
