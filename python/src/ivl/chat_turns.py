"""The tokens at which a generation of a base with values ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ivl.checkpoint import Checkpoint

#: Contents of turns that no template adds by itself.
_USER, _ASSISTANT, _NEXT = "qqUqq", "qqAqq", "qqNqq"


def end_ids(base: Checkpoint, values: Sequence[Checkpoint]) -> list[int]:
    """The base's end tokens, the values' by their text, and those with which the chat template ends the assistant's turn."""
    ends = set(base.tokenizer.end_ids())
    for value in values:
        names = [value.tokenizer.id_to_token(token_id) for token_id in value.tokenizer.end_ids()]
        found = [base.tokenizer.token_to_id(name) for name in names if name is not None]
        ends |= {token_id for token_id in found if token_id is not None}
    for directory in [*(value.directory for value in values), base.directory]:
        template = chat_template(directory)
        if template is not None:
            ends |= set(_closing_ids(base, template))
            break
    return sorted(token_id for token_id in ends if token_id < len(base.vocab))


def chat_template(directory: Path) -> Any | None:
    """The tokenizer of a directory that has a chat template; `None` if it has none."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return tokenizer if tokenizer.chat_template else None


def _closing_ids(base: Checkpoint, template: Any) -> list[int]:
    """The first control token of what closes an assistant's turn, or that which opens the next turn if nothing closes it."""

    def between(turns: list[tuple[str, str]], after: str, before: str | None) -> list[int]:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            text = template.apply_chat_template(messages, tokenize=False)
        except Exception:  # noqa: BLE001 - a template may refuse a conversation, with any error; then it says nothing
            return []
        text = text.rpartition(after)[2]
        return base.tokenizer.encode(text.partition(before)[0] if before else text, add_special_tokens=False)

    def is_control(token_id: int) -> bool:
        token = base.vocab.token(token_id)
        return token is not None and token.is_control

    conversation = [("user", _USER), ("assistant", _ASSISTANT)]
    closing = [token_id for token_id in between(conversation, _ASSISTANT, None) if is_control(token_id)]
    if closing:
        return closing[:1]
    opening = between([*conversation, ("user", _NEXT)], _ASSISTANT, _NEXT)
    return [token_id for token_id in opening[:1] if is_control(token_id)]
