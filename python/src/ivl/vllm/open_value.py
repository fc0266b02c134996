"""A value as vLLM serves it, before its weights are read; needs no vLLM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from safetensors import safe_open
from torch import Tensor

from ivl.checkpoint import Checkpoint
from ivl.errors import IvlError
from ivl.json_file import read_object
from ivl.value_card import Connection, ValueCard
from ivl.vocab_map import VocabMap


class OpenValue:
    """A value that fits the base; its weights are not read yet."""

    def __init__(self, name: str, alpha: float | None, base: Checkpoint) -> None:
        """Opens a value.

        Raises `IvlError` for one that vLLM cannot serve: a cascade value, or one of another vocabulary.
        """
        self.checkpoint = Checkpoint.open(name)
        card = ValueCard.read(self.checkpoint.directory)
        self.alpha = card.alpha if alpha is None else alpha
        #: The gate of the card, which multiplies the value.
        self.gate = card.gate
        if card.connection is not Connection.RESIDUAL:
            raise IvlError(
                f"`{name}` is a {card.connection.value} value, which reads the base's predictions before it reads the text; vLLM runs "
                "residual values. Serve it with `ivl serve`"
            )
        try:
            self.vocab_map = VocabMap.same_ids(base.vocab, self.checkpoint.vocab)
        except IvlError as error:
            reason = f"`{name}` has another vocabulary than the base, and vLLM reads one; serve it with `ivl serve`: {error}"
            raise IvlError(reason) from error

    @property
    def weights(self) -> Checkpoint:
        """The checkpoint with the weights: that which adapters adapt, or its own."""
        return self.checkpoint.adapted or self.checkpoint

    def check_length(self, max_model_len: int) -> None:
        """Refuses a value that reads shorter texts than the server.

        Raises `IvlError`.
        """
        limit = getattr(self.checkpoint.config.get_text_config(), "max_position_embeddings", None)
        if isinstance(limit, int) and limit < max_model_len:
            reads = f"`{self.checkpoint.name}` reads {limit} tokens, and the server {max_model_len}"
            raise IvlError(f"{reads}: start it with --max-model-len {limit}")

    def changes(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What adapters make of each weight, by its name: `W + alpha / rank B A`, or a last norm of their own; empty without adapters."""
        if self.checkpoint.adapted is None:
            return {}
        directory = self.checkpoint.directory
        described = read_object(directory / "adapter_config.json")
        unread = [key for key in ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern") if described.get(key)]
        if unread or described.get("peft_type") != "LORA":
            raise IvlError(f"`{directory}` holds adapters with `{(unread or ['peft_type'])[0]}`, expected plain low-rank adapters")
        scale = float(described["lora_alpha"]) / int(described["r"])
        changes: dict[str, Callable[[Tensor], Tensor]] = {}
        with safe_open(directory / "adapter_model.safetensors", framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names):
                if not name.endswith(".lora_A.weight"):
                    if ".lora_" not in name:
                        changes[name.removeprefix("base_model.model.")] = partial(_instead, file.get_tensor(name))
                    continue
                up = file.get_tensor(name.replace(".lora_A.", ".lora_B.")).float()
                module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                changes[f"{module}.weight"] = partial(_plus, scale * (up @ file.get_tensor(name).float()))
        return changes


def _plus(added: Tensor, tensor: Tensor) -> Tensor:
    # In f32: the type of the file may be coarser than that in which vLLM computes.
    return tensor.float() + added.to(tensor.device)


def _instead(own: Tensor, tensor: Tensor) -> Tensor:
    return own.float().to(tensor.device)
