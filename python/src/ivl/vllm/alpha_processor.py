"""Weights of values for each request: a logits processor of vLLM, for both of its model runners."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SlotLogitsProcessor
except ImportError:
    # Versions of vLLM with one runner.
    SlotLogitsProcessor = LogitsProcessor

from ivl.errors import IvlError
from ivl.vllm.served_values import REQUEST_ARGUMENT, Served, request_alphas


def _asked(params: Any) -> Any:
    return (params.extra_args or {}).get(REQUEST_ARGUMENT)


_INTERFACES = (LogitsProcessor,) if SlotLogitsProcessor is LogitsProcessor else (LogitsProcessor, SlotLogitsProcessor)


class AlphaProcessor(*_INTERFACES):  # type: ignore[misc]
    """Adds `(alpha_request - alpha_server) v` to the logits that the fused model computed with the weights of the server.

    The `v` of a value with a learned gate is multiplied by it already: a gate reads the base, which no weight changes. The model
    keeps the values' logits of its last call, whose rows are those that are sampled from.
    """

    def __init__(self, vllm_config: Any, device_or_states: Any, is_pin_memory: bool | None = None) -> None:
        """`device_or_states` and `is_pin_memory` differ between the two runners of vLLM."""
        self._weights: dict[int, list[float]] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuses weights that cannot be followed.

        Raises `ValueError`, which vLLM answers with status 400.
        """
        asked, served = _asked(sampling_params), Served.from_environment()
        if asked is None or served is None:
            return
        alphas = request_alphas(asked, len(served.values))
        if alphas == [value.alpha for value in served.values]:
            return
        if not served.per_request:
            raise IvlError(f"`{REQUEST_ARGUMENT}` does not work with speculative decoding on this model runner of vLLM; leave it out")
        if sampling_params.prompt_logprobs is not None:
            raise IvlError(
                "log-probabilities of a prompt have the weights of the server: leave out `echo` and `prompt_logprobs`, or start a server "
                "with these weights"
            )
        if sampling_params.logprobs is not None and not served.processed_logprobs:
            raise IvlError(
                "log-probabilities have the weights of the server: leave out `logprobs`, or start it with --logprobs-mode "
                "processed_logprobs"
            )

    def is_argmax_invariant(self) -> bool:
        """False: the most probable token may be another one."""
        return False

    # The first runner keeps requests in rows of its batch.

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows the requests of the batch: removed, added, moved, in this order."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._weights.pop(index, None)
        for index, params, _, _ in batch_update.added:
            self._put(index, params)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._weights.pop(source, None), self._weights.pop(target, None)
            if moved is not None:
                self._weights[target] = moved
            if replaced is not None and direction is MoveDirectionality.SWAP:
                self._weights[source] = replaced

    # The second runner keeps them in slots.

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Begins a request; whether its logits change."""
        self._put(req_idx, sampling_params)
        return req_idx in self._weights

    def apply_staged_writes(self) -> None:
        """Nothing waits to be written."""

    def _put(self, index: int, params: Any) -> None:
        self._weights.pop(index, None)
        model, asked = _live_model(), _asked(params)
        if model is None or asked is None:
            return
        alphas = request_alphas(asked, len(model.alphas))
        if alphas != model.alphas:
            self._weights[index] = alphas

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """Adds to the rows of requests with weights of their own. `ctx` is given by the second runner."""
        model = _live_model()
        if not self._weights or model is None:
            return logits
        model.processor = model.processor or self
        if model.processor is not self:
            # The package's entry point and `--logits-processors` both name this class.
            return logits
        if ctx is None:
            rows = [(index, index) for index in self._weights if index < len(logits)]
        else:
            slots = ctx.expanded_idx_mapping.tolist()
            rows = [(row, slot) for row, slot in enumerate(slots) if slot in self._weights]
        if not rows:
            return logits
        places = torch.tensor([row for row, _ in rows], device=logits.device)
        for value, own in enumerate(model.last_value_logits):
            if len(own) != len(logits):
                raise RuntimeError("vLLM samples from other rows than the model computed last; ivl does not know this version of vLLM")
            change = [self._weights[index][value] - model.alphas[value] for _, index in rows]
            factors = torch.tensor(change, device=logits.device)[:, None]
            logits[places] += factors * own[places]
        return logits


def _live_model() -> Any:
    """The fused model of this process; `None` where vLLM serves another architecture."""
    import sys

    module = sys.modules.get("ivl.vllm.fused_model")
    return module.LIVE[-1] if module is not None and module.LIVE else None
