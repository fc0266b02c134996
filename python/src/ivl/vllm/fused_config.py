"""What is checked of a fused model when vLLM reads its options, a minute before it builds the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm.model_executor.models.config import VerifyAndUpdateConfig

from ivl.errors import IvlError
from ivl.vllm.served_values import NO_ADAPTERS, NO_PIPELINE, Served, served_names, values_of_overrides


class FusedConfig(VerifyAndUpdateConfig):
    """vLLM calls this with the options of a server or of an `LLM`, in the process that answers requests."""

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        """Refuses values and options that do not work together, and tells the processes of the server which values it has.

        Raises `IvlError`.
        """
        from ivl.checkpoint import Checkpoint
        from ivl.vllm.kernels import check_heads
        from ivl.vllm.open_value import OpenValue

        refuse(vllm_config)
        model_config = vllm_config.model_config
        base = Checkpoint.open(model_config.model)
        values = [OpenValue(name, alpha, base) for name, alpha in values_of_overrides(getattr(model_config.hf_config, "ivl", None))]
        check_heads(base)
        for value in values:
            check_heads(value.checkpoint)
            value.check_length(model_config.max_model_len)
        weights = [(value.checkpoint.name, value.alpha) for value in values]
        served = Served.from_environment()
        if served is None or [(value.model, value.alpha) for value in served.values] != weights:
            # Started without ivl-vllm, or by a process that had other values before.
            served = served_names(model_config.model, weights, str(model_config.served_model_name))
        processed = str(model_config.logprobs_mode).startswith("processed")
        replace(served, per_request=vllm_config.speculative_config is None, processed_logprobs=processed).to_environment()


def refuse(vllm_config: Any) -> None:
    """Refuses options of vLLM that do not work with values.

    Raises `IvlError`.
    """
    parallel, speculative = vllm_config.parallel_config, vllm_config.speculative_config
    if parallel.pipeline_parallel_size > 1:
        raise IvlError(NO_PIPELINE)
    if vllm_config.lora_config is not None:
        raise IvlError(NO_ADAPTERS)
    if speculative is not None and speculative.method not in ("ngram", "suffix"):
        raise IvlError(f"values do not work with the draft `{speculative.method}`, which reads the base's hidden states: take ngram")
