"""Models that vLLM loads but cannot compute: it finds out at the first request, in a process that then ends."""

from __future__ import annotations

from ivl.checkpoint import Checkpoint
from ivl.errors import IvlError


def check_heads(checkpoint: Checkpoint) -> None:
    """Refuses attention heads of a width for which vLLM has no kernel on a CPU, as tiny models have.

    Raises `IvlError`.
    """
    from vllm.platforms import current_platform

    config = checkpoint.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    # Latent attention (`kv_lora_rank`) has kernels and widths of its own.
    if not current_platform.is_cpu() or not heads or getattr(config, "kv_lora_rank", None):
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    known = CPUAttentionBackend.get_supported_head_sizes()
    if width not in known:
        raise IvlError(
            f"`{checkpoint.name}` has attention heads of width {width}, and vLLM computes {', '.join(map(str, known))} on a CPU; "
            "take transformers or `ivl serve` for this model"
        )
