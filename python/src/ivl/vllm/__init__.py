"""The plugin of vLLM: base and values as one model, the architecture `IvlFused`.

vLLM finds `register` by the entry point group `vllm.general_plugins`, and the weights of requests (`alpha_processor.py`) by
`vllm.logits_processors`. Modules that import vLLM are loaded when a fused model is configured or built.
"""

from __future__ import annotations

#: The name of the architecture.
ARCHITECTURE = "IvlFused"


def register() -> None:
    """Makes the architecture known to vLLM, and what is checked before it is built."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from ivl.vllm.fused_config import FusedConfig

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "ivl.vllm.fused_model:IvlFused")
    MODELS_CONFIG_MAP[ARCHITECTURE] = FusedConfig
