"""The special tokens of a directory, wherever its files declare them, in the order of transformers 5.

`tokenizer_config.json` names tokens by role, lists further ones, and may hold tokens that `tokenizer.json` lacks
(`added_tokens_decoder`). Without those, `special_tokens_map.json` goes before it, and `added_tokens.json` adds tokens. Roles that no
file names are those that the tokenizer's class assumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from ivl.json_file import read_object_if_there

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

_END_OF_TEXT = "<|endoftext|>"
_GPT2 = {"unk_token": _END_OF_TEXT, "bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT}
_LLAMA = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_NEOX = {**_GPT2, "pad_token": "<|padding|>"}
_QWEN = {"unk_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT}
_GEMMA = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "mask_token": "<mask>"}
_OF_CLASS = {
    "LlamaTokenizer": _LLAMA,
    "CodeLlamaTokenizer": _LLAMA,
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "GPTNeoXTokenizer": _NEOX,
    "Qwen2Tokenizer": _QWEN,
    "GemmaTokenizer": _GEMMA,
}
_OF_MODEL_TYPE = {
    "llama": _LLAMA,
    "gpt2": _GPT2,
    "phi": _GPT2,
    "gpt_neox": _NEOX,
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
}


class SpecialTokens:
    """The special tokens that the files of a directory declare, by role."""

    def __init__(self, directory: Path) -> None:
        """Reads the files of a directory.

        Raises `IvlError` for a file that is there and cannot be read.
        """
        config = read_object_if_there(directory / "tokenizer_config.json")
        added: dict[int, tokenizers.AddedToken] = {}
        decoder = config.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            for token_id, written in decoder.items():
                token = _added_token(written, special=False)
                if token is not None and token_id.isdecimal():
                    added[int(token_id)] = token
        else:
            config |= read_object_if_there(directory / "special_tokens_map.json")
            named = {_content(value) for value in config.values()}
            for name, token_id in read_object_if_there(directory / "added_tokens.json").items():
                if isinstance(token_id, int):
                    added[token_id] = _added_token(name, special=name in named)
        self._listed = [added[token_id] for token_id in sorted(added)]
        self._required: list[tokenizers.AddedToken] = []
        self._named: dict[str, str] = {}
        for role, written in config.items():
            if role in _ROLES or role.endswith("_token"):
                self._require(role, written)
        self._require_further(config)
        assumed = _assumed(config, directory)
        self._assumed = {role: token for role, token in assumed.items() if role not in config}

    def _require_further(self, config: dict[str, Any]) -> None:
        further = config.get("extra_special_tokens") or config.get("additional_special_tokens")
        if isinstance(further, list):
            for written in further:
                self._require(None, written)
        elif isinstance(further, dict):
            for role, written in further.items():
                self._require(role, written)

    def _require(self, role: str | None, written: Any) -> None:
        token = _added_token(written, special=True)
        if token is None:
            return
        if role is not None:
            self._named[role] = token.content
        for known in self._listed:
            if known.content == token.content:
                known.special = True
                return
        self._required.append(token)

    def get(self, role: str) -> str | None:
        """The token of a role, such as `bos_token`."""
        return self._named.get(role, self._assumed.get(role))

    def complete(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Puts the tokens into a tokenizer that lacks them; assumed tokens that it lacks are forgotten."""
        known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        required = [token for token in self._required if token.content not in known]
        tokenizer.add_tokens([*self._listed, *required])
        self._assumed = {role: name for role, name in self._assumed.items() if tokenizer.token_to_id(name) is not None}


def _assumed(config: dict[str, Any], directory: Path) -> dict[str, str]:
    tokenizer_class = config.get("tokenizer_class")
    if isinstance(tokenizer_class, str):
        return _OF_CLASS.get(tokenizer_class.removesuffix("Fast"), {})
    return _OF_MODEL_TYPE.get(str(read_object_if_there(directory / "config.json").get("model_type")), {})


def _content(written: Any) -> str | None:
    """The text of a token that is written as a string or as an object."""
    if isinstance(written, dict):
        written = written.get("content")
    return written if isinstance(written, str) else None


def _added_token(written: Any, *, special: bool) -> Any:
    """A token that is written as a string or as an object; `special` if its place says so. `None` for anything else."""
    content = _content(written)
    if content is None:
        return None
    if not isinstance(written, dict):
        return tokenizers.AddedToken(content, special=special, normalized=not special)
    flags = {name: written.get(name) is True for name in ("single_word", "lstrip", "rstrip")}
    return tokenizers.AddedToken(
        content,
        **flags,
        normalized=written.get("normalized") is not False,
        special=special or written.get("special") is True,
    )
