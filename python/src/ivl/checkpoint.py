"""A model before its weights are read: a checkpoint in Hugging Face layout, or low-rank adapters on one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ivl.errors import IvlError
from ivl.json_file import read_object
from ivl.tokenizer import Tokenizer
from ivl.vocab import Role, Vocab

#: The files of a model that are fetched from the hub.
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "chat_templates/*", "tokenizer.model"]


@dataclass(frozen=True)
class LoadOptions:
    """The type of the weights, the device, and further options of `from_pretrained`."""

    dtype: torch.dtype
    device: torch.device
    further: dict[str, Any] = field(default_factory=dict)


def resolve(name: str | Path) -> Path:
    """The local directory of a model: `name` itself if it is a directory, else the hub's model `org/name[@revision]`.

    Raises `IvlError` for a name that is neither, or for a training run that has not ended.
    """
    local = Path(name)
    if local.is_dir():
        if (local / "checkpoints").is_dir() and not (local / "config.json").exists():
            raise IvlError(f"`{local}` is a training run that has not ended; finish it with `ivl train CONFIG.toml --resume`")
        return local
    if local.suffix == ".gguf":
        raise IvlError(f"`{local}` is a GGUF file: {_convert(local)}")
    hub_name, _, revision = str(name).partition("@")
    if hub_name.count("/") != 1 or hub_name.startswith((".", "/")):
        raise IvlError(f"`{name}` is no directory, and no name on the Hugging Face hub (`org/name[@revision]`)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_name, revision=revision or None, allow_patterns=_PATTERNS))
    except Exception as error:
        raise IvlError(f"`{name}` is no directory here, and cannot be had from the Hugging Face hub: {error}") from error


def _convert(file: Path) -> str:
    return f"PyTorch reads Hugging Face directories. Convert it with `ivl convert {file} --to hf --out DIR`, or serve it with `ivl serve`"


@dataclass(frozen=True)
class Checkpoint:
    """Configuration and tokenizer of a model; its weights are not read yet."""

    name: str
    directory: Path

    @classmethod
    def open(cls, name: str | Path) -> Checkpoint:
        """Opens a directory or a hub name.

        Raises `IvlError` for a name that cannot be resolved, or a directory without `config.json`.
        """
        directory = resolve(name)
        if not (directory / "config.json").is_file():
            for file in sorted(directory.glob("*.gguf"))[:1]:
                raise IvlError(f"`{directory}` holds GGUF files and no config.json: {_convert(file)}")
            raise IvlError(f"`{directory}` has no config.json, so it holds no model in Hugging Face layout")
        return cls(str(name), directory)

    @cached_property
    def config(self) -> Any:
        """Its configuration, as transformers reads it."""
        return AutoConfig.from_pretrained(self.directory)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return Tokenizer(self.directory)

    @cached_property
    def vocab(self) -> Vocab:
        """The tokenizer's tokens, padded to the number of logits.

        Raises `IvlError` if an ordinary token has no logit.
        """
        size = int(self.config.get_text_config().vocab_size)
        vocab = self.tokenizer.vocab.with_roles(Role.END, self.tokenizer.end_ids())
        for token_id, token in enumerate(vocab.tokens[size:], size):
            if token is not None and not token.is_control:
                raise IvlError(f"`{self.directory}`: the token {token_id} has no logit, since `vocab_size` is {size}")
        return vocab.resized(size)

    @cached_property
    def adapted(self) -> Checkpoint | None:
        """The model that the adapters in this directory were trained on; `None` if it holds weights.

        Raises `IvlError` if that model cannot be resolved.
        """
        path = self.directory / "adapter_config.json"
        if not path.is_file():
            return None
        base = read_object(path).get("base_model_name_or_path")
        if not isinstance(base, str):
            raise IvlError(f"`base_model_name_or_path` in `{path}` is {base!r}, expected the model that the adapters were trained on")
        try:
            return Checkpoint.open(base)
        except IvlError as error:
            raise IvlError(f"`{self.directory}` holds adapters of `{base}`, which cannot be opened: {error}") from error

    def load(self, options: LoadOptions, shared: tuple[Path, PreTrainedModel] | None = None) -> PreTrainedModel:
        """Loads the weights. Adapters share the weights of `shared`, a directory with its model, if they were trained on it.

        Raises `IvlError` for weights that transformers cannot load.
        """
        if self.adapted is None:
            return _from_pretrained(self.directory, options)
        try:
            from peft import PeftModel
        except ImportError as error:
            raise IvlError(f"`{self.directory}` holds low-rank adapters, which need PEFT: `pip install peft`") from error
        if shared is not None and self.adapted.directory.resolve() == shared[0].resolve():
            network = copy_with_shared_weights(shared[1])
        else:
            network = self.adapted.load(options)
        adapted = PeftModel.from_pretrained(network, str(self.directory))
        network = adapted.get_base_model()
        assert isinstance(network, PreTrainedModel)
        return network.eval()


def copy_with_shared_weights(model: PreTrainedModel) -> PreTrainedModel:
    """The same network with modules of its own, whose parameters and buffers are those of `model`, not copies."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, memo)


def _from_pretrained(directory: Path, options: LoadOptions) -> PreTrainedModel:
    if not any(directory.glob("*.safetensors")):
        raise IvlError(f"`{directory}` has no *.safetensors, expected the weights of a model in Hugging Face layout")
    placed = {} if "device_map" in options.further else {"device_map": options.device}
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=options.dtype, **placed, **options.further)
    assert isinstance(model, PreTrainedModel)
    return model.eval()
