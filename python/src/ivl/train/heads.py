"""A causal LM of transformers as two parts: tokens to hidden states, and hidden states to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ivl.errors import IvlError

#: The largest relative difference of logits between the two parts and the whole, in f32.
_TOLERANCE = 1e-4


class SplitNetwork(nn.Module):
    """A network whose head is computed apart, some positions at a time."""

    def __init__(self, network: PreTrainedModel, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name
        #: Whether several examples may share a row; `check` finds out.
        self.packs = False
        config = network.config.get_text_config()
        self._cap = getattr(config, "final_logit_softcapping", None)
        self._factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)

    @property
    def body(self) -> nn.Module:
        """Everything before the head."""
        return self.network.base_model

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the head."""
        return list(self.network.get_output_embeddings().parameters())

    @property
    def vocab_size(self) -> int:
        """The number of logits."""
        return int(self.network.config.get_text_config().vocab_size)

    def hidden(self, position_ids: Tensor, **tokens: Tensor) -> Tensor:
        """Hidden states `[rows * seq, hidden]` of `input_ids` `[rows, seq]` or `inputs_embeds`."""
        states: Tensor = self.body(position_ids=position_ids, use_cache=False, **tokens).last_hidden_state
        return states.flatten(0, 1)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `[n, vocab]` of hidden states `[n, hidden]`, in f32."""
        logits = self.network.get_output_embeddings()(hidden).float()
        if self._factor != 1.0:
            logits = logits * self._factor
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    @torch.no_grad()
    def check(self) -> None:
        """Refuses a network whose logits are not those of its two parts, or that does not tell examples of a row apart.

        Raises `IvlError`.
        """
        vocab = self.vocab_size
        tokens = torch.arange(12, device=self.network.device)[None] * 7 % vocab
        positions = torch.arange(12, device=tokens.device)[None]
        whole = self.network(input_ids=tokens, use_cache=False).logits[0].float()
        parts = self.head(self.hidden(positions, input_ids=tokens))
        scale = whole.abs().max().clamp(min=1.0) * (1.0 if self.network.dtype == torch.float32 else 300.0)
        if parts.shape != whole.shape or (parts - whole).abs().max() > _TOLERANCE * scale:
            raise IvlError(f"`{self.name}` computes its logits in a way that python -m ivl.train does not know; train with `ivl train`")
        packed = torch.cat([positions[:, :5], positions[:, :7]], 1)
        apart = self.head(self.hidden(packed, input_ids=tokens))[5:]
        alone = self.head(self.hidden(positions[:, :7], input_ids=tokens[:, 5:]))
        self.packs = bool((apart - alone).abs().max() <= 10 * _TOLERANCE * scale)


def decoder_layers(network: PreTrainedModel) -> list[nn.Module]:
    """The layers of a network, which are sharded one by one."""
    lists: list[list[nn.Module]] = [list(module) for module in network.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda modules: len(modules), default=[])
