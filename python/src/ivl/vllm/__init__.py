"""The plugin of vLLM: base and values as one model, the architecture `IvlFused`.

vLLM finds `register` by the entry point group `vllm.general_plugins`. Modules that import vLLM are loaded when a fused model is built.
"""

from __future__ import annotations

#: The name of the architecture.
ARCHITECTURE = "IvlFused"


def register() -> None:
    """Makes the architecture known to vLLM."""
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "ivl.vllm.fused_model:IvlFused")
