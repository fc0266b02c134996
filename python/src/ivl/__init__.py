"""Inverse value learning for transformers, vLLM and PyTorch: `logits = base + alpha * value`.

The command `ivl` trains and measures values; this package adds them to models that run elsewhere.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ivl.errors import IvlError
from ivl.value import Value

if TYPE_CHECKING:
    from ivl.fused_lm import FusedCausalLM
    from ivl.loading import load

__all__ = ["FusedCausalLM", "IvlError", "Value", "load"]
__version__ = version("ivl")

#: Names whose modules import transformers, which takes seconds and is an extra.
_LAZY = {"FusedCausalLM": "ivl.fused_lm", "load": "ivl.loading"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module `ivl` has no attribute `{name}`")
    from importlib import import_module

    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "transformers", "tokenizers", "numpy", "safetensors"):
            raise ImportError(f"`ivl.{name}` needs {error.name}: pip install 'ivl[transformers]'") from error
        raise
